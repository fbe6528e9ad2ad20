package pebble

import (
	"context"
	"errors"
	"sync"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/sdk"
)

// cacheBytes is for blocks of one open store. The size in the OPTIONS file is
// meant for its application, and may be most of a machine's memory.
const cacheBytes = 32 << 20

// onceBytes is what is left of that for who reads everything once. Nobody asks for those
// blocks again, and to keep them takes time and locks: a compaction, and who reads beside
// it, would wait for each other at every block.
const onceBytes = 0

// events takes what Pebble says in the background. It must not end the process,
// as Pebble's own logger does when a table vanishes under a reader.
type events struct {
	watch *watch // may be nil in tests
	// flushes is set where nothing but a flush works in the background while one is
	// waited for. Pebble retries it for ever.
	flushes bool
	// begins is told of each compaction that begins; may be nil.
	begins func(pebbledb.CompactionInfo)

	mu         sync.Mutex
	corruption error
	background error
}

// Infof and Errorf are dropped: what matters comes as an event or an error.
func (e *events) Infof(string, ...any)  {}
func (e *events) Errorf(string, ...any) {}

// Fatalf is for errors that Pebble cannot go on from; it must not return.
func (e *events) Fatalf(format string, args ...any) {
	err := newFatalError(format, args...)
	if e.watch == nil {
		panic(err)
	}
	e.watch.park(err)
}

// first returns the first error of the background, corruption before others.
func (e *events) first() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.corruption != nil {
		return e.corruption
	}
	return e.background
}

func (e *events) failed(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.background == nil {
		e.background = err
	}
	if e.flushes && e.watch.flushing.Load() {
		e.watch.leave(err)
	}
}

func (e *events) listener() *pebbledb.EventListener {
	return &pebbledb.EventListener{
		DataCorruption: func(info pebbledb.DataCorruptionInfo) {
			e.mu.Lock()
			defer e.mu.Unlock()
			if e.corruption == nil {
				e.corruption = sdk.Errorf(sdk.ErrCorrupt, "read %s: %w", info.Path, info.Details).
					WithHint("restore the store from a backup")
			}
		},
		BackgroundError: e.failed,
		CompactionBegin: e.begins,
		// Pebble retries the rewriting of a blob file for ever, too, and tells of its
		// errors in no other way.
		BlobFileRewriteEnd: func(info pebbledb.BlobFileRewriteInfo) {
			if info.Err != nil && !errors.Is(info.Err, pebbledb.ErrCancelledCompaction) {
				e.failed(info.Err)
			}
		},
	}
}

// view is a store opened for reading only.
type view struct {
	directory
	own     *ownOptions
	db      *pebbledb.DB
	fs      *readOnlyFS
	events  *events
	levels  [][]engine.Table
	pending *engine.Pending // nil where the log was hidden
	notes   []string
}

// viewing is how a store is opened for reading. The zero value takes no lock.
type viewing struct {
	// lock that is held: the view is the whole truth. With nil somebody may write
	// meanwhile, and any error may be gone at the next attempt.
	lock *pebbledb.Lock
	// once is set where everything is read once.
	once bool
	// apart is set where parts of tables are read that lie apart: to read ahead would be
	// to read what nobody asks for.
	apart bool
	// hideLogs leaves writes out that are only in the log.
	hideLogs bool
	traffic  *traffic // may be nil
	watch    *watch   // may be nil in tests
}

// openView opens a store for reading, until ctx ends: reads fail then.
func (b *backend) openView(ctx context.Context, path string, as viewing) (*view, error) {
	d, err := openDirectory(path)
	if err != nil {
		return nil, err
	}
	own, err := b.readOptions(d)
	if err != nil {
		return nil, err
	}
	v := &view{directory: d, own: own, fs: readOnly(b.fs), events: &events{watch: as.watch}}
	v.fs.hideLogs, v.fs.cancelled, v.fs.apart = as.hideLogs, ctx.Err, as.apart
	if as.traffic != nil {
		v.fs.traffic = as.traffic
	}
	options := own.parsed.Clone()
	options.FS = v.fs
	own.readSecondary(options)
	options.Lock = as.lock
	options.ReadOnly = true
	options.ErrorIfNotExists = true
	size := b.cacheBytes
	if as.once {
		size = min(size, onceBytes)
	}
	cache := pebbledb.NewCache(size)
	defer cache.Unref()
	options.Cache = cache
	options.Logger = v.events
	options.EventListener = v.events.listener()
	v.db, err = pebbledb.Open(d.path, options)
	if err == nil {
		err = v.load(ctx, b)
	} else {
		err = engine.ReadError("open", d.path, err)
	}
	if ctx.Err() != nil { // whatever the failing reads led to
		err = sdk.Errorf(sdk.ErrCancelled, "open %s: %w", d.path, ctx.Err())
	}
	if err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

// load reads what the view knows of tables and log.
func (v *view) load(ctx context.Context, b *backend) (err error) {
	if err := v.checkKeySchemas(ctx); err != nil {
		return err
	}
	v.levels, err = engine.ReadLevels(v.db)
	if err != nil {
		return engine.ReadError("read the tables' properties of", v.path, err)
	}
	if err := v.settle(ctx, b.config); err != nil || v.fs.hideLogs {
		return err
	}
	v.pending, err = readPending(v.own.logDirs(v.directory), v.fs.replayed, v.own.compare())
	if err != nil {
		return engine.ReadError("read the log of", v.path, err)
	}
	return nil
}

// close gives the view back. It does nothing once Pebble has given up on it:
// its locks are lost, and waiting for them would hang the call.
func (v *view) close() {
	if v.db != nil && (v.events.watch == nil || !v.events.watch.broken.Load()) {
		_ = v.db.Close() // nothing was written
	}
	v.db = nil
}

func (v *view) tree() *engine.Tree {
	return &engine.Tree{
		DB: v.db, Comparer: v.own.comparer(), Levels: v.levels, Pending: v.pending, Forced: true,
		Open: func(ctx context.Context, table engine.Table, read func(*sstable.Reader) error) error {
			return v.readTable(ctx, table.Backing, func(_ vfs.File, r *sstable.Reader) error { return read(r) })
		},
	}
}

func (v *view) regions() []engine.Region { return v.tree().Regions() }

func (o *ownOptions) compare() pebbledb.Compare { return o.comparer().Compare }

func (o *ownOptions) comparer() *pebbledb.Comparer { return o.parsed.Comparer.EnsureDefaults() }
