package pebble

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"syscall"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/sdk"
)

// cacheBytes is for blocks of one open store. The size in the OPTIONS file is
// meant for its application, and may be most of a machine's memory.
const cacheBytes = 32 << 20

// events takes what Pebble says in the background. It must not end the process,
// as Pebble's own logger does when a table vanishes under a reader.
type events struct {
	mu         sync.Mutex
	corruption error
	background error
	failed     string // set once Pebble has given up on the open store
}

// Infof and Errorf are dropped: what matters comes as an event or an error.
func (e *events) Infof(string, ...any)  {}
func (e *events) Errorf(string, ...any) {}

// Fatalf is for errors that Pebble cannot go on from. It must not return: in the
// calling goroutine the panic becomes an error of the call, in one of Pebble's
// own it ends the plugin, and the store recovers when it is opened again.
func (e *events) Fatalf(format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	e.mu.Lock()
	e.failed = message
	e.mu.Unlock()
	panic("pebble cannot go on: " + message)
}

func (e *events) hasFailed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.failed != ""
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

// openView opens a store for reading. With a lock that is held the view is the
// whole truth; with nil somebody may write meanwhile, and any error may be gone
// at the next attempt. With hideLogs writes that are only in the log are left out.
func (b *backend) openView(path string, lock *pebbledb.Lock, hideLogs bool, chosenBits float64, tr *traffic) (*view, error) {
	d, err := openDirectory(path)
	if err != nil {
		return nil, err
	}
	own, err := b.readOptions(d)
	if err != nil {
		return nil, err
	}
	v := &view{directory: d, own: own, fs: readOnly(vfs.Default), events: &events{}}
	v.fs.traffic, v.fs.hideLogs = tr, hideLogs
	options := own.parsed.Clone()
	options.FS = v.fs
	options.Lock = lock
	options.ReadOnly = true
	options.ErrorIfNotExists = true
	cache := pebbledb.NewCache(cacheBytes)
	defer cache.Unref()
	options.Cache = cache
	options.Logger = v.events
	options.EventListener = v.events.listener()
	v.db, err = pebbledb.Open(d.path, options)
	if err != nil {
		return nil, readError("open", d.path, err)
	}
	if err := v.load(b, chosenBits); err != nil {
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
	if v.db != nil && !v.events.hasFailed() {
		_ = v.db.Close() // nothing was written
	}
	v.db = nil
}

func (v *view) regions() []region { return regions(v.own.compare(), v.levels, v.pending) }

func (o *ownOptions) compare() pebbledb.Compare { return o.comparer().Compare }

func (o *ownOptions) comparer() *pebbledb.Comparer { return o.parsed.Comparer.EnsureDefaults() }

// readError gives an error from reading a store its kind: where the operating
// system is not to blame, the content is.
func readError(doing, path string, err error) error {
	if known := knownError(doing, path, err); known != nil {
		return known
	}
	return sdk.Errorf(sdk.ErrCorrupt, "%s %s: %s", doing, path, firstLine(err)).
		WithHint("restore the store from a backup; the pebble tool's `db check` tells more")
}

// workError gives an error from compacting a store its kind.
func workError(doing, path string, err error) error {
	if known := knownError(doing, path, err); known != nil {
		return known
	}
	if pebbledb.IsCorruptionError(err) {
		return readError(doing, path, err)
	}
	return sdk.Errorf(sdk.ErrInternal, "%s %s: %w", doing, path, err)
}

// knownError returns nil where the error has no kind of its own.
func knownError(doing, path string, err error) error {
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
