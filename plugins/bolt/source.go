package bolt

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/plugins/bolt/internal/content"
	"github.com/wringdb/wring/plugins/bolt/internal/holder"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/sdk"
)

// source is the store that is being compacted, under its exclusive lock.
type source struct {
	path   string // resolved
	file   *os.File
	size   sdk.Size
	locked time.Time
	open   opener
	db     *bbolt.DB // nil until openDB
	tx     *bbolt.Tx
}

// opener is bbolt.Open.
type opener func(path string, mode os.FileMode, options *bbolt.Options) (*bbolt.DB, error)

// lockPoll is how often a lock is tried.
const lockPoll = 20 * time.Millisecond

// lockNew is for files that nobody else should have locked.
const lockNew = time.Second

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
	s := &source{path: resolved, file: f, open: b.open}
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

// openDB opens the store through bbolt, on the file that is locked already, and
// begins to read. It changes no byte: NoFreelistSync keeps bbolt from writing
// a freelist into a file that has none, and nothing is committed.
//
// The pages must have been checked: bbolt trusts them.
//
// In a file without a freelist bbolt reads every page before it returns, so
// this is called by way of await. When that returns before bbolt does, the file
// is no longer the source's, and its lock is given back as soon as bbolt is
// done.
func (s *source) openDB(await func(work func() error) error) error {
	var mu sync.Mutex
	var done, abandoned bool
	opening := &source{path: s.path, file: s.file, open: s.open}
	err := await(func() error {
		err := opening.begin()
		mu.Lock()
		defer mu.Unlock()
		done = true
		if abandoned {
			opening.close()
			return err
		}
		s.db, s.tx = opening.db, opening.tx
		return err
	})
	mu.Lock()
	defer mu.Unlock()
	if !done {
		abandoned, s.file = true, nil
	}
	return err
}

func (s *source) begin() error {
	return contain("compact "+s.path, func() (err error) {
		s.db, err = s.open(s.path, 0, &bbolt.Options{
			NoFreelistSync: true,
			NoStatistics:   true,
			FreelistType:   bbolt.FreelistMapType,
			Timeout:        time.Second,
			OpenFile:       func(string, int, os.FileMode) (*os.File, error) { return s.file, nil },
		})
		if err != nil {
			return err
		}
		s.tx, err = s.db.Begin(false)
		return err
	})
}

// walk hands the content to v.
func (s *source) walk(v content.Visitor) error {
	return contain("compact "+s.path, func() error { return content.Walk(s.tx, v) })
}

// endRead ends the transaction, after which no slice of the content is valid.
func (s *source) endRead() error {
	if s.tx == nil {
		return nil
	}
	tx := s.tx
	s.tx = nil
	return tx.Rollback()
}

// release gives the lock back. A second call does nothing.
func (s *source) release() error {
	if s.file == nil {
		return nil
	}
	defer func() { s.file, s.db = nil, nil }()
	if s.db == nil {
		return s.file.Close()
	}
	return s.db.Close()
}

func (s *source) close() {
	_ = s.endRead()
	_ = s.release()
}
