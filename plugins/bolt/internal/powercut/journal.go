// Package powercut rebuilds, for tests, what a power cut may leave on the disk
// of the files that a replacement works on.
//
// A Journal records each operation through the hook of package replace. Of
// what was recorded only that is sure to be on the disk which was synced
// afterwards; the rest may be there, or not, or in part. A cut takes one of the
// many states that are legal at one moment; Image writes it into a directory,
// where recovery can be tried on it.
package powercut

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/wringdb/wring/plugins/bolt/internal/replace"
)

// Journal is what was done to a store and to the temps beside it.
type Journal struct {
	mu   sync.Mutex
	base state
	ops  []replace.Op
	// canonical are the names of the journal for those of a directory into
	// which it was written: see Resume.
	canonical map[string]string
}

// content of a file, with its attributes.
type content struct {
	data     []byte
	mode     fs.FileMode
	uid, gid int
}

// file is an inode: what is on the disk, and what only the system's memory has.
type file struct {
	durable content
	pending []replace.Op
}

// store is the number of the file that was the store in the beginning.
const store = 0

// state of a directory. Files are known by their numbers.
type state struct {
	name    string         // of the store
	numbers map[string]int // the inodes of the recorded files, as hexadecimal digits
	files   []*file
	names   map[string]int // as processes see them
	durable map[string]int
	pending []rename
}

// rename is a change of a name: of a file that becomes from or to, or that
// loses the name.
type rename struct {
	kind     replace.OpKind
	from, to string
	file     int
}

// New begins a journal with the store at path, all of which is on the disk. It
// must be the only file in its directory that the journal is to know.
func New(path string) (*Journal, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c, inode, err := attributes(path)
	if err != nil {
		return nil, err
	}
	c.data = data
	name := filepath.Base(path)
	names := map[string]int{name: store}
	return &Journal{base: state{
		name: name, numbers: map[string]int{inode: store},
		files: []*file{{durable: c}},
		names: names, durable: maps.Clone(names),
	}}, nil
}

// Unsynced says that the store was written to before the journal began and not
// synced since: where the file before had other bytes, these are on the disk
// still, or again. Both are of the same length.
func (j *Journal) Unsynced(before []byte) error {
	now := j.base.files[store].durable.data
	if len(before) != len(now) {
		return fmt.Errorf("%d bytes before, %d now", len(before), len(now))
	}
	f := j.base.files[store]
	for at := 0; at < len(now); at += block {
		end := min(at+block, len(now))
		if !bytes.Equal(before[at:end], now[at:end]) {
			f.pending = append(f.pending, replace.Op{Kind: replace.OpWrite, Offset: int64(at), Data: now[at:end]})
		}
	}
	f.durable.data = bytes.Clone(before)
	return nil
}

func attributes(path string) (content, string, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return content{}, "", err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return content{}, "", fmt.Errorf("%s: the owner is not known", path)
	}
	return content{mode: info.Mode(), uid: int(stat.Uid), gid: int(stat.Gid)}, fmt.Sprintf("%x", stat.Ino), nil
}

// Record is a replace.Hook.
func (j *Journal) Record(op replace.Op) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	op.Path, op.To = j.own(op.Path), j.own(op.To)
	op.Data = bytes.Clone(op.Data)
	j.ops = append(j.ops, op)
	return nil
}

// own returns the journal's name for a path.
func (j *Journal) own(path string) string {
	if path == "" {
		return ""
	}
	name := filepath.Base(path)
	if known, ok := j.canonical[name]; ok {
		return known
	}
	return name
}

// Ops are what has been recorded.
func (j *Journal) Ops() []replace.Op { return j.ops }

// Without returns the journal of a process that leaves operations out, for
// tests that this is noticed.
func (j *Journal) Without(left func(i int, op replace.Op) bool) *Journal {
	other := &Journal{base: j.base, canonical: j.canonical}
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
			return nil, fmt.Errorf("operation %d, %s of %s: %w", i, op.Kind, op.Path, err)
		}
	}
	return s, nil
}

