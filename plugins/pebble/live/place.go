package live

import (
	"os"
	"path/filepath"
	"strings"
	"sync"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/sdk"
)

// lockName is the file that must not be touched.
const lockName = "LOCK"

// place is where the files of a store lie.
type place struct {
	fs vfs.FS
	db *pebbledb.DB

	mu sync.Mutex
	// dir is empty where the files are out of sight.
	dir string
	// path is dir as a host sees it; empty where that is no place on its disks.
	path string
}

// choose takes the directory that the application named.
func (p *place) choose(name, dir string) error {
	names, err := p.fs.List(dir)
	if err == nil && p.take(dir, names) {
		return nil
	}
	e := sdk.Errorf(sdk.ErrInvalidOption, "store %s: there is no Pebble store in %s", name, dir)
	if err != nil {
		e = sdk.Errorf(sdk.ErrInvalidOption, "store %s: list %s: %w", name, dir, err)
	}
	return e.WithHint("live.Store.Dir is the directory that pebble.Open was given, on the FS of live.Store.Options")
}

// take makes dir the place if it is a store's.
func (p *place) take(dir string, names []string) bool {
	for _, name := range names {
		if !strings.HasPrefix(name, "marker.manifest.") {
			continue
		}
		p.dir = dir
		if path, err := filepath.Abs(dir); err == nil {
			if _, err := os.Stat(filepath.Join(path, name)); err == nil {
				p.path = path
			}
		}
		return true
	}
	return false
}

// find returns the directory and the path, either of which may be empty. A store
// whose application has not named the directory tells once it has a table.
func (p *place) find() (dir, path string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dir != "" {
		return p.dir, p.path
	}
	provider := p.db.ObjProvider()
	for _, object := range provider.List() {
		if object.IsRemote() {
			continue
		}
		file := provider.Path(object)
		dir := p.fs.PathDir(file)
		names, err := p.fs.List(dir)
		if err != nil {
			break
		}
		for _, name := range names {
			if name == p.fs.PathBase(file) { // else another store lies there, on another file system
				p.take(dir, names)
			}
		}
		break
	}
	return p.dir, p.path
}

// files of the store, or nil where they are out of sight. LOCK is not even asked
// for its size.
func (p *place) files() []engine.File {
	dir, _ := p.find()
	if dir == "" {
		return nil
	}
	names, err := p.fs.List(dir)
	if err != nil {
		return nil
	}
	var files []engine.File
	for _, name := range names {
		if name == lockName || name == engine.HostLock {
			continue
		}
		info, err := p.fs.Stat(p.fs.PathJoin(dir, name))
		if err != nil || !info.Mode().IsRegular() {
			continue // removed meanwhile, or a directory of somebody else's
		}
		files = append(files, engine.File{Name: name, Size: info.Size(), Allocated: engine.AllocatedBytes(info)})
	}
	return files
}

// free is how many bytes the store's file system has left; ok is false where it
// does not tell, as one in memory does not.
func (p *place) free() (bytes int64, ok bool) {
	dir, _ := p.find()
	if dir == "" {
		return 0, false
	}
	usage, err := p.fs.GetDiskUsage(dir)
	return int64(min(usage.AvailBytes, 1<<62)), err == nil
}
