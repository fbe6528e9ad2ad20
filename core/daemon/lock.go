package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/wringdb/wring/sdk"
)

// lockDataDir makes the data directory, readable by its owner only, and keeps
// a second host out of it for as long as the returned file is open. The lock
// is the kernel's: a host that dies in any way gives it back.
func lockDataDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory without x is of no use
		return nil, sdk.Errorf(sdk.ErrPermission, "close the data directory to others: %w", err).
			WithHint("data_dir must belong to the user who runs wring")
	}
	path := filepath.Join(dir, "host.lock")
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
	if err := writePID(file); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("write the host's lock: %w", err)
	}
	return file, nil
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
