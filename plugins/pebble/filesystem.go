package pebble

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/plugins/pebble/internal/swap"
)

// traffic counts the bytes of one call, and keeps those of tables to its rate.
type traffic struct {
	read, written atomic.Int64
	// wait holds up who has read or written so many bytes of a table; may be nil.
	wait func(bytes int64)
}

func (t *traffic) bytes() (read, written int64) { return t.read.Load(), t.written.Load() }

// errReadOnlyFS is what a measurement gets that tries to change something.
var errReadOnlyFS = errors.New("measuring must not change the store")

// readOnlyFS lets Pebble open a store that somebody else may hold: it takes no
// lock and refuses every change.
type readOnlyFS struct {
	vfs.FS
	traffic *traffic
	// hideLogs keeps Pebble from replaying the write-ahead log.
	hideLogs bool
	// cancelled is the context's Err; may be nil. Once it returns an error, so do
	// reads: nothing else ends what Pebble does in one call.
	cancelled func() error
	// apart keeps tables from being read ahead.
	apart bool
	ahead ahead

	mu sync.Mutex
	// replayed are the names of the log files that Pebble opened; it leaves
	// obsolete ones alone.
	replayed map[string]bool
}

func readOnly(inner vfs.FS) *readOnlyFS {
	return &readOnlyFS{FS: inner, traffic: &traffic{}, replayed: map[string]bool{}}
}

func (f *readOnlyFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	inner, err := f.FS.Open(name, opts...)
	if err != nil {
		return nil, err
	}
	if base := filepath.Base(name); (engine.File{Name: base}).IsLog() {
		f.mu.Lock()
		f.replayed[base] = true
		f.mu.Unlock()
	}
	counted := &countedFile{File: inner, traffic: f.traffic, paced: isTable(name), readable: f.cancelled}
	if !isTable(name) || f.apart {
		return counted, nil
	}
	return f.ahead.file(counted), nil
}

func (f *readOnlyFS) List(dir string) ([]string, error) {
	names, err := f.FS.List(dir)
	if err != nil || !f.hideLogs {
		return names, err
	}
	shown := names[:0]
	for _, name := range names {
		if !(engine.File{Name: name}).IsLog() {
			shown = append(shown, name)
		}
	}
	return shown, nil
}

// Lock succeeds without touching the LOCK file: opening and closing it would
// drop the lock of an owner in this very process.
func (f *readOnlyFS) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

func (f *readOnlyFS) Create(string, vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, errReadOnlyFS
}
func (f *readOnlyFS) Link(string, string) error { return errReadOnlyFS }
func (f *readOnlyFS) OpenReadWrite(string, vfs.DiskWriteCategory, ...vfs.OpenOption) (vfs.File, error) {
	return nil, errReadOnlyFS
}
func (f *readOnlyFS) Remove(string) error         { return errReadOnlyFS }
func (f *readOnlyFS) RemoveAll(string) error      { return errReadOnlyFS }
func (f *readOnlyFS) Rename(string, string) error { return errReadOnlyFS }
func (f *readOnlyFS) ReuseForWrite(string, string, vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, errReadOnlyFS
}
func (f *readOnlyFS) MkdirAll(string, os.FileMode) error { return errReadOnlyFS }

// Unwrap shows nothing, lest somebody reach the file system below.
func (f *readOnlyFS) Unwrap() vfs.FS { return nil }

// workFS is what a compaction works on. It counts bytes, keeps the store's
// OPTIONS file as its application wrote it, and stops tables from being
// written once the compaction is cancelled.
type workFS struct {
	vfs.FS
	traffic *traffic
	// options is the text that stays in the OPTIONS file: ours would name
	// the cache and the pacing of this compaction as the store's.
	options []byte
	// like is what new files get the owner and attributes of; nil in a directory whose
	// files get them in the end.
	like *swap.Model
	// cancelled is the context's Err. Once it returns an error, so do writes of
	// tables: only then does Pebble give up a running compaction, and it removes
	// what it wrote so far.
	cancelled func() error
	// rewritesBlobs is set where Pebble rewrites blob files by itself.
	rewritesBlobs bool
	// heeds is set once cancelled counts. It does not while the store is being
	// opened, when Pebble retries its flushes for ever.
	heeds atomic.Bool
	// watch of the call. Once that has returned, Pebble retries its flush only
	// every now and then instead of using a processor up.
	watch *watch
	ahead ahead
}

