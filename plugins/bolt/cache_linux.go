package bolt

import (
	"os"

	"golang.org/x/sys/unix"
)

// dropCache makes what is read next come from the disk, where it has been
// written: a verification of memory would prove little.
func dropCache(f *os.File) { _ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }

// beginWriting makes the disk begin with the bytes before end, so that less is
// left to wait for when the file is synced. It starts where it has not begun
// yet, and waits for nothing.
func beginWriting(f *os.File, from, end int64) {
	_ = unix.SyncFileRange(int(f.Fd()), from, end-from, unix.SYNC_FILE_RANGE_WRITE)
}
