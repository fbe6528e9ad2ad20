package rewrite

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// DropCache makes what is read next come from the disk, where it has been
// written: a verification of memory would prove little.
func DropCache(f *os.File) { _ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }

// beginWriting makes the disk begin with the bytes before end, so that less is
// left to wait for when the file is synced. It starts where it has not begun
// yet, and waits for nothing.
func beginWriting(f *os.File, from, end int64) {
	_ = unix.SyncFileRange(int(f.Fd()), from, end-from, unix.SYNC_FILE_RANGE_WRITE)
}

// How much of a mapped file is looked at to see whether it is in memory: so many
// windows of so many bytes, and this part of them has to be there.
const (
	windows     = 64
	windowBytes = 256 << 10
	residence   = 0.95
)

// inMemory says whether a mapped file need not be read from the disk.
func inMemory(mapped []byte) bool {
	size := os.Getpagesize()
	resident := make([]byte, windowBytes/size)
	var looked, there int
	for i := range windows {
		from := i * (len(mapped) / windows) / size * size
		window := mapped[from:min(from+windowBytes, len(mapped))]
		if len(window) == 0 || mincore(window, resident) != nil {
			return true // it is small, or cannot be told
		}
		for _, r := range resident[:(len(window)+size-1)/size] {
			looked++
			there += int(r & 1)
		}
	}
	return float64(there) >= residence*float64(looked)
}

func mincore(b, resident []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(unsafe.Pointer(&resident[0])))
	if errno != 0 {
		return errno
	}
	return nil
}
