// Package live compacts a bbolt store while the application that owns it goes
// on reading and writing.
//
// DB takes the place of *bbolt.DB: an application changes a type and an Open. It
// hands out real *bbolt.Tx. Behind it there is a *bbolt.DB, the generation,
// which a compaction replaces by one on a new, smaller file:
//
//  1. the content as of one read transaction is copied into a new file;
//  2. what has been written since is brought over in rounds, each the difference
//     of two snapshots by the pages that they do not share;
//  3. a last round, with the writers held for some milliseconds, ends with the
//     new file in the old one's place. Readers of the old generation finish on
//     it; it is closed when the last one is gone.
package live

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/wringdb/wring/plugins/bolt/internal/replace"
)

// DB has the methods of *bbolt.DB, which are safe for concurrent use, and the
// fields of it that an application may change after Open. As there, these must
// not be changed while transactions are being started; they take effect with the
// next one.
//
// A transaction's own DB method returns the *bbolt.DB of its generation. It must
// not be kept: once the generation has been replaced, to write to it panics.
type DB struct {
	StrictMode     bool
	NoSync         bool
	NoFreelistSync bool
	NoGrowSync     bool
	MmapFlags      int
	MaxBatchSize   int
	MaxBatchDelay  time.Duration
	AllocSize      int
	MaxSize        int
	Mlock          bool

	path    string // as given, for bbolt and the application
	file    string // the same, absolute
	mode    os.FileMode
	options bbolt.Options // of every generation
	quiet   bool          // the application wants no statistics
	logger  bbolt.Logger

	current atomic.Pointer[generation]
	hold    gate
	batcher batcher

	mu       sync.Mutex // of what follows
	closed   bool
	retired  map[*generation]struct{} // not closed yet
	past     bbolt.Stats              // of generations that have been closed
	told     int                      // read transactions, by Stats
	closing  sync.WaitGroup           // the goroutines that close them
	compact  chan struct{}            // has a token in it while a compaction runs
	quit     chan struct{}            // closed by Close
	closeErr error
	hook     replace.Hook // of tests
	// writerWait is writerWait, but for tests.
	writerWait time.Duration
}

// Open opens or creates a store as bbolt.Open does, and removes what a
// compaction that died left beside it. Differences: a large store is mapped with
// room to grow, so that a compaction does not hold writers up, and bbolt keeps
// its statistics even with NoStatistics.
func Open(path string, mode os.FileMode, options *bbolt.Options) (*DB, error) {
	if options == nil {
		options = bbolt.DefaultOptions
	}
	db := &DB{
		mode: mode, options: *options, quiet: options.NoStatistics,
		retired: map[*generation]struct{}{},
		compact: make(chan struct{}, 1), quit: make(chan struct{}),
		writerWait: writerWait,
	}
	var err error
	if db.file, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	db.options.NoStatistics = false // OpenTxN says when a generation can be closed
	swept := db.sweepBefore()
	first, err := db.openFirst(path)
	if err != nil {
		return nil, errors.Join(err, swept)
	}
	db.path = first.db.Path()
	db.logger = first.db.Logger()
	db.copyFields(first.db)
	db.batcher.db = db
	db.current.Store(first)
	return db, nil
}

// openFirst opens the store once more when it has been replaced while its lock
// was waited for: what was locked then is no store any more, and says so.
func (db *DB) openFirst(path string) (*generation, error) {
	for {
		o := db.options
		size := sizeAt(path)
		o.InitialMmapSize = max(o.InitialMmapSize, roomToGrow(size))
		given, opened := o.OpenFile, os.FileInfo(nil)
		if given == nil {
			given = os.OpenFile
		}
		o.OpenFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
			f, err := given(name, flag, mode)
			if err == nil && opened == nil {
				opened, err = f.Stat()
			}
			return f, err
		}
		inner, err := bbolt.Open(path, db.mode, &o)
		now, lookErr := os.Stat(path)
		if opened == nil || lookErr != nil || os.SameFile(opened, now) || errors.Is(err, berrors.ErrTimeout) {
			if err != nil {
				return nil, err
			}
			return newGeneration(inner, opened, mappedBytes(max(size, int64(o.InitialMmapSize)))), nil
		}
		if err == nil {
			if err := inner.Close(); err != nil {
				return nil, err
			}
		}
	}
}

// copyFields takes over what bbolt.Open made of the options.
func (db *DB) copyFields(inner *bbolt.DB) {
	db.StrictMode, db.NoSync, db.NoFreelistSync, db.NoGrowSync = inner.StrictMode, inner.NoSync, inner.NoFreelistSync, inner.NoGrowSync
	db.MmapFlags, db.AllocSize, db.MaxSize, db.Mlock = inner.MmapFlags, inner.AllocSize, inner.MaxSize, inner.Mlock
	db.MaxBatchSize, db.MaxBatchDelay = inner.MaxBatchSize, inner.MaxBatchDelay
}

