package pebble

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// lockOwner looks the holder of a POSIX lock on the file up in /proc/locks,
// whose lines read "1: POSIX ADVISORY WRITE 4711 fd:01:131074 0 EOF". It
// returns 0 where the kernel does not tell, such as across containers. It does
// not open the file.
func lockOwner(path string) int {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return 0
	}
	defer func() { _ = locks.Close() }() // only read
	dev := uint64(stat.Dev)              //nolint:unconvert // narrower on some architectures
	device := fmt.Sprintf("%02x:%02x", unix.Major(dev), unix.Minor(dev))
	for scan := bufio.NewScanner(locks); scan.Scan(); {
		fields := strings.Fields(scan.Text())
		if len(fields) < 6 || fields[1] != "POSIX" { // a waiter has "->" there
			continue
		}
		onDevice, inode, ok := cutLast(fields[5])
		pid, err := strconv.Atoi(fields[4])
		if !ok || err != nil || pid <= 0 || inode != strconv.FormatUint(stat.Ino, 10) {
			continue
		}
		// Overlay and btrfs show another device in stat than in the table.
		if onDevice == device || hasOpen(pid, path) {
			return pid
		}
	}
	return 0
}

// descriptors lists those of this process.
func descriptors() ([]int, error) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, entry := range entries {
		if n, err := strconv.Atoi(entry.Name()); err == nil {
			numbers = append(numbers, n)
		}
	}
	return numbers, nil
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

func hasOpen(pid int, path string) bool {
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return false
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && target == path {
			return true
		}
	}
	return false
}

func processName(pid int) string {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(name))
}