// retryEvery is how long each retry of a flush is held up that nobody waits for.
const retryEvery = time.Second

func (f *workFS) check(name string) error {
	if !f.heeds.Load() || !isTable(name) || f.fragile(name) {
		return nil
	}
	return f.cancelled()
}

// fragile says whether an error of a file, be it for a cancel, makes Pebble panic in a
// goroutine of its own, which would end the process. It does where rewriting a blob
// file fails halfway, and where opening the store fails while it has begun to.
func (f *workFS) fragile(name string) bool {
	return f.rewritesBlobs && (strings.HasSuffix(name, ".blob") || f.opens())
}

// opens says whether the store is being opened.
func (f *workFS) opens() bool { return !f.heeds.Load() }

// mind lets nobody go on with an error of what is fragile.
func (f *workFS) mind(fragile bool, err error) error {
	if fragile && err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, fs.ErrNotExist) {
		f.watch.park(newFatalError("%v", err))
	}
	return err
}

func isTable(name string) bool {
	return strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".blob")
}

func (f *workFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.Open(name, opts...)
	file, err = f.wrap(name)(file, f.mind(f.fragile(name), err))
	if err != nil || !isTable(name) {
		return file, err
	}
	return f.ahead.file(file), nil
}

func (f *workFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.check(name); err != nil {
		return nil, err
	}
	if isTable(name) && f.watch.left.Load() {
		time.Sleep(retryEvery)
	}
	if err := f.order(name); err != nil {
		return nil, err
	}
	file, err := f.create(name, category)
	// A blob file that cannot be created is no harm.
	file, err = f.wrap(name)(file, f.mind(f.fragile(name) && !strings.HasSuffix(name, ".blob"), err))
	if err != nil || !isTable(name) {
		return file, err
	}
	return behind(file), nil
}

// create makes a file that belongs to whom the store belongs to: to its application it
// would be out of reach where another user compacts.
func (f *workFS) create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	made := name
	if log := (engine.File{Name: filepath.Base(name)}); f.like != nil && log.IsLog() {
		// A log counts by being there, even if a kill has left it without its owner.
		number, _ := log.Serial()
		made = temporaryName(filepath.Dir(name), number)
	}
	file, err := f.FS.Create(made, category)
	if err != nil {
		return nil, err
	}
	err = f.adapt(made, file)
	if err == nil && made != name {
		if err = f.FS.Rename(made, name); err != nil {
			_ = file.Close() // the first error counts
		}
	}
	if err != nil {
		_ = f.FS.Remove(made)
		return nil, err
	}
	return file, nil
}

// temporaryName is of a file that Pebble removes from the store's directory when it is
// opened.
func temporaryName(dir string, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("temporary.%06d.dbtmp", number))
}

// adapt makes a new file like the others, or closes it.
func (f *workFS) adapt(name string, file vfs.File) error {
	if f.like == nil {
		return nil
	}
	err := f.like.Give(name, file.Fd())
	if err != nil {
		_ = file.Close()
	}
	return err
}

func (f *workFS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return f.wrap(name)(f.FS.OpenReadWrite(name, category, opts...))
}

func (f *workFS) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.ReuseForWrite(from, to, category)
	if err == nil {
		err = f.adapt(to, file)
	}
	return f.wrap(to)(file, f.mind(f.fragile(to), err))
}

