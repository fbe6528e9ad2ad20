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

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/plugins/pebble/internal/swap"
	"github.com/wringdb/wring/sdk"
)

// lockStore looks whether there is a store to compact at a path, and locks it. What is
// none stays as it is, without a LOCK of ours. But a look without the lock may fall
// between two changes of whoever has the store: if there is something wrong and a LOCK,
// it takes that and looks again.
func (b *backend) lockStore(path string) (directory, *holding, error) {
	look := func() (directory, error) {
		d, err := openDirectory(path)
		if err == nil {
			_, err = b.readOptions(d)
		}
		return d, err
	}
	d, wrong := look()
	// Taking a lock makes the file empty: one with content is something else.
	empty := func(f engine.File) bool { return f.Name == "LOCK" && f.Size == 0 }
	if wrong != nil && !slices.ContainsFunc(d.files, empty) {
		return directory{}, nil, wrong
	}
	if wrong == nil {
		if err := b.makeLock(d); err != nil {
			return directory{}, nil, err
		}
	}
	held, err := b.lock(d.path)
	if err != nil {
		if wrong != nil && !errors.Is(err, sdk.ErrBusy) {
			err = wrong
		}
		return directory{}, nil, err
	}
	if wrong != nil {
		if d, err = look(); err != nil {
			held.release()
			return directory{}, nil, err
		}
	}
	return d, held, nil
}

// makeLock makes the LOCK of a store that has none, as a copy may not.
func (b *backend) makeLock(d directory) error {
	like, err := swap.Like(d.options, b.hook)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // whoever has the store open has begun another one
	}
	if err != nil {
		return pathError(d.options, err)
	}
	err = like.MakeLock()
	if cerr := like.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return engine.WorkError("lock", d.path, err)
	}
	return nil
}

// lock takes the store for this process. The lock is a POSIX one on the file
// LOCK: it keeps nobody in this process away, and whoever in this process opens
// and closes that file drops it. Pebble's own list of what a process has locked
// goes by the spelling of the path. So a store that is open in this process, by
// whatever name, must be refused before LOCK is opened.
func (b *backend) lock(path string) (*holding, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, pathError(path, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, h := range b.held {
		switch {
		case !h.has(info):
		case h.stuck != nil:
			return nil, sdk.Errorf(sdk.ErrBusy, "%s is held by a compaction in this process (%d) that cannot end: %s",
				path, os.Getpid(), engine.FirstLine(h.stuck)).WithHint("%s", endProcess)
		default:
			return nil, busyError(path, fmt.Sprintf("this process (%d), which compacts it", os.Getpid()))
		}
	}
	if openInProcess(path) {
		return nil, ownProcessError(path)
	}
	lock, err := pebbledb.LockDirectory(path, b.fs)
	if err != nil {
		return nil, lockError(path, err)
	}
	h := &holding{backend: b, path: path, directories: []os.FileInfo{info}, lock: lock}
	b.held = append(b.held, h)
	return h, nil
}

// holding is a store that the backend has locked.
type holding struct {
	backend *backend
	path    string
	// directories are the store's, and the one that is to take its place.
	directories []os.FileInfo
	lock        *pebbledb.Lock
	stuck       error // why it is not given back; nil as long as somebody may
}

func (h *holding) has(directory os.FileInfo) bool {
	return slices.ContainsFunc(h.directories, func(d os.FileInfo) bool { return os.SameFile(d, directory) })
}

// extend makes a directory one with the store that is held, under the same lock.
func (h *holding) extend(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	h.backend.mu.Lock()
	defer h.backend.mu.Unlock()
	h.directories = append(h.directories, info)
	return nil
}

func (h *holding) release() {
	h.backend.mu.Lock()
	defer h.backend.mu.Unlock()
	h.backend.held = slices.DeleteFunc(h.backend.held, func(other *holding) bool { return other == h })
	_ = h.lock.Close() // the kernel drops the lock with the file
}

// endProcess is advice about a store that Pebble does not let go of.
const endProcess = "end this plugin's process, which has to keep the store locked until then (a wring host ends it when nobody has used it for half a minute)"

// abandon marks the store as one that this process cannot serve any more, and
// returns the error that says so. The mark goes if the work comes to an end
// after all and releases the store.
func (h *holding) abandon(cause error) error {
	h.backend.mu.Lock()
	defer h.backend.mu.Unlock()
	e := engine.WorkError("compact", h.path, cause)
	if !slices.Contains(h.backend.held, h) {
		return e // the end came meanwhile
	}
	h.stuck = cause
	hint := endProcess
	if e.Hint != "" {
		hint = e.Hint + "; " + hint
	}
	return sdk.Errorf(e.Kind, "%w", e).WithHint("%s", hint)
}

func lockError(path string, err error) error {
	var errno syscall.Errno
	var pathErr *fs.PathError
	switch {
	case errors.Is(err, syscall.EROFS):
		return engine.WorkError("lock", path, err)
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
const letApplication = "let the application serve the store itself (live.Serve of plugins/pebble/live, with its own open *pebble.DB)"

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
