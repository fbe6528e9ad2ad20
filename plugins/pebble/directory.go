package pebble

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/plugins/pebble/internal/swap"
	"github.com/wringdb/wring/sdk"
)

// directory is a store as the file system shows it, before any of it is read.
type directory struct {
	path    string // absolute, symbolic links resolved
	files   []engine.File
	format  pebbledb.FormatMajorVersion
	options string // name of the newest OPTIONS file, with its path
}

// openDirectory lists the store at path and says what is wrong where it is none
// that this backend can serve.
func openDirectory(path string) (directory, error) {
	resolved, err := resolve(path)
	if err != nil {
		return directory{}, err
	}
	d := directory{path: resolved}
	if err := d.list(); err != nil {
		return directory{}, err
	}
	return d, d.identify()
}

// resolve gives the absolute path without symbolic links.
func resolve(path string) (string, error) {
	if path == "" {
		return "", sdk.Errorf(sdk.ErrNotFound, "a Pebble store is found by its path, and none was given")
	}
	resolved, err := filepath.EvalSymlinks(path)
	if err == nil {
		resolved, err = filepath.Abs(resolved)
	}
	if err != nil {
		return "", pathError(path, err)
	}
	return resolved, nil
}

func (d *directory) list() error {
	info, err := os.Stat(d.path)
	if err != nil {
		return pathError(d.path, err)
	}
	if !info.IsDir() {
		return sdk.Errorf(sdk.ErrCorrupt, "%s is a file; a Pebble store is a directory", d.path).
			WithHint("give the directory that holds CURRENT or the marker.* files")
	}
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return pathError(d.path, err)
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return isOurs(e.Name()) })
	d.files = d.files[:0]
	for _, entry := range entries {
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // a writer removed it meanwhile
		}
		if err != nil {
			return pathError(filepath.Join(d.path, entry.Name()), err)
		}
		if info.Mode().IsRegular() {
			d.files = append(d.files, engine.File{Name: entry.Name(), Size: info.Size(), Allocated: engine.AllocatedBytes(info)})
		}
	}
	if len(entries) == 0 {
		return sdk.Errorf(sdk.ErrNotFound, "%s is empty: no store there", d.path)
	}
	return nil
}

// isOurs says whether a name in a store is that of a file of wring's own.
func isOurs(name string) bool { return name == engine.HostLock || name == swap.Marker }

// size of all files in the directory; directories in it do not count.
func (d *directory) size() sdk.Size {
	var s sdk.Size
	for _, f := range d.files {
		s.TotalBytes += f.Size
		s.AllocatedBytes += f.Allocated
	}
	return s
}

// resolve gives the path of a directory that an OPTIONS file names.
func (d *directory) resolve(name string) string {
	if rest, ok := strings.CutPrefix(name, "{store_path}"); ok { // as Pebble writes it
		return d.path + rest // to the letter: Pebble compares names
	}
	return name
}

func (d *directory) has(prefix string) bool {
	for _, f := range d.files {
		if strings.HasPrefix(f.Name, prefix) {
			return true
		}
	}
	return false
}

