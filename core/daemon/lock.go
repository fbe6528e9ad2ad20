package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/wringdb/wring/core/access"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/sdk"
)

// What a host has in its data directory, beside its history.
const (
	lockName   = "host.lock"
	socketName = "wring.sock" // api.SocketPath
	runDirName = "run"
)

// lockDataDir makes the data directory, readable by its owner only, and keeps
// a second host out of it for as long as the returned file is open. The lock
// is the kernel's: a host that dies in any way gives it back.
func lockDataDir(dir string) (*os.File, error) {
	if err := closeDataDir(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, lockName)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the host's lock: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(path)
		_ = file.Close()
		return nil, sdk.Errorf(sdk.ErrBusy, "a host is already running on %s%s", dir, process(holder)).
			WithHint("look at it with: wring status; end it, or give this one a data_dir of its own")
	}
	// For messages only, so a full disk may keep it.
	_ = writePID(file)
	return file, nil
}

// OpenTokens returns the tokens of a data directory, which is made, and closed to
// others, as a host does. None has to be running.
func OpenTokens(dataDir string) (access.Tokens, error) {
	if err := closeDataDir(dataDir); err != nil {
		return access.Tokens{}, err
	}
	return access.NewTokens(dataDir), nil
}

// closeDataDir makes the data directory, and closes it to others. One that is
// open and somebody else's too, such as /srv or /tmp, is left as it is and
// refused.
func closeDataDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("look at the data directory: %w", err)
	}
	mode := info.Mode().Perm()
	if mode == 0o700 {
		return nil
	}
	if mode&0o077 != 0 {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("look at the data directory: %w", err)
		}
		if other, found := notOurs(entries); found {
			return sdk.Errorf(sdk.ErrPermission, "the data directory %s is open to others (mode %#o), and has what is not wring's in it, such as %s", dir, mode, other).
				WithHint("give wring a directory of its own with data_dir; if this is one, close it: chmod 700 %s", dir)
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory without x is of no use
		return sdk.Errorf(sdk.ErrPermission, "close the data directory to others: %w", err).
			WithHint("data_dir must belong to the user who runs wring")
	}
	return nil
}

// notOurs names something in a directory that no host has put there. One that a
// host has used before is wring's, whatever else has come into it since.
func notOurs(entries []os.DirEntry) (name string, found bool) {
	for _, e := range entries {
		switch n := e.Name(); {
		case n == lockName:
			return "", false
		case n != socketName && n != runDirName && n != access.TokensLockFile &&
			!strings.HasPrefix(n, access.TokensFile) && !strings.HasPrefix(n, history.FileName):
			name, found = n, true
		}
	}
	return name, found
}

func writePID(file *os.File) error {
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err := file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// process says which process a lock's content names, if it does.
func process(content []byte) string {
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return ""
	}
	return fmt.Sprintf(" (process %d)", pid)
}