// settle gives a generation the fields that the application has set. Its write
// lock must be held, or nobody else know of it.
func (db *DB) settle(g *generation) {
	inner := g.db
	inner.StrictMode, inner.NoSync, inner.NoGrowSync = db.StrictMode, db.NoSync, db.NoGrowSync
	inner.NoFreelistSync = db.NoFreelistSync || g.bare.Load()
	inner.MmapFlags, inner.AllocSize, inner.MaxSize, inner.Mlock = db.MmapFlags, db.AllocSize, db.MaxSize, db.Mlock
}

// leastRoomy is the size in bytes from which on a store is mapped with room to
// grow. bbolt makes a file of which it has mapped little as large as the mapping,
// and grows one of which it has mapped much by 16 MiB: a small one is to stay so.
const leastRoomy = 16 << 20

// roomToGrow is how much of a file of size bytes to map. bbolt cannot map more
// of it while a reader, such as a compaction, is there: whoever writes beyond the
// mapping waits for that reader, and everybody who comes later for the writer.
func roomToGrow(size int64) int {
	if size < leastRoomy || size > int64(maxInt/2) {
		return 0
	}
	return int(2 * size)
}

const maxInt = int(^uint(0) >> 1)

// sizeAt is the size of the file at path, 0 where there is none.
func sizeAt(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// Begin starts a transaction, as bbolt.DB.Begin. Commit or Rollback must follow.
// Only a write transaction is held up by the last moments of a compaction.
func (db *DB) Begin(writable bool) (*bbolt.Tx, error) {
	for {
		g, err := db.enter(writable)
		if err != nil {
			return nil, err
		}
		tx, err := g.db.Begin(writable)
		g.leave()
		if err != nil {
			return nil, db.explain(err)
		}
		if db.current.Load() == g {
			if writable {
				db.settle(g)
			}
			return tx, nil
		}
		// A new file took the place of this one meanwhile.
		if err := tx.Rollback(); err != nil {
			return nil, err
		}
		g.again(writable)
	}
}

// errStale ends a managed transaction that was begun on a generation which has
// been replaced meanwhile. The application does not see it.
var errStale = errors.New("the generation has been replaced")

// Update runs fn in a write transaction, as bbolt.DB.Update.
func (db *DB) Update(fn func(*bbolt.Tx) error) error {
	return db.managed(true, (*bbolt.DB).Update, fn)
}

// View runs fn in a read transaction, as bbolt.DB.View.
func (db *DB) View(fn func(*bbolt.Tx) error) error {
	return db.managed(false, (*bbolt.DB).View, fn)
}

func (db *DB) managed(writable bool, run func(*bbolt.DB, func(*bbolt.Tx) error) error, fn func(*bbolt.Tx) error) error {
	for {
		g, err := db.enter(writable)
		if err != nil {
			return err
		}
		var begun, stale bool
		err = run(g.db, func(tx *bbolt.Tx) error {
			begun = true
			g.leave()
			if stale = db.current.Load() != g; stale {
				return errStale
			}
			if writable {
				db.settle(g)
			}
			return fn(tx)
		})
		if !begun {
			g.leave()
			return db.explain(err)
		}
		if !stale {
			return err
		}
		g.again(writable)
	}
}

// enter returns the current generation, on which the caller then begins a
// transaction. Leave must follow when it has begun, or could not.
func (db *DB) enter(writable bool) (*generation, error) {
	for {
		if writable {
			db.hold.wait()
		}
		g := db.current.Load()
		if g == nil {
			return nil, berrors.ErrDatabaseNotOpen
		}
		g.begins.Add(1)
		if db.current.Load() == g {
			return g, nil
		}
		g.leave()
	}
}

// explain says for a generation that was closed by Close what bbolt says.
func (db *DB) explain(err error) error {
	if db.current.Load() == nil {
		return berrors.ErrDatabaseNotOpen
	}
	return err
}

// Sync makes all that has been committed durable, as bbolt.DB.Sync.
func (db *DB) Sync() error {
	for {
		g, err := db.enter(false)
		if err != nil {
			return err
		}
		err = g.db.Sync()
		g.leave()
		// What was committed to a file before it was replaced is in the new one.
		if db.current.Load() == g {
			return err
		}
	}
}

// Path of the store, as it was given to Open.
func (db *DB) Path() string {
	if db.current.Load() == nil {
		return ""
	}
	return db.path
}

// String implements fmt.Stringer, as bbolt.DB does.
func (db *DB) String() string { return fmt.Sprintf("DB<%q>", db.Path()) }

// GoString implements fmt.GoStringer, as bbolt.DB does.
func (db *DB) GoString() string { return fmt.Sprintf("live.DB{path:%q}", db.Path()) }

// Info is that of the current generation, as bbolt.DB.Info: the memory that it
// points to is unmapped when a compaction has replaced that.
func (db *DB) Info() *bbolt.Info {
	g, err := db.enter(false)
	if err != nil {
		panic(err) // as bbolt does
	}
	defer g.leave()
	return g.db.Info()
}

// Logger that was given to Open, or the one that bbolt has in its place.
func (db *DB) Logger() bbolt.Logger { return db.logger }

// IsReadOnly says whether the store was opened for reading only.
func (db *DB) IsReadOnly() bool { return db.options.ReadOnly }
