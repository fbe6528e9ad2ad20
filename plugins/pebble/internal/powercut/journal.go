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
	"strings"
	"sync"

	"github.com/wringdb/wring/plugins/pebble/internal/faultfs"
)

// Journal is what was done to a directory, to those in it and to the files in them.
type Journal struct {
	mu   sync.Mutex
	dir  string
	base state
	ops  []faultfs.Op
	// open is where in ops there is one whose data can be seen only once it is done.
	open []int
}

// state of the directories. Files and directories are known by their numbers.
type state struct {
	files   []*file
	dirs    []*directory  // the first is the journal's
	pending []change      // in their order
	opened  map[int64]int // files by the numbers that faultfs gave them when they were opened
	ordered bool          // names reach the disk in their order
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

// directory has names as processes see them, and those that are on the disk.
type directory struct{ names, durable map[string]node }

// node is a file or directory by its number.
type node struct {
	dir    bool
	number int
}

// change of names in a directory: of a node that loses one, or gets one, or both at
// once, or that has its name exchanged with that of the other.
type change struct {
	in       int
	from, to string
	node     node
	other    *node // nil for no exchange
}

// New begins a journal of a directory all of which is on the disk.
func New(dir string) (*Journal, error) {
	s := state{opened: map[int64]int{}}
	if _, err := s.read(dir); err != nil {
		return nil, err
	}
	return &Journal{dir: dir, base: s}, nil
}

// read takes in a directory, and returns its number.
func (s *state) read(dir string) (number int, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	number = s.makeDir().number
	names := s.dirs[number].names
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if entry.IsDir() {
			inner, err := s.read(path)
			if err != nil {
				return 0, err
			}
			names[entry.Name()] = node{dir: true, number: inner}
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return 0, err
		}
		names[entry.Name()] = s.makeFile(data)
	}
	s.dirs[number].durable = maps.Clone(names)
	return number, nil
}

func (s *state) makeFile(data []byte) node {
	s.files = append(s.files, &file{durable: data})
	return node{number: len(s.files) - 1}
}

func (s *state) makeDir() node {
	s.dirs = append(s.dirs, &directory{names: map[string]node{}, durable: map[string]node{}})
	return node{dir: true, number: len(s.dirs) - 1}
}

