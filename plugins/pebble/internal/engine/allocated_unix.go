//go:build unix

package engine

import (
	"os"
	"syscall"
)

// AllocatedBytes is what the file system holds for a file.
func AllocatedBytes(info os.FileInfo) int64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Blocks * 512
	}
	return info.Size()
}
