package pebble

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/plugins/pebble/internal/rebuild"
	"github.com/wringdb/wring/plugins/pebble/internal/swap"
	"github.com/wringdb/wring/sdk"
)

// ingestAtOnce is how many tables are taken into the new store by one record of its
// manifest, and between two looks at the context.
const ingestAtOnce = 64

// rebuild writes the store anew beside itself and puts that in its place. Until then
// the store is only read: whatever fails, it stays as it is.
func (c *compaction) rebuild(ctx context.Context, old *view) (result sdk.CompactResult, err error) {
	result.Before, result.After = old.size(), old.size()
	if err := old.replaceable(c.compression); err != nil {
		return result, err
	}
	expected, err := c.measureRewrite(ctx, old, sdk.DepthSampled, c.compression)
	if err != nil {
		return result, err
	}
	if !rewriteWorth(expected, old, c.compression) {
		result.NoOp = true
		result.Note = "next to nothing in the store is dead"
		if c.compression != nil {
			result.Note = fmt.Sprintf("all tables have the compression %s already, and %s", c.compression.Name, result.Note)
		}
		return result, nil
	}
	if expected.Obstacle != nil {
		return result, expected.Obstacle
	}
	temp, err := swap.New(c.path, old.options, c.hook)
	if err != nil {
		return result, swapError(c.path, err)
	}
	defer func() {
		if left := temp.Discard(); left != nil {
			err = fmt.Errorf("%w; %s is left until the next compaction: %s", err, temp.Path, engine.FirstLine(left))
		}
	}()
	if err := old.settleFilters(ctx, c.bits); err != nil {
		return result, engine.ReadError("read the filters of", c.path, err)
	}
	c.notes = append(c.notes, old.notes...)
	c.notes = append(c.notes, old.compressionNotes(c.compression)...)
	result.Verification, err = c.renew(ctx, old, temp)
	if err != nil {
		return result, err
	}
	if err := c.replace(temp); err != nil {
		return result, err
	}
	done := directory{path: c.path}
	if err := done.list(); err != nil {
		return result, err
	}
	result.After = done.size()
	result.ReclaimedBytes = result.Before.AllocatedBytes - result.After.AllocatedBytes
	result.Note = strings.Join(c.notes, "; ")
	return result, nil
}

// renew makes the new store and holds it against the old one, which it closes.
func (c *compaction) renew(ctx context.Context, old *view, temp *swap.Temp) (*sdk.Verification, error) {
	tables, bytes, err := c.writeTables(ctx, old, temp)
	if err == nil {
		if err = c.assemble(ctx, old, temp, tables); pebbledb.IsCorruptionError(err) {
			err = copyError(c.path, err) // it is the copy that was read
		}
	}
	if err == nil {
		err = c.seal(ctx, old, temp)
	}
	if ctx.Err() != nil { // whatever that has led to
		err = ctx.Err()
	}
	if err != nil {
		return nil, writeError(c.path, err)
	}
	before, after, err := c.compare(ctx, old, temp, bytes)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, writeError(c.path, ctx.Err())
	}
	if err := old.unmixed(); err != nil { // nor has become so meanwhile
		return nil, err
	}
	old.close()
	return &sdk.Verification{
		DigestBefore: before.Digest, DigestAfter: after.Digest,
		ItemsBefore: before.Items, ItemsAfter: after.Items,
	}, nil
}

// writeTables writes the content into tables of the lowest level. It returns their
// paths and how many bytes of keys and values are in them.
func (c *compaction) writeTables(ctx context.Context, old *view, temp *swap.Temp) (paths []string, bytes int64, err error) {
	options := old.own.parsed.Clone()
	options.EnsureDefaults()
	working := c.newWorkFS(ctx, old)
	working.heeds.Store(true)
	total := max(1, engine.RawBytes(old.levels))
	c.Tell("copy", 0, total)
	_, err = rebuild.Tables{
		Comparer: options.Comparer,
		Options:  old.writerOptions(c.compression),
		Size:     options.TargetFileSizes[engine.Bottom],
		Create: func(n int) (vfs.File, error) {
			paths = append(paths, filepath.Join(temp.Path, fmt.Sprintf("table-%06d.sst", n)))
			file, err := working.Create(paths[n], vfs.WriteCategoryUnspecified)
			if err != nil {
				return nil, err
			}
			return vfs.NewSyncingFile(file, vfs.SyncingFileOptions{BytesPerSync: options.BytesPerSync}), nil
		},
	}.Write(ctx, old.db, func(done int64) {
		bytes = done
		c.Tell("copy", min(done, total), total)
	})
	if err == nil {
		err = old.events.first()
	}
	if err == nil {
		c.Tell("copy", total, total)
	}
	return paths, bytes, err
}

