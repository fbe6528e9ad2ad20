package sdk

import (
	"bytes"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"syscall"
)

// MaxMagic is how many bytes the magic of a signature may have; a longer one
// matches nothing.
const MaxMagic = 4096

// Candidate is a file or directory that signatures are held against.
type Candidate struct {
	path  string
	file  *os.File // nil for a directory
	names []string // of a directory
}

// OpenCandidate opens what is at path, and lists it if it is a directory. Its
// errors are the system's. It does not wait for a pipe to be written to.
func OpenCandidate(path string) (*Candidate, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.IsDir() {
		return &Candidate{path: path, file: f}, nil
	}
	defer f.Close()
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	return &Candidate{path: path, names: names}, nil
}

// Close ends the use of it.
func (c *Candidate) Close() {
	if c.file != nil {
		_ = c.file.Close() // only read
	}
}

// Matches says whether a signature fits. It reads a few bytes.
func (c *Candidate) Matches(s Signature) bool {
	if s.DirEntry == "" {
		return c.file != nil && len(s.Magic) > 0 && hasMagic(c.file, s)
	}
	return c.file == nil && slices.ContainsFunc(c.names, func(name string) bool {
		if ok, err := path.Match(s.DirEntry, name); err != nil || !ok {
			return false
		}
		return len(s.Magic) == 0 || fileHasMagic(filepath.Join(c.path, name), s)
	})
}

func fileHasMagic(path string, s Signature) bool {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return hasMagic(f, s)
}

func hasMagic(r io.ReaderAt, s Signature) bool {
	if s.Offset < 0 || len(s.Magic) > MaxMagic {
		return false
	}
	got := make([]byte, len(s.Magic))
	_, err := r.ReadAt(got, s.Offset)
	return err == nil && bytes.Equal(got, s.Magic)
}
