package pebble

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble/internal/faultfs"
	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// TestAhead reads files in order and at random, many at a time, and gets what is
// there, for fewer reads of the file system.
func TestAhead(t *testing.T) {
	const size, block, files = 1 << 20, 4000, 3
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(1, 1))
	var content [files][]byte
	var names [files]string
	for i := range files {
		content[i] = make([]byte, size+i*1000)
		for j := range content[i] {
			content[i][j] = byte(random.Uint32())
		}
		names[i] = filepath.Join(dir, string(rune('a'+i))+".sst")
		if err := os.WriteFile(names[i], content[i], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var reads atomic.Int64
	fs := readOnly(faultfs.New(vfs.Default, func(op faultfs.Op, do func() error) error {
		if op.Kind == faultfs.Read {
			reads.Add(1)
		}
		return do()
	}))
	var readers sync.WaitGroup
	for i := range 4 * files {
		readers.Go(func() {
			want := content[i%files]
			f, err := fs.Open(names[i%files])
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			random := rand.New(rand.NewPCG(2, uint64(i)))
			buffer := make([]byte, block)
			for off := 0; off < len(want); off += block {
				for _, at := range []int{off, random.IntN(len(want))} {
					n, err := f.ReadAt(buffer, int64(at))
					if rest := want[at:min(len(want), at+block)]; !bytes.Equal(buffer[:n], rest) {
						t.Errorf("%d bytes at %d are others", n, at)
					}
					if short := at+block > len(want); (short && !errors.Is(err, io.EOF)) || (!short && err != nil) {
						t.Errorf("%d bytes at %d of %d, error %v", n, at, len(want), err)
					}
				}
			}
		})
	}
	readers.Wait()
	in := int64(4 * files * (size / block)) // in order, and as many at random
	if n := reads.Load(); n > in+in/3 {
		t.Errorf("%d reads for %d in order and as many at random", n, in)
	}
}

// damaged is a file that can be read to a certain byte.
type damaged struct {
	vfs.File
	whole int64
}

func (d damaged) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > d.whole {
		return 0, syscall.EIO
	}
	return len(p), nil
}

// TestAheadOfDamage reads what can be read of a file that cannot be read to its end.
func TestAheadOfDamage(t *testing.T) {
	const size, block, whole = 256 << 10, 4096, 100 << 10
	var a ahead
	f := a.file(damaged{whole: whole})
	for off := int64(0); off < size; off += block {
		n, err := f.ReadAt(make([]byte, block), off)
		if readable := off+block <= whole; readable && (n != block || err != nil) || !readable && !errors.Is(err, syscall.EIO) {
			t.Errorf("%d bytes at %d, error %v", n, off, err)
		}
	}
}

// TestBehind has a disk that is full: who writes a table learns of it before that
// counts as synced.
func TestBehind(t *testing.T) {
	dir := t.TempDir()
	work := &workFS{traffic: &traffic{}, watch: newWatch(), cancelled: func() error { return nil }}
	work.FS = faultfs.New(vfs.Default, func(op faultfs.Op, do func() error) error {
		if op.Kind == faultfs.Write {
			return &os.PathError{Op: "write", Path: op.Name, Err: syscall.ENOSPC}
		}
		return do()
	})
	for name, tell := range map[string]func(vfs.File) error{
		"Sync":     vfs.File.Sync,
		"SyncData": vfs.File.SyncData,
		"SyncTo": func(f vfs.File) error {
			_, err := f.SyncTo(1)
			return err
		},
		"Close": vfs.File.Close,
	} {
		f, err := work.Create(filepath.Join(dir, name+".sst"), "")
		if err != nil {
			t.Fatal(err)
		}
		if n, err := f.Write([]byte("block")); n != 5 || err != nil {
			t.Errorf("%d bytes written, error %v", n, err)
		}
		if err := tell(f); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s says %v", name, err)
		}
		if name != "Close" {
			_ = f.Close()
		}
	}
}

// TestAheadOfSample measures a store by a part and by all of it: only where all is read,
// more is read at once than a block.
func TestAheadOfSample(t *testing.T) {
	path := generate(t, pebbletest.Spec{Shape: pebbletest.Held, LiveBytes: 4 << 20})
	b := newBackend(Config{})
	watched := &largestRead{FS: vfs.Default}
	b.fs, b.sampleBytes = watched, 256<<10
	for _, depth := range []sdk.Depth{sdk.DepthQuick, sdk.DepthSampled, sdk.DepthExact} {
		watched.bytes.Store(0)
		if _, err := b.Fragmentation(t.Context(), sdk.FragmentationRequest{Store: sdk.Store{Path: path}, Depth: depth}); err != nil {
			t.Fatal(err)
		}
		if got := watched.bytes.Load(); (got >= aheadFirst) != (depth == sdk.DepthExact) {
			t.Errorf("%s: %d bytes of a table were read at once", depth, got)
		}
	}
}

// largestRead is how many bytes of a table were read at once.
type largestRead struct {
	vfs.FS
	bytes atomic.Int64
}

func (f *largestRead) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.Open(name, opts...)
	if err != nil || !isTable(name) {
		return file, err
	}
	return &largestReadFile{File: file, fs: f}, nil
}

type largestReadFile struct {
	vfs.File
	fs *largestRead
}

func (f *largestReadFile) ReadAt(p []byte, off int64) (int, error) {
	for {
		most := f.fs.bytes.Load()
		if int64(len(p)) <= most || f.fs.bytes.CompareAndSwap(most, int64(len(p))) {
			return f.File.ReadAt(p, off)
		}
	}
}
