package live

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync/atomic"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/sdk"
)

const (
	// stepBytes is about how much one step of a compaction rewrites.
	stepBytes = 32 << 20
	// heldBytes is how much the application may write, at least, before a snapshot
	// is given up that is older than these writes.
	heldBytes = 64 << 20
	// sampleBytes is how much of the tables a sampled measurement reads.
	sampleBytes = 64 << 20
	// renewBytes is how much one iterator reads: for as long as it lives, the
	// tables that it began with stay on disk.
	renewBytes = 4 << 20
)

// errClosed is a store that the application has closed.
var errClosed = errors.New("its application has closed it")

// store is one that the application has open.
type store struct {
	place
	name     string
	comparer *pebbledb.Comparer // with its defaults
	// readOnly and passive are what the Options say: passive is a store without
	// automatic compactions.
	readOnly, passive bool
	stalls            *Stalls // may be nil
	// reading is how tables are read; nil without Options.
	reading *sstable.ReaderOptions
	// largestStep and leastHeld are stepBytes and heldBytes; tests make them small.
	largestStep, leastHeld int64

	compacting atomic.Bool
}

func newStore(given Store) (*store, error) {
	switch {
	case given.Name == "":
		return nil, sdk.Errorf(sdk.ErrInvalidOption, "a store has no name").
			WithHint("a host asks for a store by its name: set live.Store.Name")
	case given.DB == nil:
		return nil, sdk.Errorf(sdk.ErrInvalidOption, "store %s: its DB is nil", given.Name).
			WithHint("open the store before it is served")
	}
	s := &store{place: place{db: given.DB, fs: vfs.Default}, name: given.Name, stalls: given.Stalls, largestStep: stepBytes, leastHeld: heldBytes}
	var comparer *pebbledb.Comparer
	if o := given.Options; o != nil {
		comparer, s.readOnly, s.passive = o.Comparer, o.ReadOnly, o.DisableAutomaticCompactions
		if o.FS != nil {
			s.fs = o.FS
		}
		reading := o.MakeReaderOptions()
		s.reading = &reading
	}
	s.comparer = comparer.EnsureDefaults()
	err := unlessClosed(func() error {
		if err := s.alive(); err != nil {
			return err
		}
		return s.checkComparer()
	})
	if err != nil {
		return nil, s.readError("serve", err)
	}
	if given.Dir != "" {
		if err := s.choose(given.Name, given.Dir); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// checkComparer compares the comparer's name with that in a table, where there
// is one with more than a single key; each call looks at all of them.
func (s *store) checkComparer() error {
	levels, err := s.db.SSTables()
	if err != nil {
		return err
	}
	for _, t := range slices.Concat(levels...) {
		if bytes.Equal(t.Smallest.UserKey, t.Largest.UserKey) {
			continue
		}
		some, err := s.db.SSTables(pebbledb.WithProperties(), pebbledb.WithKeyRangeFilter(t.Smallest.UserKey, t.Largest.UserKey))
		if err != nil {
			return err
		}
		for _, t := range slices.Concat(some...) {
			if err := s.wantComparer(t.Properties.ComparerName); err != nil {
				return err
			}
		}
		return nil
	}
	return nil
}

func (s *store) wantComparer(name string) error {
	if name == "" || name == s.comparer.Name {
		return nil
	}
	return sdk.Errorf(sdk.ErrInvalidOption, "store %s has its keys in the order of %q, and was announced with %q", s.name, name, s.comparer.Name).
		WithHint("set live.Store.Options to the options that the store was opened with")
}

// unlessClosed does work and makes an error of what Pebble panics with once a
// store is closed. Other panics go on.
func unlessClosed(work func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			cause, ok := p.(error)
			if !ok || !errors.Is(cause, pebbledb.ErrClosed) {
				panic(p)
			}
			err = errClosed
		}
	}()
	return work()
}

// alive says whether the store is open: its error is errClosed, or nil.
func (s *store) alive() error {
	return unlessClosed(func() error { return s.db.NewSnapshot().Close() })
}

