//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package history

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// errLocked: another process holds the file.
var errLocked = errors.New("the file is held by another process")

// How long to wait for a lock, and between two attempts: long enough for
// somebody who only reads.
const (
	lockTimeout = time.Second
	lockPoll    = 20 * time.Millisecond
)

// openLocked opens path and takes bbolt's lock on it: bbolt asks for the same
// lock on the same descriptor later and has it already. So the file can be
// looked at before it is mapped, and set aside by its only holder.
func openLocked(path string, flag int, mode os.FileMode) (*os.File, error) {
	how := syscall.LOCK_EX
	if flag&os.O_RDWR == 0 {
		how = syscall.LOCK_SH
	}
	for waited := time.Duration(0); ; waited += lockPoll {
		// O_NONBLOCK: a FIFO must not block; it does nothing to a file.
		f, err := os.OpenFile(path, flag|syscall.O_NONBLOCK, mode)
		if err != nil {
			return nil, err
		}
		err = lockAt(f, path, how)
		if err == nil {
			return f, nil
		}
		_ = f.Close()
		if !errors.Is(err, errLocked) {
			return nil, err
		}
		if waited >= lockTimeout {
			return nil, err
		}
		time.Sleep(lockPoll)
	}
}

// lockAt locks f if it is a regular file and, once locked, still what path
// leads to.
func lockAt(f *os.File, path string, how int) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", path)
	}
	err = syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errLocked
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", path, err)
	}
	now, err := os.Stat(path)
	if err != nil || !os.SameFile(info, now) {
		return errLocked // set aside meanwhile: open anew
	}
	return nil
}

// unlock gives up the lock. Closing alone does not while bbolt's mapping, which
// outlives a panic of bbolt, holds on to the file.
func unlock(f *os.File) {
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
}
