package pebble

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/sdk"
)

// lock takes the store for this process. The lock is a POSIX one on the file
// LOCK: it keeps nobody in this process away, and whoever in this process opens
// and closes that file drops it. Pebble's own list of what a process has locked
// goes by the spelling of the path. So a store that is open in this process, by
// whatever name, must be refused before LOCK is opened.
func (b *backend) lock(path string) (*pebbledb.Lock, func(), error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, pathError(path, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, held := range b.held {
		if os.SameFile(held, info) {
			return nil, nil, busyError(path, fmt.Sprintf("this process (%d), which compacts it", os.Getpid()))
		}
	}
	if openInProcess(path) {
		return nil, nil, ownProcessError(path)
	}
	lock, err := pebbledb.LockDirectory(path, b.fs)
	if err != nil {
		return nil, nil, lockError(path, err)
	}
	b.held = append(b.held, info)
	return lock, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.held = slices.DeleteFunc(b.held, func(held os.FileInfo) bool { return os.SameFile(held, info) })
		_ = lock.Close() // the kernel drops the lock with the file
	}, nil
}

func lockError(path string, err error) error {
	var errno syscall.Errno
	var pathErr *fs.PathError
	switch {
	case errors.As(err, &pathErr): // LOCK could not be opened
		return pathError(path, err)
	case errors.As(err, &errno) && (errno == syscall.EAGAIN || errno == syscall.EACCES):
		return busyError(path, holder(path))
	case !errors.As(err, &errno):
		// Pebble's own list of what this process has locked.
		return ownProcessError(path)
	default:
		return fmt.Errorf("lock %s: %w", path, err)
	}
}

func busyError(path, who string) error {
	if who == "" {
		who = "another process"
	}
	return sdk.Errorf(sdk.ErrBusy, "%s is locked by %s", path, who).
		WithHint("wait for that process or stop it, or %s", letApplication)
}

// letApplication is advice for stores that only their application can compact.
// It is not for this package: a backend inside the application needs the
// *pebble.DB that is open there.
const letApplication = "let the application call Compact on its own open *pebble.DB"

// openInProcess says whether this process has the store open already. A LOCK
// that is not there is open nowhere.
func openInProcess(path string) bool {
	name := filepath.Join(path, "LOCK")
	info, err := os.Stat(name)
	if err != nil {
		return false
	}
	return openHere(info) || lockOwner(name) == os.Getpid()
}

func ownProcessError(path string) error {
	return sdk.Errorf(sdk.ErrBusy, "%s is open in this very process (%d), where its lock protects nothing", path, os.Getpid()).
		WithHint("do not serve this backend inside the process that has the store open: %s, or close the store and run wring-plugin-pebble beside it", letApplication)
}

// holder names the process that holds the store's lock, or returns "".
func holder(path string) string {
	pid := lockOwner(filepath.Join(path, "LOCK"))
	if pid == 0 {
		return ""
	}
	if name := processName(pid); name != "" {
		return fmt.Sprintf("process %d (%s)", pid, name)
	}
	return fmt.Sprintf("process %d", pid)
}
