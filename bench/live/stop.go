package main

import (
	"errors"
	"os"
	"path/filepath"
	"sync"

	"go.etcd.io/bbolt"
)

// stopped is a store of bbolt's own that is compacted as an application can
// without help: everybody waits while it is closed, copied and opened again.
type stopped struct {
	path    string
	options *bbolt.Options
	// world is held by who uses the store, and by who stops everybody.
	world sync.RWMutex
	db    *bbolt.DB
}

func openStopped(path string, o *bbolt.Options) (*stopped, error) {
	db, err := bbolt.Open(path, 0o600, o)
	return &stopped{path: path, options: o, db: db}, err
}

func (s *stopped) View(fn func(*bbolt.Tx) error) error {
	s.world.RLock()
	defer s.world.RUnlock()
	return s.db.View(fn)
}

func (s *stopped) Update(fn func(*bbolt.Tx) error) error {
	s.world.RLock()
	defer s.world.RUnlock()
	return s.db.Update(fn)
}

func (s *stopped) Close() error { return s.db.Close() }

// stoppedBatch is how many bytes a transaction of the copy has: with what
// `bbolt compact` takes unless told otherwise, 64 KiB, it would be slower.
const stoppedBatch = 64 << 20

// Compact stops everybody. The new file is synced once, when it is complete.
func (s *stopped) Compact() error {
	s.world.Lock()
	defer s.world.Unlock()
	if err := s.db.Close(); err != nil {
		return err
	}
	if err := s.replace(); err != nil {
		return err
	}
	db, err := bbolt.Open(s.path, 0o600, s.options)
	if err != nil {
		return err
	}
	s.db = db
	return nil
}

func (s *stopped) replace() error {
	from, err := bbolt.Open(s.path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	temp := s.path + ".new"
	to, err := bbolt.Open(temp, 0o600, &bbolt.Options{NoSync: true, NoFreelistSync: s.options.NoFreelistSync})
	if err != nil {
		return errors.Join(err, from.Close())
	}
	err = bbolt.Compact(to, from, stoppedBatch)
	if err == nil {
		err = to.Sync()
	}
	if err := errors.Join(err, to.Close(), from.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, s.path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(s.path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

var _ store = (*stopped)(nil)
