package powercut

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
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
	// Files are contents by name. That of a file in another directory has its name, too.
	Files map[string][]byte
	// dirs are the names of directories, and links other names of files that have two.
	dirs  []string
	links map[string]string
}

// Cut is the power cut after n operations and before the next. What is lost is
// taken from random.
func (j *Journal) Cut(n int, names Names, random *rand.Rand) (Image, error) {
	s, err := j.after(n, names)
	if err != nil {
		return Image{}, err
	}
	kept := random.IntN(len(s.pending) + 1)
	for i, c := range s.pending {
		if names == Journalled && i < kept || names == Unordered && random.IntN(2) == 0 {
			c.apply(s.dirs[c.in].durable)
		}
	}
	return s.image(func(d *directory) map[string]node { return d.durable }, func(f *file) []byte { return f.torn(random) }), nil
}

// image is of the names and contents that are so.
func (s *state) image(names func(*directory) map[string]node, content func(*file) []byte) Image {
	image := Image{Files: map[string][]byte{}, links: map[string]string{}}
	first := map[int]string{}
	var walk func(dir int, prefix string)
	walk = func(dir int, prefix string) {
		left := names(s.dirs[dir])
		// In an order of their own, so that equal randomness makes equal images.
		for _, name := range slices.Sorted(maps.Keys(left)) {
			path, n := filepath.Join(prefix, name), left[name]
			if n.dir {
				image.dirs = append(image.dirs, path)
				walk(n.number, path)
				continue
			}
			if other, ok := first[n.number]; ok {
				image.Files[path], image.links[path] = image.Files[other], other
				continue
			}
			first[n.number] = path
			image.Files[path] = content(s.files[n.number])
		}
	}
	walk(0, "")
	return image
}

// torn is the content with some of what is pending.
func (f *file) torn(random *rand.Rand) []byte {
	data := bytes.Clone(f.durable)
	unit := int64(sector)
	if random.IntN(2) == 0 {
		unit = block
	}
	switch random.IntN(5) {
	case 0: // nothing
	case 1: // everything
		return f.whole()
	case 2: // the first writes, the last one of these in part
		kept := random.IntN(len(f.pending) + 1)
		for i, w := range f.pending[:kept] {
			if i == kept-1 {
				w.data = w.data[:random.IntN(len(w.data)+1)]
			}
			data = put(data, w.data, w.offset)
		}
	default: // any units, each with everything that was written to it
		share := []float64{0.05, 0.5, 0.95}[random.IntN(3)]
		kept := map[int64]bool{}
		for _, w := range f.pending {
			for at := int64(0); at < int64(len(w.data)); {
				number := (w.offset + at) / unit
				if _, ok := kept[number]; !ok {
					kept[number] = random.Float64() < share
				}
				end := min((number+1)*unit-w.offset, int64(len(w.data)))
				if kept[number] {
					data = put(data, w.data[at:end], w.offset+at)
				}
				at = end
			}
		}
	}
	// The size may be on the disk before the data is.
	if size := int64(len(f.whole())); size > int64(len(data)) && random.IntN(3) == 0 {
		data = put(data, nil, size)
	}
	return data
}

// Write makes the directory with the image in it.
func (i Image) Write(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for _, name := range i.dirs { // those that others are in come first
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			return err
		}
	}
	for name, data := range i.Files {
		if _, ok := i.links[name]; ok {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	for name, other := range i.links {
		if err := os.Link(filepath.Join(dir, other), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// Resume makes the directory as it is after n operations, with nothing lost: what
// another process finds when that of the journal was killed. The journal that it
// returns is for what is done next, and knows what is not on the disk yet. It is cut
// with the same names.
func (j *Journal) Resume(n int, names Names, dir string) (*Journal, error) {
	s, err := j.after(n, names)
	if err != nil {
		return nil, err
	}
	s.opened = map[int64]int{}
	image := s.image(func(d *directory) map[string]node { return d.names }, (*file).whole)
	return &Journal{dir: dir, base: *s}, image.Write(dir)
}
