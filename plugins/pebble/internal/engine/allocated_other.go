//go:build !unix

package engine

import "os"

// AllocatedBytes is the size: there are no blocks to count here.
func AllocatedBytes(info os.FileInfo) int64 { return info.Size() }
