// Package faultfs is a file system for tests that stand between Pebble and its
// files: they see each operation before it is done, and do it, a part of it or
// nothing, fail it, or end the process.
package faultfs

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Kind of an operation.
type Kind string

// Operations that change what is on the disk.
const (
	Create  Kind = "create"
	Reuse   Kind = "reuse" // a rename, and the file is opened to be written over
	Write   Kind = "write"
	Sync    Kind = "sync"
	SyncDir Kind = "sync of directory"
	Rename  Kind = "rename"
	Link    Kind = "link"
	Remove  Kind = "remove"
	// Other is a change that others make by themselves, and tell an Around of.
	Other Kind = "other"
)

// Operations that leave it as it is, but may fail as well. Close is of files that
// were written to.
const (
	MakeDir  Kind = "mkdir"
	Allocate Kind = "allocate"
	Close    Kind = "close"
	Open     Kind = "open"
	Read     Kind = "read"
	List     Kind = "list"
	Stat     Kind = "stat"
	Usage    Kind = "disk usage"
)

// Op is an operation that is about to be done.
type Op struct {
	Kind Kind
	// Name is the path; of a rename, a link and a reuse that before, and To the new
	// one.
	Name, To string
	// File is the number of the open file, for what is done to one, and for what
	// opens one. No two openings have the same.
	File int64
	// Offset and Data of a write.
	Offset int64
	Data   []byte

	write func(p []byte) error
}

// Changes says whether another state of the disk may be found after the operation.
func (o Op) Changes() bool {
	switch o.Kind {
	case Create, Reuse, Write, Sync, SyncDir, Rename, Link, Remove, Other:
		return true
	default:
		return false
	}
}

// Reads says whether it only looks.
func (o Op) Reads() bool {
	switch o.Kind {
	case Open, Read, List, Stat, Usage:
		return true
	default:
		return false
	}
}

// WritePart writes the first n bytes of a write.
func (o Op) WritePart(n int) error { return o.write(o.Data[:n]) }

// String names the operation and the file, without its directory.
func (o Op) String() string {
	if o.To != "" {
		return fmt.Sprintf("%s %s to %s", o.Kind, filepath.Base(o.Name), filepath.Base(o.To))
	}
	return fmt.Sprintf("%s %s", o.Kind, filepath.Base(o.Name))
}

// Around is called instead of each operation, from several goroutines. It returns
// the operation's error; do does all of it.
type Around func(op Op, do func() error) error

// New makes a file system on another one. Locks are taken there without a word.
func New(inner vfs.FS, around Around) vfs.FS { return &fileSystem{FS: inner, around: around} }

type fileSystem struct {
	vfs.FS
	around Around
	files  atomic.Int64 // opened so far
}

// open opens a file by an operation of its kind.
func (f *fileSystem) open(op Op, open func() (vfs.File, error)) (vfs.File, error) {
	op.File = f.files.Add(1)
	opened := &file{fs: f, number: op.File, name: op.Name, writes: op.Kind != Open}
	if op.To != "" {
		opened.name = op.To
	}
	err := f.around(op, func() error {
		inner, err := open()
		if err == nil {
			opened.File = inner
		}
		return err
	})
	if err != nil && opened.File != nil {
		_ = opened.File.Close() // nobody else knows of it
	}
	if err != nil {
		return nil, err
	}
	return opened, nil
}

func (f *fileSystem) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return f.open(Op{Kind: Create, Name: name}, func() (vfs.File, error) { return f.FS.Create(name, category) })
}

func (f *fileSystem) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return f.open(Op{Kind: Reuse, Name: from, To: to}, func() (vfs.File, error) { return f.FS.ReuseForWrite(from, to, category) })
}

// OpenReadWrite refuses: Pebble opens no file of a store that way, and whoever
// writes there would go unseen.
func (f *fileSystem) OpenReadWrite(name string, _ vfs.DiskWriteCategory, _ ...vfs.OpenOption) (vfs.File, error) {
	return nil, fmt.Errorf("faultfs: %s is opened for reading and writing, which is not known here", name)
}

func (f *fileSystem) Open(name string, options ...vfs.OpenOption) (vfs.File, error) {
	return f.open(Op{Kind: Open, Name: name}, func() (vfs.File, error) { return f.FS.Open(name, options...) })
}