// tree is how the tables lie now.
func (s *store) tree() (*engine.Tree, error) {
	if err := s.alive(); err != nil {
		return nil, err
	}
	levels, err := engine.ReadLevels(s.db)
	if err != nil {
		return nil, err
	}
	for _, level := range levels {
		for _, t := range level {
			if err := s.wantComparer(t.Props.ComparerName); err != nil {
				return nil, err
			}
		}
	}
	return &engine.Tree{DB: s.db, Comparer: s.comparer, Levels: levels, Renew: renewBytes, Passive: s.passive, BlobsStay: true, Open: s.readTable}, nil
}

// readTable reads a table's file by itself. Where that is out of sight, or the Options
// do not tell how to read it, it is as if it were not there: a measurement does without.
func (s *store) readTable(ctx context.Context, table engine.Table, read func(*sstable.Reader) error) error {
	dir, _ := s.find()
	if dir == "" || s.reading == nil {
		return fs.ErrNotExist
	}
	file, err := s.fs.Open(s.fs.PathJoin(dir, fmt.Sprintf("%06d.sst", table.Backing)))
	if err != nil {
		return errors.Join(err, fs.ErrNotExist)
	}
	readable, err := sstable.NewSimpleReadable(file)
	if err != nil {
		return errors.Join(err, file.Close(), fs.ErrNotExist)
	}
	r, err := sstable.NewReader(ctx, readable, *s.reading)
	if err != nil {
		return errors.Join(err, readable.Close(), fs.ErrNotExist)
	}
	err = read(r)
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	return err
}

// size of the store's files, or what Pebble counts where they are out of sight.
func (s *store) size(files []engine.File) (size sdk.Size) {
	if files == nil {
		usage := int64(s.db.Metrics().DiskSpaceUsage())
		return sdk.Size{TotalBytes: usage, AllocatedBytes: usage}
	}
	for _, f := range files {
		size.TotalBytes += f.Size
		size.AllocatedBytes += f.Allocated
	}
	return size
}

// room is the error for a step that does not fit on the file system.
func (s *store) room(need int64) error {
	free, ok := s.free()
	if !ok || free >= need {
		return nil
	}
	return sdk.Errorf(sdk.ErrNoSpace, "compact %s: the next step needs %s, and %s are free", s.name, sdk.FormatBytes(need), sdk.FormatBytes(free)).
		WithHint("free space on the store's file system")
}

// writable is the error for a store that cannot be compacted, since it was opened
// for reading only. With keys that Pebble takes, Compact would do nothing.
func (s *store) writable(ctx context.Context, levels [][]engine.Table) error {
	readOnly := s.readOnly
	for _, level := range levels {
		if len(level) > 0 && !readOnly {
			key := level[0].Smallest
			// It looks at that before it finds that the range has no width.
			readOnly = errors.Is(s.db.Compact(ctx, key, key, false), pebbledb.ErrReadOnly)
			break
		}
	}
	if !readOnly {
		return nil
	}
	return s.readOnlyError()
}

func (s *store) readOnlyError() error {
	return sdk.Errorf(sdk.ErrUnsupported, "compact %s: its application has opened it for reading only", s.name).
		WithHint("compact it where it is open for writing, or let wring's pebble plugin do it when it is closed")
}

// readError gives an error of a measurement its kind.
func (s *store) readError(doing string, err error) error {
	if errors.Is(err, errClosed) {
		return s.closedError(sdk.ErrNotFound, doing)
	}
	return engine.ReadError(doing, s.name, err)
}

// workError gives an error of a compaction its kind. Whatever fails once ctx has
// ended is taken to fail for that, unless it says what it is.
func (s *store) workError(ctx context.Context, err error) error {
	var typed *sdk.Error
	switch {
	case errors.Is(err, errClosed):
		return s.closedError(sdk.ErrCancelled, "compact")
	case ctx.Err() != nil && !errors.As(err, &typed):
		return sdk.Errorf(sdk.ErrCancelled, "compact %s: %w", s.name, ctx.Err())
	}
	return engine.WorkError("compact", s.name, err)
}

func (s *store) closedError(kind error, doing string) error {
	return sdk.Errorf(kind, "%s %s: %w", doing, s.name, errClosed).
		WithHint("an application ends the context of live.Serve and waits for it before it closes its stores")
}
