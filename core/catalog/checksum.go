package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/sdk"
)

// identity tells whether a file is still the one that was read. The time of
// the last change of its inode is in it, since no program can set that one.
type identity struct {
	dev, ino     uint64
	size         int64
	mtime, ctime int64 // nanoseconds since 1970
}

func identify(info fs.FileInfo) identity {
	id := identity{size: info.Size(), mtime: info.ModTime().UnixNano()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		id.dev, id.ino, id.ctime = uint64(st.Dev), st.Ino, changeTime(st) //nolint:unconvert // Dev is an int32 on macOS
	}
	return id
}

// settled is how old a file's last change must be for its checksum to be
// remembered: a second change within one tick of the file system's clock (10 ms
// at most, but 2 s on some network shares) would look like none.
const settled = 2 * time.Second

// sum is the checksum of a file as it was.
type sum struct {
	id     identity
	sha256 string
}

// sum returns the SHA-256 of the file at path, which had that identity when it
// was last looked at.
func (c *Catalog) sum(path string, id identity) (string, error) {
	c.mu.Lock()
	known, ok := c.sums[path]
	c.mu.Unlock()
	if ok && known.id == id {
		return known.sha256, nil
	}
	digest, read, err := hashFile(path)
	if err != nil {
		return "", err
	}
	if c.cfg.Now().Sub(time.Unix(0, max(read.mtime, read.ctime))) < settled {
		return digest, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sums[path] = sum{id: read, sha256: digest}
	return digest, nil
}

// hashFile returns the SHA-256 of a file and the identity of what was read.
func hashFile(path string) (string, identity, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", identity{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", identity{}, err
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", identity{}, fmt.Errorf("read %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), identify(info), nil
}

// Pin returns the block of configuration that pins a plugin to the program that
// is there now, for a person to paste. What names a plugin, or, with a slash in
// it, the path of a program.
func (c *Catalog) Pin(what string) (string, error) {
	p := c.Plugin(what)
	if strings.Contains(what, "/") {
		path, err := filepath.Abs(what)
		if err != nil {
			return "", fmt.Errorf("pin %s: %w", what, err)
		}
		p = config.Plugin{Name: strings.TrimPrefix(filepath.Base(path), ProgramPrefix), Command: path}
	}
	program, err := c.find(p)
	if err != nil {
		return "", err
	}
	// The moment of pinning is the one at which nothing remembered will do.
	digest, _, err := hashFile(program.Path)
	if err != nil {
		return "", sdk.Errorf(sdk.ErrPermission, "pin %s: %w", what, err)
	}
	return fmt.Sprintf("plugin %s {\n  command = %s\n  sha256  = %s\n}\n",
		quote(p.Name), quote(program.Path), quote(digest)), nil
}

// quote writes a string as the configuration language reads it.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "${", "$${", "%{", "%%{").Replace(s) + `"`
}
