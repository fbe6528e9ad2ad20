package bolt

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/plugins/bolt/internal/holder"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/sdk"
)

// source is the store that is being compacted, under its exclusive lock.
type source struct {
	path string // resolved
	file *os.File
	size sdk.Size
	// The lock was taken, and given back; zero while it is held.
	locked, released time.Time
}

// lockPoll is how often a lock is tried.
const lockPoll = 20 * time.Millisecond

// openSource takes the lock of the store. The lock is the one that bbolt takes.
func (b *backend) openSource(ctx context.Context, path string) (*source, error) {
	resolved, err := replace.Resolve(path)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(resolved, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	s := &source{path: resolved, file: f}
	if err := b.lock(ctx, s); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (b *backend) lock(ctx context.Context, s *source) error {
	deadline := b.now().Add(b.lockWait)
	for {
		err := unix.Flock(int(s.file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return &os.PathError{Op: "lock", Path: s.path, Err: err}
		}
		if !b.now().Before(deadline) {
			return sdk.Errorf(sdk.ErrBusy, "compact %s: it is locked by %s", s.path, holder.Describe(holder.Of(s.file))).
				WithHint("it can be compacted while no other process has it open; an application that never closes it can serve it itself, as an owner")
		}
		timer := time.NewTimer(lockPoll)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
	s.locked = b.now()
	// The file that was opened may have been replaced before the lock was ours.
	if err := replace.Same(s.path, s.file); err != nil {
		return err
	}
	info, err := s.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		return errEmpty("compact", s.path)
	}
	s.size = sizeOf(info)
	return nil
}

// release gives the lock back. A second call does nothing.
func (s *source) release(now func() time.Time) error {
	if s.file == nil {
		return nil
	}
	file := s.file
	s.file = nil
	// Before it is closed: to give the blocks of an old file back takes the
	// system a while, and nobody has to wait for that.
	err := unix.Flock(int(file.Fd()), unix.LOCK_UN)
	s.released = now()
	return errors.Join(err, file.Close())
}

func (s *source) close() { _ = s.release(time.Now) }