func (f *fileSystem) OpenDir(name string) (vfs.File, error) {
	opened := &directory{fs: f, name: name}
	err := f.around(Op{Kind: Open, Name: name}, func() (err error) {
		opened.File, err = f.FS.OpenDir(name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return opened, nil
}

func (f *fileSystem) Link(from, to string) error {
	return f.around(Op{Kind: Link, Name: from, To: to}, func() error { return f.FS.Link(from, to) })
}

func (f *fileSystem) Remove(name string) error {
	return f.around(Op{Kind: Remove, Name: name}, func() error { return f.FS.Remove(name) })
}

func (f *fileSystem) RemoveAll(name string) error {
	return f.around(Op{Kind: Remove, Name: name}, func() error { return f.FS.RemoveAll(name) })
}

func (f *fileSystem) Rename(from, to string) error {
	return f.around(Op{Kind: Rename, Name: from, To: to}, func() error { return f.FS.Rename(from, to) })
}

func (f *fileSystem) MkdirAll(name string, mode os.FileMode) error {
	return f.around(Op{Kind: MakeDir, Name: name}, func() error { return f.FS.MkdirAll(name, mode) })
}

func (f *fileSystem) List(name string) (names []string, err error) {
	err = f.around(Op{Kind: List, Name: name}, func() (err error) {
		names, err = f.FS.List(name)
		return err
	})
	return names, err
}

func (f *fileSystem) Stat(name string) (info vfs.FileInfo, err error) {
	err = f.around(Op{Kind: Stat, Name: name}, func() (err error) {
		info, err = f.FS.Stat(name)
		return err
	})
	return info, err
}

func (f *fileSystem) GetDiskUsage(name string) (usage vfs.DiskUsage, err error) {
	err = f.around(Op{Kind: Usage, Name: name}, func() (err error) {
		usage, err = f.FS.GetDiskUsage(name)
		return err
	})
	return usage, err
}

func (f *fileSystem) Unwrap() vfs.FS { return f.FS }

// file is an open one.
type file struct {
	vfs.File
	fs       *fileSystem
	number   int64
	name     string
	writes   bool
	position int64 // of the next write; Pebble has one writer of a file at a time
}

func (f *file) op(kind Kind) Op { return Op{Kind: kind, Name: f.name, File: f.number} }

func (f *file) Write(p []byte) (written int, err error) {
	op := f.op(Write)
	op.Offset, op.Data = f.position, p
	op.write = func(p []byte) error {
		n, err := f.File.Write(p)
		written += n
		f.position += int64(n)
		return err
	}
	err = f.fs.around(op, func() error { return op.write(p) })
	return written, err
}

// WriteAt refuses: no file is opened so that it could.
func (f *file) WriteAt([]byte, int64) (int, error) {
	return 0, fmt.Errorf("faultfs: %s is written to at an offset, which is not known here", f.name)
}

func (f *file) Read(p []byte) (n int, err error) {
	err = f.fs.around(f.op(Read), func() (err error) {
		n, err = f.File.Read(p)
		return err
	})
	return n, err
}

func (f *file) ReadAt(p []byte, offset int64) (n int, err error) {
	err = f.fs.around(f.op(Read), func() (err error) {
		n, err = f.File.ReadAt(p, offset)
		return err
	})
	return n, err
}

func (f *file) Stat() (info vfs.FileInfo, err error) {
	err = f.fs.around(f.op(Stat), func() (err error) {
		info, err = f.File.Stat()
		return err
	})
	return info, err
}

func (f *file) Preallocate(offset, length int64) error {
	return f.fs.around(f.op(Allocate), func() error { return f.File.Preallocate(offset, length) })
}

func (f *file) Sync() error     { return f.fs.around(f.op(Sync), f.File.Sync) }
func (f *file) SyncData() error { return f.fs.around(f.op(Sync), f.File.SyncData) }

// SyncTo promises nothing, so that nothing is done: a campaign must find out who
// relies on it.
func (f *file) SyncTo(int64) (fullSync bool, err error) { return false, nil }

// Close closes the file whatever becomes of the operation, as systems do.
func (f *file) Close() error {
	if !f.writes {
		return f.File.Close()
	}
	closed := false
	closing := func() error {
		closed = true
		return f.File.Close()
	}
	err := f.fs.around(f.op(Close), closing)
	if !closed {
		_ = closing()
	}
	return err
}

// directory is one that is open to be synced.
type directory struct {
	vfs.File
	fs   *fileSystem
	name string
}

func (d *directory) Sync() error {
	return d.fs.around(Op{Kind: SyncDir, Name: d.name}, d.File.Sync)
}

func (d *directory) SyncData() error { return d.Sync() }

var (
	_ vfs.FS   = (*fileSystem)(nil)
	_ vfs.File = (*file)(nil)
	_ vfs.File = (*directory)(nil)
)