// Around is a faultfs.Around that does everything, one operation after the other,
// and records what has succeeded. An operation of the kind Other has its name before
// that of the file, and is done by others after Around has returned.
func (j *Journal) Around(op faultfs.Op, do func() error) error {
	what, path := other(op)
	if !op.Changes() || !j.within(path) {
		return do()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.fill(); err != nil {
		return err
	}
	op.Data = bytes.Clone(op.Data) // the file system may change it
	err := do()
	if err == nil {
		if what == "create" || what == "write" {
			j.open = append(j.open, len(j.ops))
		}
		j.ops = append(j.ops, op)
	}
	return err
}

// within says whether a path is that of the directory, or of one in it.
func (j *Journal) within(path string) bool {
	return path == j.dir || strings.HasPrefix(path, j.dir+string(filepath.Separator))
}

// fill looks at what others have written.
func (j *Journal) fill() error {
	for _, i := range j.open {
		_, path := other(j.ops[i])
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		j.ops[i].Data = data
	}
	j.open = nil
	return nil
}

// other is what others do, and with which path; "" where the operation is none of theirs.
func other(op faultfs.Op) (what, path string) {
	if op.Kind != faultfs.Other {
		return "", op.Name
	}
	what, base, _ := strings.Cut(filepath.Base(op.Name), " ")
	return what, filepath.Join(filepath.Dir(op.Name), base)
}

// Ops are what has been recorded.
func (j *Journal) Ops() []faultfs.Op { return j.ops }

// Without returns the journal of a process that leaves operations out, for tests
// that this is noticed.
func (j *Journal) Without(left func(i int, op faultfs.Op) bool) *Journal {
	without := &Journal{dir: j.dir, base: j.base}
	for i, op := range j.ops {
		if !left(i, op) {
			without.ops = append(without.ops, op)
		}
	}
	return without
}

// after is the state once n operations have been done and nothing is lost yet.
func (j *Journal) after(n int, names Names) (*state, error) {
	s := j.base.clone()
	s.ordered = names == Journalled
	for i, op := range j.ops[:n] {
		if err := s.apply(j.dir, op); err != nil {
			return nil, fmt.Errorf("operation %d, %s: %w", i, op, err)
		}
	}
	return s, nil
}

func (s *state) clone() *state {
	c := &state{pending: slices.Clone(s.pending), opened: maps.Clone(s.opened)}
	for _, f := range s.files {
		c.files = append(c.files, &file{durable: f.durable, pending: slices.Clone(f.pending)})
	}
	for _, d := range s.dirs {
		c.dirs = append(c.dirs, &directory{names: maps.Clone(d.names), durable: maps.Clone(d.durable)})
	}
	return c
}

// find gives the number of the directory that a path is in, and the last name of it.
func (s *state) find(root, path string) (dir int, name string, err error) {
	relative, err := filepath.Rel(root, path)
	if err != nil {
		return 0, "", err
	}
	parts := strings.Split(relative, string(filepath.Separator))
	for _, part := range parts[:len(parts)-1] {
		inner, ok := s.dirs[dir].names[part]
		if !ok || !inner.dir {
			return 0, "", fmt.Errorf("there is no directory %s", part)
		}
		dir = inner.number
	}
	return dir, parts[len(parts)-1], nil
}

func (s *state) apply(root string, op faultfs.Op) error {
	what, path := other(op)
	if what == "attributes" { // which a journal does not know, and partly of directories for a moment
		return nil
	}
	if path == root && (op.Kind == faultfs.SyncDir || what == "sync") {
		s.flush(0)
		return nil
	}
	in, name, err := s.find(root, path)
	if err != nil {
		return err
	}
	old, ok := s.dirs[in].names[name]
	switch {
	case op.Kind == faultfs.Create, what == "create":
		if ok {
			s.rename(change{in: in, from: name, node: old}) // which is what the file system does
		}
		made := s.makeFile(nil)
		if op.Kind == faultfs.Create {
			s.opened[op.File] = made.number
		} else {
			s.files[made.number].pending = []write{{0, op.Data}}
		}
		s.rename(change{in: in, to: name, node: made})
		return nil
	case op.Kind == faultfs.Write, op.Kind == faultfs.Sync:
		number, ok := s.opened[op.File]
		if !ok {
			return fmt.Errorf("the file was not opened")
		}
		s.files[number].do(op.Kind == faultfs.Sync, write{op.Offset, op.Data})
		return nil
	case what == "mkdir":
		s.rename(change{in: in, to: name, node: s.makeDir()})
		return nil
	case what == "link": // of the store's file of that name
		from, fromName, err := s.find(root, filepath.Join(storeOf(filepath.Dir(path)), name))
		if err == nil {
			s.rename(change{in: in, to: name, node: s.dirs[from].names[fromName]})
		}
		return err
	case what == "rename": // of the hosts' lock, which is not there
		return nil
	case !ok:
		return fmt.Errorf("there is no such file")
	}
	return s.applyTo(root, op, in, name, old)
}

// applyTo does what is done to something that is there.
func (s *state) applyTo(root string, op faultfs.Op, in int, name string, old node) error {
	what, path := other(op)
	switch {
	case old.dir && (op.Kind == faultfs.SyncDir || what == "sync"):
		s.flush(old.number)
	case what == "write", what == "sync":
		s.files[old.number].do(what == "sync", write{0, op.Data})
	case what == "exchange":
		store := filepath.Base(storeOf(path))
		other := s.dirs[in].names[store]
		s.rename(change{in: in, from: name, to: store, node: old, other: &other})
	case op.Kind == faultfs.Remove, what == "remove", what == "rmdir":
		s.rename(change{in: in, from: name, node: old})
	case op.Kind == faultfs.Link, op.Kind == faultfs.Rename, op.Kind == faultfs.Reuse:
		to, toName, err := s.find(root, op.To)
		if err != nil || to != in {
			return fmt.Errorf("it leads to another directory: %w", err)
		}
		c := change{in: in, from: name, to: toName, node: old}
		if op.Kind == faultfs.Link {
			c.from = ""
		}
		if op.Kind == faultfs.Reuse {
			s.opened[op.File] = old.number
		}
		s.rename(c)
	default:
		return fmt.Errorf("not known")
	}
	return nil
}

// storeOf is the path of the store that a new directory beside it is to replace.
func storeOf(temp string) string {
	dir, name := filepath.Split(temp)
	name, _, _ = strings.Cut(strings.TrimPrefix(name, "."), ".wring-")
	return filepath.Join(dir, name)
}

// rename changes names as processes see them.
func (s *state) rename(c change) {
	s.pending = append(s.pending, c)
	c.apply(s.dirs[c.in].names)
}

// flush makes the names in a directory last, and where they reach the disk in order
// those that were changed before in others.
func (s *state) flush(dir int) {
	last := -1
	for i, c := range s.pending {
		if c.in == dir {
			last = i
		}
	}
	var left []change
	for i, c := range s.pending {
		if c.in == dir || s.ordered && i < last {
			c.apply(s.dirs[c.in].durable)
		} else {
			left = append(left, c)
		}
	}
	s.pending = left
}

func (c change) apply(names map[string]node) {
	if c.other != nil {
		names[c.from] = *c.other
	} else if now, ok := names[c.from]; ok && now == c.node {
		delete(names, c.from)
	}
	if c.to != "" {
		names[c.to] = c.node
	}
}

// do writes or syncs.
func (f *file) do(sync bool, w write) {
	if sync {
		f.durable, f.pending = f.whole(), nil
	} else {
		f.pending = append(f.pending, w)
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