// identify finds out the store's format without reading more than its markers.
func (d *directory) identify() error {
	current := d.has("CURRENT")
	if current && !d.has("marker.") {
		switch other, err := d.others(); {
		case err != nil:
			return err
		case other != "":
			return sdk.Errorf(sdk.ErrUnsupported, "%s is a store of %s, for which wring has no backend", d.path, other).
				WithHint("leave it as it is: opening it with Pebble may harm it")
		}
	}
	switch {
	case !d.has("marker.") && !current:
		return sdk.Errorf(sdk.ErrCorrupt, "%s is no Pebble store: it has neither markers nor CURRENT", d.path).
			WithHint("give the directory that the application opens with pebble.Open")
	case current && (!d.has("marker.manifest.") || !d.has("marker.format-version.")):
		// Peek calls such a directory uninitialized, and some releases of
		// Pebble 2 made a new store over it. With one of the markers it was on the
		// way to a later format.
		return oldFormat("%s has format major version 1, of Pebble v1", d.path)
	case !d.has("marker.manifest."):
		return sdk.Errorf(sdk.ErrCorrupt, "%s has no marker of a manifest: creating the store was interrupted, or files are missing", d.path).
			WithHint("restore the directory from a backup")
	case d.has("marker.remote-obj-catalog."):
		return sdk.Errorf(sdk.ErrUnsupported, "%s has tables in remote storage, which only its application can reach", d.path).
			WithHint("%s", letApplication)
	}
	text, err := atomicfs.ReadMarker(vfs.Default, d.path, "format-version")
	if err != nil {
		return sdk.Errorf(sdk.ErrCorrupt, "read the format of %s: %w", d.path, err)
	}
	format, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return sdk.Errorf(sdk.ErrCorrupt, "%s has the format major version %q, which is no number", d.path, text).
			WithHint("restore the directory from a backup")
	}
	d.format = pebbledb.FormatMajorVersion(format)
	if d.format < pebbledb.FormatMinSupported {
		return oldFormat("%s has format major version %d, of Pebble v1; the oldest that Pebble v2 opens is %d",
			d.path, d.format, pebbledb.FormatMinSupported)
	}
	if d.format > pebbledb.FormatNewest {
		return sdk.Errorf(sdk.ErrUnsupported, "%s has format major version %d; the newest that this plugin knows is %d",
			d.path, d.format, pebbledb.FormatNewest).
			WithHint("use a plugin that is built on the Pebble of the store's application, or newer")
	}
	desc, err := pebbledb.Peek(d.path, readOnly(vfs.Default))
	if err != nil {
		return sdk.Errorf(sdk.ErrCorrupt, "look at %s: %w", d.path, err)
	}
	if !desc.Exists {
		return sdk.Errorf(sdk.ErrCorrupt, "%s has no manifest", d.path).WithHint("restore the directory from a backup")
	}
	if desc.OptionsFilename == "" {
		return sdk.Errorf(sdk.ErrUnsupported, "%s has no OPTIONS file, so nobody can tell how its keys are ordered", d.path).
			WithHint("open the store once with its application, which writes the file")
	}
	d.options = desc.OptionsFilename
	return nil
}

// others says whose store it is that looks like one of the first format, if it is not
// Pebble's: it has that format from LevelDB and RocksDB. Pebble always writes OPTIONS, and
// may have gone on with a store of RocksDB, whose other files stay there.
func (d *directory) others() (string, error) {
	rocks, level := false, false
	for _, f := range d.files {
		switch {
		case strings.HasPrefix(f.Name, "OPTIONS-"):
			text, err := os.ReadFile(filepath.Join(d.path, f.Name))
			if errors.Is(err, fs.ErrNotExist) {
				continue // a writer removed it meanwhile
			}
			if err != nil {
				return "", pathError(filepath.Join(d.path, f.Name), err)
			}
			if strings.Contains(string(text), "pebble_version=") {
				return "", nil
			}
			rocks = rocks || strings.Contains(string(text), "rocksdb_version=")
		case f.Name == "IDENTITY":
			rocks = true
		case f.Name == "LOG", strings.HasSuffix(f.Name, ".ldb"):
			level = true
		}
	}
	switch {
	case rocks:
		return "RocksDB", nil
	case level:
		return "LevelDB", nil
	}
	return "", nil
}

// oldFormat is an error for a store that Pebble v2 does not open, with the way to one
// that it does.
func oldFormat(format string, args ...any) error {
	return sdk.Errorf(sdk.ErrUnsupported, format, args...).
		WithHint("make a backup, open the store once with github.com/cockroachdb/pebble v1.1.5, with the application's options, automatic compactions and FormatMajorVersion: pebble.FormatFlushableIngest (%d) or higher, and close it. There is no way back, and from then on the application must be built on Pebble v1.1 or v2",
			pebbledb.FormatFlushableIngest)
}

// pathError gives an error of the operating system its kind.
func pathError(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return sdk.Errorf(sdk.ErrNotFound, "no store at %s: %w", path, err)
	case errors.Is(err, fs.ErrPermission):
		return sdk.Errorf(sdk.ErrPermission, "read %s: %w", path, err).
			WithHint("run as the user that owns the store")
	default:
		return fmt.Errorf("read %s: %w", path, err)
	}
}