func (s *state) clone() *state {
	c := *s
	c.numbers, c.names, c.durable = maps.Clone(s.numbers), maps.Clone(s.names), maps.Clone(s.durable)
	c.pending = slices.Clone(s.pending)
	c.files = nil
	for _, f := range s.files {
		c.files = append(c.files, &file{durable: f.durable, pending: slices.Clone(f.pending)})
	}
	return &c
}

func (s *state) apply(op replace.Op) error {
	switch op.Kind {
	case replace.OpCreate:
		f := s.files[store].durable
		s.files = append(s.files, &file{durable: content{mode: 0o600, uid: f.uid, gid: f.gid}})
		s.rename(rename{kind: op.Kind, to: op.Path, file: len(s.files) - 1})
		return nil
	case replace.OpPoison, replace.OpPunch:
		s.files[store].pending = append(s.files[store].pending, op)
		return nil
	case replace.OpSyncOld:
		s.sync(store)
		return nil
	case replace.OpSyncDir:
		s.durable, s.pending = maps.Clone(s.names), nil
		return nil
	case replace.OpRelease:
		return nil
	default: // of a file by its name
	}
	number, ok := s.names[op.Path]
	if !ok {
		return errors.New("there is no such file")
	}
	switch op.Kind {
	case replace.OpRename, replace.OpExchange, replace.OpUnlink:
		s.rename(rename{op.Kind, op.Path, op.To, number})
		// A temp's name has its inode's number from the beginning.
		if _, parts, ok := parse(op.To); ok && len(parts) > markOwn && op.Kind == replace.OpRename {
			s.numbers[parts[markOwn]] = number
		}
	case replace.OpWrite, replace.OpTruncate, replace.OpAttributes:
		s.files[number].pending = append(s.files[number].pending, op)
	case replace.OpSync:
		s.sync(number)
	default:
		return errors.New("not known")
	}
	return nil
}

func (s *state) sync(number int) {
	f := s.files[number]
	f.durable, f.pending = s.all(f), nil
}

func (s *state) rename(r rename) {
	s.pending = append(s.pending, r)
	r.apply(s.names)
}

// apply changes the names, as far as those that it needs are there.
func (r rename) apply(names map[string]int) {
	switch r.kind {
	case replace.OpCreate:
		names[r.to] = r.file
	case replace.OpUnlink:
		delete(names, r.from)
	case replace.OpRename:
		if n, ok := names[r.from]; ok && n == r.file {
			delete(names, r.from)
			names[r.to] = r.file
		}
	case replace.OpExchange:
		from, ok := names[r.from]
		if to, okToo := names[r.to]; ok && okToo {
			names[r.from], names[r.to] = to, from
		}
	default: // no other operation changes a name
	}
}

// all is the content with everything that is pending.
func (s *state) all(f *file) content {
	c := f.durable
	c.data = bytes.Clone(c.data)
	for _, op := range f.pending {
		s.change(&c, op)
	}
	return c
}

func (s *state) change(c *content, op replace.Op) {
	switch op.Kind {
	case replace.OpWrite, replace.OpPoison:
		c.put(op.Data, op.Offset)
	case replace.OpPunch:
		end := min(op.Offset+op.Length, int64(len(c.data)))
		clear(c.data[min(op.Offset, end):end])
	case replace.OpTruncate:
		c.resize(op.Length)
	case replace.OpAttributes:
		of := s.files[store].durable
		c.mode, c.uid, c.gid = of.mode, of.uid, of.gid
	default: // no other operation changes a content
	}
}

func (c *content) put(b []byte, at int64) {
	if end := at + int64(len(b)); end > int64(len(c.data)) {
		c.resize(end)
	}
	copy(c.data[at:], b)
}

func (c *content) resize(n int64) {
	if n <= int64(len(c.data)) {
		c.data = c.data[:n]
		return
	}
	c.data = append(c.data, make([]byte, n-int64(len(c.data)))...)
}