func (f *workFS) Remove(name string) error {
	if err := f.order(name); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

// order syncs the directory before a marker comes or goes. Pebble relies on names
// to reach the disk in the order in which they were made, which is not so on all
// file systems: a power cut could leave a marker of a manifest that is not there,
// or no marker at all.
func (f *workFS) order(name string) error {
	if !strings.HasPrefix(filepath.Base(name), "marker.") {
		return nil
	}
	dir, err := f.FS.OpenDir(filepath.Dir(name))
	if err != nil {
		return err
	}
	err = dir.Sync()
	if cerr := dir.Close(); err == nil {
		err = cerr
	}
	return err
}

func (f *workFS) OpenDir(name string) (vfs.File, error) {
	dir, err := f.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &workDir{File: dir, name: name, watch: f.watch}, nil
}

// workDir is the store's directory. Pebble panics where it cannot be synced, partly
// in goroutines of its own, which would end the process: what was to be synced may
// be lost, and another try would not tell.
type workDir struct {
	vfs.File
	name  string
	watch *watch
}

func (d *workDir) Sync() error {
	err := d.File.Sync()
	if err != nil {
		d.watch.park(newFatalError("sync directory %s: %v", d.name, err))
	}
	return err
}

// Rename puts the store's own text in place of an OPTIONS file that Pebble is
// about to name.
func (f *workFS) Rename(from, to string) error {
	if strings.HasPrefix(filepath.Base(to), "OPTIONS-") {
		if err := f.writeOptions(from); err != nil {
			return f.mind(f.fragile(to), err)
		}
	}
	return f.mind(f.fragile(to), f.FS.Rename(from, to))
}

func (f *workFS) List(name string) ([]string, error) {
	names, err := f.FS.List(name)
	return names, f.mind(f.fragile(name), err)
}

func (f *workFS) writeOptions(name string) error {
	out, err := f.create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = out.Write(append([]byte(nil), f.options...)) // Write may change its argument
	if err == nil {
		err = out.Sync()
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	return err
}

func (f *workFS) Unwrap() vfs.FS { return f.FS }

func (f *workFS) wrap(name string) func(vfs.File, error) (vfs.File, error) {
	return func(inner vfs.File, err error) (vfs.File, error) {
		if err != nil {
			return nil, err
		}
		if f.rewritesBlobs {
			inner = &fragileFile{File: inner, fs: f, name: name}
		}
		return &countedFile{File: inner, traffic: f.traffic, paced: isTable(name), writable: func() error { return f.check(name) }}, nil
	}
}

// fragileFile is one whose errors are minded.
type fragileFile struct {
	vfs.File
	fs   *workFS
	name string
}

func (f *fragileFile) mind(err error) error { return f.fs.mind(f.fs.fragile(f.name), err) }

func (f *fragileFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	return n, f.mind(err)
}

func (f *fragileFile) ReadAt(p []byte, offset int64) (int, error) {
	n, err := f.File.ReadAt(p, offset)
	return n, f.mind(err)
}

func (f *fragileFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, f.mind(err)
}

func (f *fragileFile) Stat() (vfs.FileInfo, error) {
	info, err := f.File.Stat()
	return info, f.mind(err)
}

func (f *fragileFile) Sync() error     { return f.mind(f.File.Sync()) }
func (f *fragileFile) SyncData() error { return f.mind(f.File.SyncData()) }
func (f *fragileFile) Close() error    { return f.mind(f.File.Close()) }

// countedFile adds what is read and written to the traffic.
type countedFile struct {
	vfs.File
	traffic *traffic
	paced   bool // it keeps to the rate
	// readable and writable are asked before each read or write; may be nil.
	readable, writable func() error
}

func ask(whether func() error) error {
	if whether == nil {
		return nil
	}
	return whether()
}

func (f *countedFile) Read(p []byte) (int, error) {
	if err := ask(f.readable); err != nil {
		return 0, err
	}
	n, err := f.File.Read(p)
	f.moved(&f.traffic.read, n)
	return n, err
}

func (f *countedFile) ReadAt(p []byte, offset int64) (int, error) {
	if err := ask(f.readable); err != nil {
		return 0, err
	}
	n, err := f.File.ReadAt(p, offset)
	f.moved(&f.traffic.read, n)
	return n, err
}

func (f *countedFile) Write(p []byte) (int, error) {
	if err := ask(f.writable); err != nil {
		return 0, err
	}
	n, err := f.File.Write(p)
	f.moved(&f.traffic.written, n)
	return n, err
}

func (f *countedFile) moved(count *atomic.Int64, bytes int) {
	count.Add(int64(bytes))
	if f.paced && f.traffic.wait != nil {
		f.traffic.wait(int64(bytes))
	}
}

var (
	_ vfs.FS   = (*readOnlyFS)(nil)
	_ vfs.FS   = (*workFS)(nil)
	_ vfs.File = (*countedFile)(nil)
	_ vfs.File = (*workDir)(nil)
	_ vfs.File = (*fragileFile)(nil)
)
