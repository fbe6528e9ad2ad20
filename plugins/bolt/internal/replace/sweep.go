package replace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/plugins/bolt/internal/holder"
)

// State of a file, as its engine reads it.
type State struct {
	// Version grows with every change.
	Version uint64
	// Poison are the parts of the file without which nobody opens it, in an
	// order by which a file that is spoilt in part has the same version yet.
	Poison []Span
}

// ErrInvalid says that the engine would not open a file.
var ErrInvalid = errors.New("is no valid store")

// ErrHeld says that somebody uses the old file of a store, after a kill in the
// middle of its replacement.
var ErrHeld = errors.New("still uses the old file")

// ErrWritten says that somebody wrote to the old file of a store, after a kill
// in the middle of its replacement.
var ErrWritten = errors.New("was written to after it had been replaced")

// ErrForeign says that a file was put in the place of a store while that was
// being replaced, and was exchanged for the new file before a kill.
var ErrForeign = errors.New("was put in the place of the store while that was being replaced")

// errMaking says that a temp is no leftover: it is being made.
var errMaking = errors.New("is being made")

// Sweep removes the temps of the file at path, which must be resolved and must
// not be in the middle of a replacement. It returns the paths removed. State
// reads the state of a file; its error is of kind ErrInvalid for one that the
// engine would refuse.
//
// A temp that is locked is being made, and left alone; in the moment between its
// creation and its lock it is not, which is why whoever makes one keeps sweeps
// away by other means too. Three other kinds of files bear the name of a temp. A
// new file that never became the store goes; one that was it until a power cut
// took its name back, and that somebody wrote to, stays (ErrWritten), and so does
// one that cannot be read. One that somebody put in the store's place at the last
// moment stays (ErrForeign). An old one that was exchanged for the new one may
// have let somebody in when its lock died with the process that was to spoil it:
// it goes if nobody has it locked and it is what the new file was made from, and
// stays otherwise, since it has writes that were acknowledged (ErrHeld,
// ErrWritten). Without a valid store at path all stays.
//
// The hook, which may be nil, hears of all that is done.
func Sweep(path string, state func(*os.File) (State, error), hook Hook) (removed []string, err error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	var failed []error
	checked := false
	s := sweeper{state, hook}
	for _, entry := range entries {
		m, ok := parseMark(path, entry.Name())
		if !ok || !entry.Type().IsRegular() {
			continue
		}
		name := filepath.Join(filepath.Dir(path), entry.Name())
		if !checked {
			if err := s.valid(path); err != nil {
				return nil, fmt.Errorf("keep %s: %w", name, err)
			}
			checked = true
		}
		err := s.sweep(name, m)
		switch {
		case err == nil:
			removed = append(removed, name)
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errMaking):
			failed = append(failed, err)
		}
	}
	slices.Sort(removed)
	return removed, errors.Join(failed...)
}

type sweeper struct {
	state func(*os.File) (State, error)
	hook  Hook
}

func (s sweeper) valid(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := s.state(f); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// sweep removes one file with the name of a temp.
func (s sweeper) sweep(name string, m mark) error {
	info, err := os.Lstat(name)
	if err != nil {
		return err
	}
	switch is := inode(info); {
	case is == m.inode:
	case m.own == 0: // only a file that says its own inode is exchanged
		if err := s.unlocked(name); err != nil {
			return fmt.Errorf("keep %s: %w", name, err)
		}
		return s.hook.unlink(name)
	case is == m.own:
		if err := s.unused(name, m.version+1); err != nil {
			return fmt.Errorf("keep %s: %w", name, err)
		}
		return s.hook.unlink(name)
	default:
		return fmt.Errorf("keep %s: it %w", name, ErrForeign)
	}
	old, err := os.OpenFile(name, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer old.Close() // and with it the lock, once the name is gone
	spans, err := s.retire(old, m.version)
	if err == nil {
		err = s.syncDir(old)
	}
	if err != nil {
		return fmt.Errorf("keep %s: %w", name, err)
	}
	if err := s.hook.poison(old, spans, false); err != nil {
		return fmt.Errorf("invalidate %s: %w", name, err)
	}
	return s.hook.unlink(name)
}

// unlocked makes sure that a new file is not being made.
func (s sweeper) unlocked(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return notMaking(f)
}

func notMaking(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errMaking
	}
	if err != nil {
		return fmt.Errorf("lock it: %w", err)
	}
	return nil
}

// unused makes sure that nobody has written to a new file that is not the store.
// It may have been, for a moment: after a kill before its name was synced it has
// no lock, and a power cut takes the name back.
func (s sweeper) unused(name string, version uint64) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := notMaking(f); err != nil {
		return err
	}
	now, err := s.state(f)
	if errors.Is(err, ErrInvalid) {
		return nil // a file that nobody can open is a temp that was not completed
	}
	if err != nil {
		return err // it may be whole, and all that somebody wrote be in it
	}
	if now.Version > version {
		return ErrWritten
	}
	return nil
}

// retire locks the old file and returns what is to be spoilt of it before it is
// removed: that which the replacement did not come to.
func (s sweeper) retire(old *os.File, version uint64) ([]Span, error) {
	if err := unix.Flock(int(old.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return nil, s.inUse(old)
	} else if err != nil {
		return nil, fmt.Errorf("lock it: %w", err)
	}
	now, err := s.state(old)
	if errors.Is(err, ErrInvalid) {
		return nil, nil // spoilt already
	}
	if err != nil {
		return nil, err
	}
	// It is less after a power cut, by which the newest version was spoilt and
	// the one before it not. Nobody waits since then.
	if now.Version > version {
		return nil, ErrWritten
	}
	info, err := old.Stat()
	if err != nil {
		return nil, err
	}
	if links(info) > 1 {
		return nil, nil // somebody has given it another name: it is theirs
	}
	return now.Poison, nil
}

// inUse returns nil for a file that is spoilt: whoever has its lock finds that
// out. It is read twice, as once could fall together with two commits.
func (s sweeper) inUse(old *os.File) error {
	for range 2 {
		if _, err := s.state(old); err != nil && !errors.Is(err, ErrInvalid) {
			return err
		} else if err == nil {
			return fmt.Errorf("%s %w", holder.Describe(holder.Of(old)), ErrHeld)
		}
	}
	return nil
}

// syncDir makes sure that the new file keeps its name before the old one, which
// may be all that a power cut leaves, is spoilt and goes.
func (s sweeper) syncDir(old *os.File) error {
	dir, err := os.Open(filepath.Dir(old.Name()))
	if err != nil {
		return err
	}
	if err := errors.Join(s.hook.Do(Op{Kind: OpSyncDir, Path: old.Name()}, dir.Sync), dir.Close()); err != nil {
		return fmt.Errorf("sync its directory: %w", err)
	}
	return nil
}
