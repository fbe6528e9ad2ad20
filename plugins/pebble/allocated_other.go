//go:build !unix

package pebble

import "os"

// allocatedBytes is the size: there are no blocks to count here.
func allocatedBytes(info os.FileInfo) int64 { return info.Size() }
