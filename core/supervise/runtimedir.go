//go:build unix

package supervise

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/sdk"
)

const (
	// maxSocketDir is how long the path given to sdk.Launch may be, in bytes.
	maxSocketDir = 65
	runPrefix    = "s"
	lockFile     = "lock"
)

// runtimeDir is a directory of this supervisor alone, in one that it may share
// with others. A lock on a file in it says that its supervisor lives; it goes
// with the process, however that ends.
type runtimeDir struct {
	path string
	held *os.File
	// litter is what was made for this supervisor around path; empty for none.
	litter string
}

// openRuntimeDir makes a directory for sockets in parent, and removes those of
// supervisors that do not live any more. Where parent is empty, or too long for
// the sockets in it, a directory of the user's for temporary files takes its
// place.
func openRuntimeDir(parent string) (*runtimeDir, error) {
	const room = len("/" + runPrefix + "99")
	shared := parent == "" || len(parent)+room > maxSocketDir
	if shared {
		parent = filepath.Join(os.TempDir(), fmt.Sprintf("wring-%d", os.Geteuid()))
	}
	if len(parent)+room > maxSocketDir {
		return nil, sdk.Errorf(sdk.ErrInvalidOption, "directory for sockets %s is too long: it may have %d bytes", parent, maxSocketDir-room).
			WithHint("choose a shorter data_dir, or a shorter TMPDIR")
	}
	litter := ""
	err := makePrivate(parent)
	if shared && errors.Is(err, sdk.ErrPermission) {
		// Anybody can take our name among temporary files. That shall not keep
		// us from working.
		parent, err = os.MkdirTemp("", "wring-")
		litter = parent
	}
	if err != nil {
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
	path, err := makeNumbered(parent)
	if err != nil {
		return nil, fmt.Errorf("make directory for sockets: %w", err)
	}
	held, err := lockPath(filepath.Join(path, lockFile), unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return nil, fmt.Errorf("lock directory for sockets: %w", err)
	}
	return &runtimeDir{path: path, held: held, litter: litter}, nil
}

// makeNumbered makes the directory with the lowest free number: short names,
// since they are part of the path of every socket. The gate is held.
func makeNumbered(parent string) (string, error) {
	for n := 0; ; n++ {
		path := filepath.Join(parent, runPrefix+strconv.Itoa(n))
		if err := os.Mkdir(path, 0o700); !errors.Is(err, fs.ErrExist) {
			return path, err
		}
	}
}

// remove ends the use of the directory.
func (d *runtimeDir) remove() {
	_ = os.RemoveAll(d.path) // what stays is swept by the next supervisor
	if d.litter != "" {
		_ = os.RemoveAll(d.litter)
	}
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
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory needs its execute bit
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
		number, ok := strings.CutPrefix(entry.Name(), runPrefix)
		if _, err := strconv.Atoi(number); !ok || err != nil || !entry.IsDir() {
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
		err = unix.Flock(int(f.Fd()), how)
		if err != unix.EINTR { //nolint:errorlint // a bare number
			break
		}
	}
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}
