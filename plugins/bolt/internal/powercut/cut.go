package powercut

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wringdb/wring/plugins/bolt/internal/replace"
)

// A disk writes a sector whole or not at all, and a file system mostly blocks,
// in bytes.
const (
	sector = 512
	block  = 4096
)

// Names is how much of the order in which names were changed is kept on the
// disk.
type Names string

const (
	// Journalled file systems, such as ext4 and XFS, keep the order.
	Journalled Names = "journalled"
	// Unordered is all that POSIX promises.
	Unordered Names = "unordered"
)

// Image is one state of the directory that a power cut may leave.
type Image struct {
	state *state
	names map[string]int
	files map[int]content
}

// Cut is the power cut after n operations and before the next. What is lost is
// taken from random.
func (j *Journal) Cut(n int, names Names, random *rand.Rand) (*Image, error) {
	s, err := j.after(n)
	if err != nil {
		return nil, err
	}
	image := &Image{state: s, names: maps.Clone(s.durable), files: map[int]content{}}
	kept := random.IntN(len(s.pending) + 1)
	for i, r := range s.pending {
		if names == Journalled && i < kept || names == Unordered && random.IntN(2) == 0 {
			r.apply(image.names)
		}
	}
	// In an order of their own, so that equal randomness makes equal images.
	for _, name := range slices.Sorted(maps.Keys(image.names)) {
		number := image.names[name]
		if _, ok := image.files[number]; !ok {
			image.files[number] = s.torn(s.files[number], random)
		}
	}
	return image, nil
}

// torn is the content with some of what is pending.
func (s *state) torn(f *file, random *rand.Rand) content {
	c := f.durable
	c.data = bytes.Clone(c.data)
	unit := int64(sector)
	if random.IntN(2) == 0 {
		unit = block
	}
	switch random.IntN(5) {
	case 0: // nothing
	case 1: // everything
		return s.all(f)
	case 2: // the first writes, the last one of these in part
		kept := random.IntN(len(f.pending) + 1)
		for i, op := range f.pending[:kept] {
			if i == kept-1 {
				end := random.Int64N(int64(len(op.Data)) + 1)
				s.part(&c, op, unit, func(at int64) bool { return at < end })
				break
			}
			s.change(&c, op)
		}
	default: // any part of any write
		share := []float64{0.05, 0.5, 0.95}[random.IntN(3)]
		for _, op := range f.pending {
			s.part(&c, op, unit, func(int64) bool { return random.Float64() < share })
		}
	}
	// The size may be on the disk before the data is.
	if size := len(s.all(f).data); size > len(c.data) && random.IntN(3) == 0 {
		c.resize(int64(size))
	}
	return c
}

// part makes those units of a change that kept says yes to, by their offsets
// in it.
func (s *state) part(c *content, op replace.Op, unit int64, kept func(at int64) bool) {
	switch op.Kind {
	case replace.OpWrite, replace.OpPoison:
		for at := int64(0); at < int64(len(op.Data)); at += unit {
			if kept(at) {
				c.put(op.Data[at:min(at+unit, int64(len(op.Data)))], op.Offset+at)
			}
		}
	default: // one change in the file system's own books
		if kept(0) {
			s.change(c, op)
		}
	}
}

// Write puts the image into an empty directory and returns the path of the
// store there. The files have inodes of their own, which the names of temps
// say.
func (i *Image) Write(dir string) (string, error) {
	path, _, err := i.write(dir)
	return path, err
}

func (i *Image) write(dir string) (path string, names map[string]string, err error) {
	inodes := map[int]string{}
	for number, c := range i.files {
		draft := filepath.Join(dir, fmt.Sprint("draft", number))
		if err := errors.Join(os.WriteFile(draft, c.data, 0o600), os.Chown(draft, c.uid, c.gid), os.Chmod(draft, c.mode)); err != nil {
			return "", nil, err
		}
		if _, inodes[number], err = attributes(draft); err != nil {
			return "", nil, err
		}
	}
	names = map[string]string{}
	for name, number := range i.names {
		names[name] = i.renamed(name, inodes)
		if err := os.Link(filepath.Join(dir, fmt.Sprint("draft", number)), filepath.Join(dir, names[name])); err != nil {
			return "", nil, err
		}
	}
	for number := range i.files {
		if err := os.Remove(filepath.Join(dir, fmt.Sprint("draft", number))); err != nil {
			return "", nil, err
		}
	}
	return filepath.Join(dir, i.state.name), names, nil
}

// renamed is the name of a temp with the numbers that its inodes have now.
func (i *Image) renamed(name string, inodes map[int]string) string {
	prefix, parts, ok := parse(name)
	if !ok {
		return name
	}
	for _, at := range []int{markOld, markOwn} {
		if at >= len(parts) {
			continue
		}
		now := "1" // a file that is gone; no other has that number
		if number, ok := i.state.numbers[parts[at]]; ok && inodes[number] != "" {
			now = inodes[number]
		}
		parts[at] = now
	}
	return prefix + strings.Join(parts, "-") + suffix
}

// The name of a temp ends with parts: see package replace. Two of them are
// numbers of inodes, of which the last is missing at first.
const (
	infix   = ".wring-"
	suffix  = ".tmp"
	markOld = 1
	markOwn = 3
)

func parse(name string) (prefix string, parts []string, ok bool) {
	at := strings.LastIndex(name, infix)
	if at < 0 || !strings.HasSuffix(name, suffix) {
		return "", nil, false
	}
	at += len(infix)
	parts = strings.Split(strings.TrimSuffix(name[at:], suffix), "-")
	return name[:at], parts, len(parts) == markOwn || len(parts) == markOwn+1
}

// Resume writes the state after n operations into an empty directory, with
// nothing lost: what another process finds when that of the journal was killed.
// It returns the path of the store there, and a journal for what is done
// next, which knows what is not on the disk yet.
func (j *Journal) Resume(n int, dir string) (*Journal, string, error) {
	s, err := j.after(n)
	if err != nil {
		return nil, "", err
	}
	image := &Image{state: s, names: s.names, files: map[int]content{}}
	for _, number := range s.names {
		image.files[number] = s.all(s.files[number])
	}
	path, names, err := image.write(dir)
	if err != nil {
		return nil, "", err
	}
	next := &Journal{base: *s, canonical: map[string]string{}}
	for own, now := range names {
		next.canonical[now] = own
	}
	return next, path, nil
}
