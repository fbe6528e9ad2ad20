package daemon

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// room returns the file system that path is on, and how many bytes of it this
// process may still write.
func room(path string) (device uint64, free int64, err error) {
	var info unix.Stat_t
	if err := unix.Stat(path, &info); err != nil {
		return 0, 0, fmt.Errorf("look at %s: %w", path, err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return 0, 0, fmt.Errorf("ask for the room at %s: %w", path, err)
	}
	return uint64(info.Dev), int64(fs.Bavail) * int64(fs.Bsize), nil //nolint:unconvert // other systems have other types
}