// assemble makes a store of the tables. What Pebble cannot go on from, such as a full
// disk when it writes the manifest, leaves that store alone open for ever, and nobody
// needs it any more.
func (c *compaction) assemble(ctx context.Context, old *view, temp *swap.Temp, tables []string) error {
	w := newWatch()
	_, _, err := apart(ctx, w, func() {}, func() (struct{}, error) {
		return struct{}{}, c.ingest(ctx, old, temp, tables, w)
	})
	return err
}

func (c *compaction) ingest(ctx context.Context, old *view, temp *swap.Temp, tables []string, w *watch) (err error) {
	c.Tell("ingest", 0, 0)
	working := c.newWorkFS(ctx, old)
	working.watch = w // what cannot be synced ends this work, and not the compaction's
	if err := goOn(working, temp.Path, old.directory); err != nil {
		return err
	}
	events := &events{watch: w}
	options := old.own.parsed.Clone()
	options.FS = unlockedFS{working}
	options.ErrorIfExists = true
	options.DisableAutomaticCompactions = true
	options.Experimental.ValidateOnIngest = false // all is read and compared below
	cache := pebbledb.NewCache(c.cacheBytes)
	defer cache.Unref()
	options.Cache = cache
	options.Logger = events
	options.EventListener = events.listener()
	db, err := pebbledb.Open(temp.Path, options)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := db.Close(); err == nil {
			err = cerr
		}
	}()
	working.heeds.Store(true)
	for from := 0; from < len(tables); from += ingestAtOnce {
		if err := db.Ingest(ctx, tables[from:min(from+ingestAtOnce, len(tables))]); err != nil {
			return err
		}
		if err := errors.Join(ctx.Err(), events.first()); err != nil {
			return err
		}
	}
	for _, name := range tables {
		// Pebble has them by another name now, and does not mind if this one stays.
		if err := working.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	levels, err := engine.ReadLevels(db)
	if err == nil && len(levels[engine.Bottom]) != len(tables) {
		err = fmt.Errorf("of %d tables only %d are in the lowest level", len(tables), len(levels[engine.Bottom]))
	}
	return err
}

