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

// Image is one state of the directory that a power cut may leave: contents by
// name.
type Image map[string][]byte

// Cut is the power cut after n operations and before the next. What is lost is
// taken from random.
func (j *Journal) Cut(n int, names Names, random *rand.Rand) (Image, error) {
	s, err := j.after(n)
	if err != nil {
		return nil, err
	}
	left := maps.Clone(s.durable)
	kept := random.IntN(len(s.pending) + 1)
	for i, c := range s.pending {
		if names == Journalled && i < kept || names == Unordered && random.IntN(2) == 0 {
			c.apply(left)
		}
	}
	image, torn := Image{}, map[int][]byte{}
	// In an order of their own, so that equal randomness makes equal images.
	for _, name := range slices.Sorted(maps.Keys(left)) {
		number := left[name]
		if _, ok := torn[number]; !ok {
			torn[number] = s.files[number].torn(random)
		}
		image[name] = torn[number]
	}
	return image, nil
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
	for name, data := range i {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Resume makes the directory as it is after n operations, with nothing lost: what
// another process finds when that of the journal was killed. The journal that it
// returns is for what is done next, and knows what is not on the disk yet.
func (j *Journal) Resume(n int, dir string) (*Journal, error) {
	s, err := j.after(n)
	if err != nil {
		return nil, err
	}
	image := Image{}
	for name, number := range s.names {
		image[name] = s.files[number].whole()
	}
	s.opened = map[int64]int{}
	return &Journal{dir: dir, base: *s}, image.Write(dir)
}
