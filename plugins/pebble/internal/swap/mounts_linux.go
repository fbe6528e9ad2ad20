package swap

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// mountedAt returns where a directory is mounted by itself, here or in a container,
// or "". A mount goes on showing the directory that it was made of, whatever is put
// in its place. What other users' processes have mounted is seen by root alone.
func mountedAt(dir string) string {
	own := readMounts("/proc/self/mountinfo")
	var here mount
	for _, m := range own { // of mounts on each other, the last is seen
		if m.covers(dir) && len(m.point) >= len(here.point) {
			here = m
		}
	}
	inside := filepath.Join(here.root, strings.TrimPrefix(dir, here.point))
	for _, mounts := range append(otherMounts(), own) {
		for _, m := range mounts {
			if m.device == here.device && m.root == inside {
				return m.point
			}
		}
	}
	return ""
}

// otherMounts lists the mounts of the other namespaces that can be seen.
func otherMounts() (all [][]mount) {
	seen := map[string]bool{}
	if own, err := os.Readlink("/proc/self/ns/mnt"); err == nil {
		seen[own] = true
	}
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, process := range processes {
		if _, err := strconv.Atoi(process.Name()); err != nil {
			continue
		}
		proc := filepath.Join("/proc", process.Name())
		namespace, err := os.Readlink(filepath.Join(proc, "ns/mnt"))
		if err != nil || seen[namespace] {
			continue
		}
		seen[namespace] = true
		all = append(all, readMounts(filepath.Join(proc, "mountinfo")))
	}
	return all
}

// mount is a line of mountinfo.
type mount struct {
	device string
	// root is what of the device's file system is mounted, and point where.
	root, point string
}

func (m mount) covers(path string) bool {
	return path == m.point || strings.HasPrefix(path, strings.TrimSuffix(m.point, "/")+"/")
}

// readMounts reads what it can: see proc_pid_mountinfo(5).
func readMounts(name string) (mounts []mount) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			mounts = append(mounts, mount{device: fields[2], root: unescape(fields[3]), point: unescape(fields[4])})
		}
	}
	return mounts
}

// unescape resolves the likes of \040, for a space.
func unescape(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}
