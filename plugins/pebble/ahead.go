package pebble

import (
	"bufio"
	"errors"
	"io"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// aheadBytes are read at once, in the end, of a table that is read in order, and
	// written at once: Pebble asks for one block of a few kilobytes at a time.
	aheadBytes = 128 << 10
	// aheadFirst is how many are read ahead at first; then twice as many each time.
	aheadFirst = 16 << 10
	// aheadStreams is how many such readings may go on at a time. A compaction has one
	// in each table of the topmost level, and one in each level below.
	aheadStreams = 64
	// aheadAfter is after how many reads in order one is taken for going on.
	aheadAfter = 2
)

// ahead reads tables ahead, which nobody changes: what it has read of one stays true.
type ahead struct {
	mu      sync.Mutex
	streams [aheadStreams]stream
	clock   int64
	spare   [][]byte // buffers of aheadBytes, as many as were in use at a time
}

// buffer takes a spare one.
func (a *ahead) buffer() []byte {
	n := len(a.spare)
	if n == 0 {
		return make([]byte, aheadBytes)
	}
	buffer := a.spare[n-1]
	a.spare = a.spare[:n-1]
	return buffer
}

// release gives back what a stream had.
func (a *ahead) release(data []byte) {
	if data != nil {
		a.spare = append(a.spare, data[:aheadBytes])
	}
}

// stream is a reading in order.
type stream struct {
	file *aheadFile // nil for none
	next int64      // offset of what comes next
	run  int        // how often that was asked for, and not there
	used int64      // when, by the clock
	from int64      // offset of data
	data []byte     // what was read ahead, in a buffer; nil for nothing
}

// holds says whether what was read ahead has a part of a file.
func (s *stream) holds(f *aheadFile, off int64, n int) bool {
	return s.file == f && off >= s.from && off+int64(n) <= s.from+int64(len(s.data))
}

func (a *ahead) file(inner vfs.File) *aheadFile { return &aheadFile{File: inner, ahead: a} }

// find returns the reading that a read belongs to, or the one that has rested for
// longest, which ends.
func (a *ahead) find(f *aheadFile, off int64, n int) *stream {
	a.clock++
	oldest := &a.streams[0]
	for i := range a.streams {
		s := &a.streams[i]
		if s.file == f && (s.next == off || s.holds(f, off, n)) {
			s.used = a.clock
			return s
		}
		if s.used < oldest.used {
			oldest = s
		}
	}
	a.release(oldest.data)
	*oldest = stream{file: f, next: off, used: a.clock}
	return oldest
}

// forget ends the readings of a file.
func (a *ahead) forget(f *aheadFile) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.streams {
		if a.streams[i].file == f {
			a.release(a.streams[i].data)
			a.streams[i] = stream{}
		}
	}
}

// aheadFile is a table that is read.
type aheadFile struct {
	vfs.File
	ahead *ahead
}

func (f *aheadFile) ReadAt(p []byte, off int64) (int, error) {
	a := f.ahead
	a.mu.Lock()
	s := a.find(f, off, len(p))
	s.next = off + int64(len(p))
	if s.holds(f, off, len(p)) {
		n := copy(p, s.data[off-s.from:])
		a.mu.Unlock()
		return n, nil
	}
	if s.run++; s.run <= aheadAfter || len(p) >= aheadBytes {
		a.mu.Unlock()
		return f.File.ReadAt(p, off)
	}
	want := min(aheadBytes, max(len(p), aheadFirst<<min(s.run-aheadAfter-1, 16)))
	data := s.data
	if s.data = nil; data == nil { // nobody else has it meanwhile
		data = a.buffer()
	}
	a.mu.Unlock()
	n, err := f.File.ReadAt(data[:want], off)
	copied := copy(p, data[:n])
	a.mu.Lock()
	if copied == len(p) && s.file == f && s.data == nil && s.next == off+int64(len(p)) {
		s.from, s.data = off, data[:n]
	} else { // another one is there by now, or nothing
		a.release(data)
	}
	a.mu.Unlock()
	switch {
	case copied == len(p):
		return copied, nil
	case errors.Is(err, io.EOF):
		return copied, err
	default: // what lies ahead cannot be read; what was asked for may be whole
		return f.File.ReadAt(p, off)
	}
}

func (f *aheadFile) Close() error {
	f.ahead.forget(f)
	return f.File.Close()
}

// behindFile is a table that is written, a good piece at a time.
type behindFile struct {
	vfs.File
	buffer *bufio.Writer
}

func behind(inner vfs.File) *behindFile {
	return &behindFile{File: inner, buffer: bufio.NewWriterSize(inner, aheadBytes)}
}

func (f *behindFile) Write(p []byte) (int, error) { return f.buffer.Write(p) }

func (f *behindFile) Sync() error {
	if err := f.buffer.Flush(); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *behindFile) SyncData() error {
	if err := f.buffer.Flush(); err != nil {
		return err
	}
	return f.File.SyncData()
}

func (f *behindFile) SyncTo(length int64) (bool, error) {
	if err := f.buffer.Flush(); err != nil {
		return false, err
	}
	return f.File.SyncTo(length)
}

func (f *behindFile) Close() error {
	err := f.buffer.Flush()
	if cerr := f.File.Close(); err == nil {
		err = cerr
	}
	return err
}

var (
	_ vfs.File = (*aheadFile)(nil)
	_ vfs.File = (*behindFile)(nil)
)
