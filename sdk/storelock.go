package sdk

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A store's lock file stands beside it as .NAME.wring.lock while a compaction
// runs; in a store that is a directory it is .wring.lock, since the directory
// above may belong to somebody else, or to another volume. What counts is the
// flock on it; its content says who. A file without a lock is what a killed
// process left.

var (
	// errLocked is a lock that somebody else holds.
	errLocked = errors.New("locked")
	// errMomentary is the cause of a lock that will be free in a moment: a sweep
	// holds it, or its holder was just coming or going.
	errMomentary = errors.New("for a moment")
	// errNotOurs is something else by the name of a lock file.
	errNotOurs = errors.New("not a lock file of wring")
)

// What a lock is held for, as the last word of its file says.
const (
	forCompaction = "compact"
	forSweep      = "sweep"
	forServing    = "serve" // an owner's socket, which has a lock of the same kind
)

// lockStore takes the lock of the store at path. A store that does not exist
// needs none: its backend will say so.
func lockStore(doing, path, purpose string, now time.Time) (release func(), err error) {
	name, err := lockName(path)
	if errors.Is(err, fs.ErrNotExist) {
		return func() {}, nil
	}
	if err != nil {
		return nil, err
	}
	lock, err := lockFile(name, purpose, now)
	switch {
	case errors.Is(err, errLocked):
		holder, momentary := readHolder(name)
		if momentary {
			return nil, Errorf(ErrBusy, "%s: %s holds its lock %w", doing, holder, errMomentary).
				WithHint("try again; the lock is %s", name)
		}
		return nil, Errorf(ErrBusy, "%s: %s is compacting it", doing, holder).
			WithHint("wait until it is done, or stop %s; the lock is %s", holder, name)
	case errors.Is(err, fs.ErrPermission):
		return nil, Errorf(ErrPermission, "%s: take its lock: %w", doing, err).
			WithHint("user %d must be able to write to %s and, if it exists, to %s, which keeps two compactions apart",
				os.Geteuid(), filepath.Dir(name), filepath.Base(name))
	case errors.Is(err, errNotOurs):
		return nil, Errorf(ErrPermission, "%s: take its lock: %w", doing, err).
			WithHint("something else has the name of the lock file: look at it, and move it away")
	case err != nil:
		return nil, fmt.Errorf("take lock of store: %w", err)
	}
	return lock.release, nil
}

// staleLock returns the store's lock file where there is one; whether anybody
// holds it is not looked at.
func staleLock(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	name, err := lockName(path)
	if err == nil {
		_, err = os.Lstat(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return name, nil
}

// lockName follows symbolic links, so that all ways to a store share one lock.
func lockName(path string) (string, error) {
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	info, err := os.Lstat(resolved)
	if err != nil {
		return "", err
	}
	if info.IsDir() {
		return filepath.Join(resolved, ".wring.lock"), nil
	}
	dir, base := filepath.Split(resolved)
	const longest = 200 // bytes; most file systems end at 255
	if len(base) > longest {
		sum := sha256.Sum256([]byte(base))
		base = fmt.Sprintf("%s~%x", base[:longest-20], sum[:8])
	}
	return filepath.Join(dir, "."+base+".wring.lock"), nil
}

// heldLock is a lock file that this process holds.
type heldLock struct {
	file *os.File
	name string
}

// lockFile takes the lock file by that name, or returns errLocked at once.
func lockFile(name, purpose string, now time.Time) (*heldLock, error) {
	for {
		file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|openNoFollow, 0o600)
		if err != nil {
			return nil, err
		}
		if err := flock(file); err != nil {
			_ = file.Close()
			return nil, err
		}
		// The holder before us may have removed the file between open and
		// flock: what we then hold protects nothing.
		if !sameFile(file, name) {
			_ = file.Close()
			continue
		}
		if !plain(file) {
			_ = file.Close()
			return nil, fmt.Errorf("%s: %w", name, errNotOurs)
		}
		lock := &heldLock{file: file, name: name}
		lock.sign(purpose, now)
		return lock, nil
	}
}

// sign writes down who holds the lock, and what for. A full disk refuses that, and the lock
// holds all the same.
func (l *heldLock) sign(purpose string, now time.Time) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	if l.file.Truncate(0) == nil {
		_, _ = fmt.Fprintf(l.file, "%d %s %s %s\n", os.Getpid(), host, now.UTC().Format(time.RFC3339), purpose)
	}
}

// release removes the file while the lock is still held, then lets go.
func (l *heldLock) release() {
	if sameFile(l.file, l.name) {
		_ = os.Remove(l.name) // where it cannot be removed it is merely stale
	}
	_ = l.file.Close()
}

func sameFile(file *os.File, name string) bool {
	held, err := file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(name)
	return err == nil && os.SameFile(held, there)
}

// readHolder says in words who signed the lock file, and whether it is held for
// a moment only.
func readHolder(name string) (who string, momentary bool) {
	const nobody = "another process"
	file, err := os.Open(name)
	if err != nil {
		return nobody, errors.Is(err, fs.ErrNotExist)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, 512))
	fields := strings.Fields(string(content))
	if err != nil || len(fields) < 2 {
		return nobody, err == nil && len(fields) == 0
	}
	pid, err := strconv.Atoi(fields[0])
	if err != nil {
		return nobody, false
	}
	momentary = fields[len(fields)-1] == forSweep
	if host, err := os.Hostname(); err == nil && host != fields[1] {
		return fmt.Sprintf("process %s on %s", fields[0], fields[1]), momentary
	}
	// A dead process holds nothing: whoever does has yet to sign.
	return "process " + fields[0], momentary || isDead(pid)
}
