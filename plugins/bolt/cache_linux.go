package bolt

import (
	"os"

	"golang.org/x/sys/unix"
)

// dropCache makes what is read next come from the disk, where it has been
// written: a verification of memory would prove little.
func dropCache(f *os.File) { _ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }
