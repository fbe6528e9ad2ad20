//go:build unix

package supervise

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/sdk"
)

const (
	// maxSocketDir is what the shortest limit for the path of a unix socket
	// (104 bytes with a final zero, on macOS) leaves beside the name that a
	// plugin gives to its socket.
	maxSocketDir = 104 - 1 - len("/plugin4294967295")
	runPrefix    = "run-"
	lockFile     = "lock"
)

// runtimeDir is a directory of this supervisor alone, in one that it may share
// with others. A lock on a file in it says that its supervisor lives; it goes
// with the process, however that ends.
type runtimeDir struct {
	path string
	held *os.File
}

// openRuntimeDir makes a directory for sockets in parent, and removes those of
// supervisors that do not live any more.
func openRuntimeDir(parent string) (*runtimeDir, error) {
	if parent == "" {
		parent = filepath.Join(os.TempDir(), fmt.Sprintf("wring-%d", os.Geteuid()))
	}
	if err := makePrivate(parent); err != nil {
		return nil, err
	}
	// Nobody else looks or makes while we do.
	gate, err := lockPath(filepath.Join(parent, lockFile), unix.LOCK_EX)
	if err != nil {
		return nil, fmt.Errorf("lock directory for sockets: %w", err)
	}
	defer gate.Close()
	if err := sweep(parent); err != nil {
		return nil, err
	}
	path, err := os.MkdirTemp(parent, runPrefix)
	if err != nil {
		return nil, fmt.Errorf("make directory for sockets: %w", err)
	}
	if len(path) > maxSocketDir {
		_ = os.Remove(path) // empty
		return nil, sdk.Errorf(sdk.ErrInvalidOption, "directory for sockets %s is too long: the path of a unix socket has at most 103 bytes", path).
			WithHint("choose a shorter data_dir")
	}
	held, err := lockPath(filepath.Join(path, lockFile), unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return nil, fmt.Errorf("lock directory for sockets: %w", err)
	}
	return &runtimeDir{path: path, held: held}, nil
}

// remove ends the use of the directory.
func (d *runtimeDir) remove() {
	_ = os.RemoveAll(d.path) // what stays is swept by the next supervisor
	_ = d.held.Close()
}

// makePrivate makes sure that a directory is there, ours, and closed to others.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make directory for sockets: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("look at directory for sockets: %w", err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(st.Uid) != os.Geteuid() {
		return sdk.Errorf(sdk.ErrPermission, "directory for sockets %s is not a directory of the user that runs wring", dir).
			WithHint("remove it, or choose another data_dir")
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("close directory for sockets to others: %w", err)
	}
	return nil
}

// sweep removes directories whose supervisor is dead. The gate is held.
func sweep(parent string) error {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return fmt.Errorf("sweep directory for sockets: %w", err)
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), runPrefix) || entry.Type()&fs.ModeDir == 0 {
			continue
		}
		dir := filepath.Join(parent, entry.Name())
		held, err := lockPath(filepath.Join(dir, lockFile), unix.LOCK_EX|unix.LOCK_NB)
		if err != nil {
			continue // its supervisor lives
		}
		err = os.RemoveAll(dir)
		_ = held.Close()
		if err != nil {
			return fmt.Errorf("sweep directory for sockets: %w", err)
		}
	}
	return nil
}

// lockPath opens a file, making it when it is missing, and locks it until the
// file is closed.
func lockPath(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how) //nolint:gosec // a file descriptor fits
		if err != unix.EINTR {             //nolint:errorlint // a bare number
			break
		}
	}
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}
