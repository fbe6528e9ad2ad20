package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble"
	"github.com/wringdb/wring/sdk"
)

// wring is the backend, which also reads all content before and after, and compares
// it.
type wring struct{}

func (wring) name() string { return "wring" }

func (wring) compact(ctx context.Context, path string, busy func()) (d done, err error) {
	var verifies time.Time
	_, err = pebble.New(pebble.Config{}).Compact(ctx, sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(p sdk.Progress) {
		if p.Phase == "verify" && verifies.IsZero() {
			verifies = time.Now()
		}
		if d.written = p.BytesWritten; p.Phase == "compact" && d.written > 1<<20 {
			busy()
		}
	})
	if !verifies.IsZero() {
		d.verifying = time.Since(verifies)
	}
	return d, err
}

func measure(ctx context.Context, path string, depth sdk.Depth) (foretold, error) {
	began := time.Now()
	f, err := pebble.New(pebble.Config{}).Fragmentation(ctx, sdk.FragmentationRequest{Store: sdk.Store{Path: path}, Depth: depth})
	return foretold{Reclaimable: f.ReclaimableBytes, Read: int64(f.Metrics["bytes_read"]), TookMS: ms(time.Since(began))}, err
}

// whole is DB.Compact over all keys, under the store's own options; it compares
// nothing.
type whole struct{}

func (whole) name() string { return "DB.Compact" }

func (whole) compact(ctx context.Context, path string, busy func()) (done, error) {
	desc, err := pebbledb.Peek(path, vfs.Default)
	if err != nil {
		return done{}, err
	}
	text, err := os.ReadFile(desc.OptionsFilename)
	if err != nil {
		return done{}, err
	}
	options := &pebbledb.Options{}
	if err := options.Parse(string(text), &pebbledb.ParseHooks{SkipUnknown: func(string, string) bool { return true }}); err != nil {
		return done{}, err
	}
	counted := &countingFS{FS: vfs.Default, busy: busy}
	options.FS, options.ErrorIfNotExists, options.FormatMajorVersion = counted, true, desc.FormatMajorVersion
	options.DisableAutomaticCompactions, options.L0StopWritesThreshold, options.Logger = true, 1<<20, silent{}
	db, err := pebbledb.Open(path, options)
	if err != nil {
		return done{}, err
	}
	first, last, err := bounds(db)
	if err == nil && first != nil {
		err = db.Compact(ctx, first, append(last, 0), false)
	}
	if cerr := db.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = ctx.Err()
	}
	return done{written: counted.written.Load()}, err
}

func bounds(db *pebbledb.DB) (first, last []byte, err error) {
	levels, err := db.SSTables()
	for _, tables := range levels {
		for _, t := range tables {
			if first == nil || pebbledb.DefaultComparer.Compare(t.Smallest.UserKey, first) < 0 {
				first = t.Smallest.UserKey
			}
			if last == nil || pebbledb.DefaultComparer.Compare(t.Largest.UserKey, last) > 0 {
				last = t.Largest.UserKey
			}
		}
	}
	return first, append([]byte(nil), last...), err
}

// countingFS counts what is written.
type countingFS struct {
	vfs.FS
	written atomic.Int64
	busy    func()
}

func (f *countingFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, category)
	if err != nil {
		return nil, err
	}
	return &countedFile{file, f, strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".blob")}, nil
}

type countedFile struct {
	vfs.File
	fs    *countingFS
	table bool
}

func (f *countedFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	if written := f.fs.written.Add(int64(n)); f.table && written > 1<<20 {
		f.fs.busy()
	}
	return n, err
}

// silent drops what Pebble says.
type silent struct{}

func (silent) Infof(string, ...any)              {}
func (silent) Errorf(string, ...any)             {}
func (silent) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
