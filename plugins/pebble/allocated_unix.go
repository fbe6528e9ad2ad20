//go:build unix

package pebble

import (
	"os"
	"syscall"
)

// allocatedBytes is what the file system holds for a file.
func allocatedBytes(info os.FileInfo) int64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Blocks * 512
	}
	return info.Size()
}
