// Package powercut rebuilds, for tests, what a power cut may leave on the disk of
// the directory that a store is in.
//
// A Journal records each operation that changes something, from a file system of
// package faultfs. Of what was recorded only that is sure to be on the disk which
// was synced afterwards; the rest may be there, or not, or in part. A cut takes
// one of the many states that are legal at one moment, and an Image of it can be
// written into a directory, where recovery can be tried on it.
package powercut

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/wringdb/wring/plugins/pebble/internal/faultfs"
)

// Journal is what was done to a directory and to the files in it.
type Journal struct {
	mu   sync.Mutex
	dir  string
	base state
	ops  []faultfs.Op
}

// state of a directory. Files are known by their numbers.
type state struct {
	files   []*file
	names   map[string]int // as processes see them
	durable map[string]int
	pending []change
	opened  map[int64]int // files by the numbers that faultfs gave them when they were opened
}

// file is an inode: what is on the disk, and what only the system's memory has.
type file struct {
	durable []byte // never changed in place
	pending []write
}

type write struct {
	offset int64
	data   []byte
}

// change of names: of a file that loses one, or gets one, or both at once.
type change struct {
	from, to string
	file     int
}

// New begins a journal of a directory all of which is on the disk.
func New(dir string) (*Journal, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := map[string]int{}
	var files []*file
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, err
		}
		names[entry.Name()] = len(files)
		files = append(files, &file{durable: data})
	}
	return &Journal{dir: dir, base: state{files: files, names: names, durable: maps.Clone(names), opened: map[int64]int{}}}, nil
}

// Around is a faultfs.Around that does everything, one operation after the other,
// and records what has succeeded.
func (j *Journal) Around(op faultfs.Op, do func() error) error {
	if !op.Changes() || op.Kind == faultfs.Other { // which is not of what it knows
		return do()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	op.Data = bytes.Clone(op.Data) // the file system may change it
	err := do()
	if err == nil {
		j.ops = append(j.ops, op)
	}
	return err
}

// Ops are what has been recorded.
func (j *Journal) Ops() []faultfs.Op { return j.ops }

// Without returns the journal of a process that leaves operations out, for tests
// that this is noticed.
func (j *Journal) Without(left func(i int, op faultfs.Op) bool) *Journal {
	other := &Journal{dir: j.dir, base: j.base}
	for i, op := range j.ops {
		if !left(i, op) {
			other.ops = append(other.ops, op)
		}
	}
	return other
}

// after is the state once n operations have been done and nothing is lost yet.
func (j *Journal) after(n int) (*state, error) {
	s := j.base.clone()
	for i, op := range j.ops[:n] {
		if err := s.apply(op); err != nil {
			return nil, fmt.Errorf("operation %d, %s: %w", i, op, err)
		}
	}
	return s, nil
}

func (s *state) clone() *state {
	c := &state{
		names: maps.Clone(s.names), durable: maps.Clone(s.durable),
		pending: slices.Clone(s.pending), opened: maps.Clone(s.opened),
	}
	for _, f := range s.files {
		c.files = append(c.files, &file{durable: f.durable, pending: slices.Clone(f.pending)})
	}
	return c
}

func (s *state) apply(op faultfs.Op) error {
	name, to := filepath.Base(op.Name), filepath.Base(op.To)
	switch op.Kind {
	case faultfs.SyncDir:
		s.durable, s.pending = maps.Clone(s.names), nil
		return nil
	case faultfs.Create:
		if old, ok := s.names[name]; ok {
			s.rename(change{from: name, file: old}) // which is what the file system does
		}
		s.files = append(s.files, &file{})
		s.opened[op.File] = len(s.files) - 1
		s.rename(change{to: name, file: len(s.files) - 1})
		return nil
	case faultfs.Write, faultfs.Sync:
		number, ok := s.opened[op.File]
		if !ok {
			return fmt.Errorf("the file was not opened")
		}
		f := s.files[number]
		if op.Kind == faultfs.Sync {
			f.durable, f.pending = f.whole(), nil
		} else {
			f.pending = append(f.pending, write{op.Offset, op.Data})
		}
		return nil
	default: // of a file by its name
	}
	number, ok := s.names[name]
	if !ok {
		return fmt.Errorf("there is no such file")
	}
	switch op.Kind {
	case faultfs.Remove:
		s.rename(change{from: name, file: number})
	case faultfs.Link:
		s.rename(change{to: to, file: number})
	case faultfs.Reuse:
		s.opened[op.File] = number
		s.rename(change{from: name, to: to, file: number})
	case faultfs.Rename:
		s.rename(change{from: name, to: to, file: number})
	default:
		return fmt.Errorf("not known")
	}
	return nil
}

func (s *state) rename(c change) {
	s.pending = append(s.pending, c)
	c.apply(s.names)
}

func (c change) apply(names map[string]int) {
	if number, ok := names[c.from]; ok && number == c.file {
		delete(names, c.from)
	}
	if c.to != "" {
		names[c.to] = c.file
	}
}

// whole is the content with everything that is pending.
func (f *file) whole() []byte {
	data := bytes.Clone(f.durable)
	for _, w := range f.pending {
		data = put(data, w.data, w.offset)
	}
	return data
}

// put writes to a content, and returns what it becomes.
func put(data, b []byte, at int64) []byte {
	if end := at + int64(len(b)); end > int64(len(data)) {
		data = append(data, make([]byte, end-int64(len(data)))...)
	}
	copy(data[at:], b)
	return data
}
