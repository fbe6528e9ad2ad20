package pebble

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"syscall"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/sdk"
)

// cacheBytes is for blocks of one open store. The size in the OPTIONS file is
// meant for its application, and may be most of a machine's memory.
const cacheBytes = 32 << 20

// events takes what Pebble says in the background. It must not end the process,
// as Pebble's own logger does when a table vanishes under a reader.
type events struct {
	watch *watch // may be nil in tests
	// flushes is set where nothing but flushes works in the background while the
	// store is being opened. Pebble retries them for ever.
	flushes bool

	mu         sync.Mutex
	corruption error
	background error
}

// Infof and Errorf are dropped: what matters comes as an event or an error.
func (e *events) Infof(string, ...any)  {}
func (e *events) Errorf(string, ...any) {}

// Fatalf is for errors that Pebble cannot go on from; it must not return. The
// goroutine may be one of Pebble's own, where a panic would end the process, and
// it may hold mutexes, which must stay held: it is parked for ever, and the call
// returns without it. The store recovers when another process opens it.
func (e *events) Fatalf(format string, args ...any) {
	err := newFatalError(format, args...)
	if e.watch == nil {
		panic(err)
	}
	e.watch.breakDown(err)
	select {}
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
		BackgroundError: func(err error) {
			e.mu.Lock()
			defer e.mu.Unlock()
			if e.background == nil {
				e.background = err
			}
			if e.flushes && e.watch.opening.Load() {
				e.watch.leave(err)
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
	levels  [][]table
	pending *pendingWrites // nil where the log was hidden
	notes   []string
}

// viewing is how a store is opened for reading. The zero value takes no lock.
type viewing struct {
	// lock that is held: the view is the whole truth. With nil somebody may write
	// meanwhile, and any error may be gone at the next attempt.
	lock *pebbledb.Lock
	// hideLogs leaves writes out that are only in the log.
	hideLogs bool
	bits     float64  // of filters; 0 for what the tables have
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
	v.fs.hideLogs, v.fs.cancelled = as.hideLogs, ctx.Err
	if as.traffic != nil {
		v.fs.traffic = as.traffic
	}
	options := own.parsed.Clone()
	options.FS = v.fs
	options.Lock = as.lock
	options.ReadOnly = true
	options.ErrorIfNotExists = true
	cache := pebbledb.NewCache(b.cacheBytes)
	defer cache.Unref()
	options.Cache = cache
	options.Logger = v.events
	options.EventListener = v.events.listener()
	v.db, err = pebbledb.Open(d.path, options)
	if err == nil {
		err = v.load(b, as.bits)
	} else {
		err = readError("open", d.path, err)
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
func (v *view) load(b *backend, chosenBits float64) (err error) {
	v.levels, err = readLevels(v.db)
	if err != nil {
		return readError("read the tables' properties of", v.path, err)
	}
	v.notes, err = b.settle(v.own, v.directory, v.levels, chosenBits)
	if err != nil || v.fs.hideLogs {
		return err
	}
	v.pending, err = readPending(v.own.logDirs(v.directory), v.fs.replayed, v.own.compare())
	if err != nil {
		return readError("read the log of", v.path, err)
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

func (v *view) regions() []region { return regions(v.own.compare(), v.levels, v.pending) }

func (o *ownOptions) compare() pebbledb.Compare { return o.comparer().Compare }

func (o *ownOptions) comparer() *pebbledb.Comparer { return o.parsed.Comparer.EnsureDefaults() }

// readError gives an error from reading a store its kind: where the operating
// system is not to blame, the content is.
func readError(doing, path string, err error) *sdk.Error {
	if known := knownError(doing, path, err); known != nil {
		return known
	}
	return sdk.Errorf(sdk.ErrCorrupt, "%s %s: %s", doing, path, firstLine(err)).
		WithHint("restore the store from a backup; the pebble tool's `db check` tells more")
}

// workError gives an error from compacting a store its kind.
func workError(doing, path string, err error) *sdk.Error {
	if known := knownError(doing, path, err); known != nil {
		return known
	}
	if pebbledb.IsCorruptionError(err) {
		return readError(doing, path, err)
	}
	return sdk.Errorf(sdk.ErrInternal, "%s %s: %w", doing, path, err)
}

// knownError returns nil where the error has no kind of its own.
func knownError(doing, path string, err error) *sdk.Error {
	var typed *sdk.Error
	switch {
	case errors.As(err, &typed):
		return typed
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return sdk.Errorf(sdk.ErrCancelled, "%s %s: %w", doing, path, err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return sdk.Errorf(sdk.ErrNoSpace, "%s %s: %s", doing, path, firstLine(err)).
			WithHint("free space on the store's file system")
	case errors.Is(err, fs.ErrPermission):
		return sdk.Errorf(sdk.ErrPermission, "%s %s: %s", doing, path, firstLine(err)).
			WithHint("run as the user that owns the store")
	}
	return nil
}

// firstLine keeps a list of a thousand missing tables from filling the screen.
func firstLine(err error) string {
	line, _, more := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	if more {
		line += " (and more)"
	}
	return line
}