// goOn lets the new store count its files from where the old one is: no table of it gets
// a name under which somebody may know another, such as a backup of tables that never
// change. The manifest and the markers begin at 1 again, with another content.
func goOn(fs vfs.FS, dir string, old directory) error {
	highest, err := old.highest()
	if err != nil {
		return err
	}
	// Pebble passes over the number of a file that it made for a moment, and removes it.
	f, err := fs.Create(temporaryName(dir, highest), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	return f.Close()
}

// unlockedFS is of a directory that nobody else knows of, whose LOCK is that of the
// store: the one lock of this process is on it already, and would be lost with a second.
type unlockedFS struct{ *workFS }

// Lock implements vfs.FS.
func (unlockedFS) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

func (c *compaction) newWorkFS(ctx context.Context, old *view) *workFS {
	return &workFS{FS: c.fs, traffic: &c.traffic, options: old.own.text, cancelled: ctx.Err, watch: newWatch()}
}

// seal makes the new directory last, with the owner and attributes of the old one.
func (c *compaction) seal(ctx context.Context, old *view, temp *swap.Temp) error {
	c.Tell("sync", 0, 0)
	var done int64
	return temp.Seal(ctx, old.options, func(file fs.FileInfo) {
		done += file.Size()
		c.Tell("sync", done, 0)
	})
}

// compare reads both stores to their ends, at the same time, and has Pebble check the
// new one.
func (c *compaction) compare(ctx context.Context, old *view, temp *swap.Temp, bytes int64) (before, after engine.Content, err error) {
	fresh, err := c.openView(ctx, temp.Path, viewing{once: true, traffic: &c.traffic, watch: c.watch})
	if err != nil {
		return before, after, copyError(c.path, err)
	}
	defer fresh.close()
	total := max(1, 2*bytes)
	var done atomic.Int64
	read := func(v *view, sum *engine.Content) func() error {
		return func() error {
			var told int64
			content := engine.NewSum(v.own.compare(), 0)
			err := content.Add(ctx, v.db, nil, nil, func(bytes int64) error {
				c.Tell("verify", min(done.Add(bytes-told), total), total)
				told = bytes
				return nil
			})
			*sum = content.Content()
			return errors.Join(err, v.events.first())
		}
	}
	wait := engine.Beside(read(old, &before))
	freshErr := read(fresh, &after)()
	oldErr := wait()
	switch {
	case ctx.Err() != nil:
		return before, after, sdk.Errorf(sdk.ErrCancelled, "verify %s: %w", c.path, ctx.Err())
	case oldErr != nil:
		return before, after, engine.ReadError("read", c.path, oldErr)
	case freshErr != nil:
		return before, after, copyError(c.path, freshErr)
	case before.Digest != after.Digest || before.Items != after.Items:
		return before, after, copyError(c.path, fmt.Errorf("%d items with digest %s, and the store %d with %s",
			after.Items, after.Digest, before.Items, before.Digest))
	}
	c.Tell("levels", 0, 0)
	err = c.checkLevels(fresh, nil)
	if ctx.Err() != nil {
		return before, after, sdk.Errorf(sdk.ErrCancelled, "verify %s: %w", c.path, ctx.Err())
	}
	if err != nil {
		err = copyError(c.path, err)
	}
	return before, after, err
}

// replace puts the new directory in the store's place. From here on the end of the
// context no longer matters.
func (c *compaction) replace(temp *swap.Temp) error {
	c.Tell("replace", 0, 0)
	if err := c.held.extend(temp.Path); err != nil {
		return swapError(c.path, err)
	}
	replaced, err := temp.Replace()
	switch {
	case replaced && err != nil:
		return sdk.Errorf(sdk.ErrInternal, "%s was written anew and replaced, but: %w", c.path, err).
			WithHint("the content is complete in the store and in %s, which the next compaction removes; look at the file system's health", temp.Path)
	case err != nil:
		return swapError(c.path, err)
	}
	if err := temp.Finish(); err != nil {
		c.notes = append(c.notes, "the old directory is left, and the next compaction removes it: "+engine.FirstLine(err))
	}
	return nil
}

// sweep removes what dead rewrites have left. The store has been opened.
func (c *compaction) sweep() {
	if _, err := swap.Sweep(c.path, c.hook); err != nil {
		c.notes = append(c.notes, "not all that a dead compaction left is removed: "+engine.FirstLine(err))
	}
}

// sweepLogs removes what a kill has left of logs that were being made in directories of
// their own. In the store's, Pebble does.
func (c *compaction) sweepLogs(v *view) {
	for _, dir := range v.own.logDirs(v.directory) {
		left, err := filepath.Glob(filepath.Join(dir, "temporary.*.dbtmp"))
		if err != nil || filepath.Clean(dir) == c.path {
			continue
		}
		for _, name := range left {
			if err := os.Remove(name); err != nil {
				c.notes = append(c.notes, "what a dead compaction left is not removed: "+engine.FirstLine(err))
			}
		}
	}
}

// Sweep implements sdk.Sweeper: it removes the directories that dead rewrites have
// left beside the store. While somebody has the store open they stay.
func (b *backend) Sweep(ctx context.Context, store sdk.Store) ([]string, error) {
	path, err := resolve(store.Path)
	if err != nil {
		return nil, err
	}
	if found, err := swap.Leftovers(path); err != nil || !found {
		return nil, err
	}
	_, held, err := b.lockStore(path)
	if errors.Is(err, sdk.ErrBusy) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	w := newWatch()
	removed, stuck, err := apart(ctx, w, func() {}, func() ([]string, error) {
		defer held.release()
		v, err := b.openView(ctx, path, viewing{lock: held.lock, watch: w})
		if err != nil {
			return nil, err // there may be no other copy
		}
		v.close()
		return swap.Sweep(path, b.hook)
	})
	if stuck {
		return nil, held.abandon(err)
	}
	return removed, err
}
