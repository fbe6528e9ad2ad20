package holder

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// most is how many holders are named at most.
const most = 3

// Of returns who holds a flock on the open file, as far as the system tells.
func Of(f *os.File) []Process {
	info, err := f.Stat()
	if err != nil {
		return nil
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	table, err := os.ReadFile("/proc/locks")
	if err != nil {
		return nil
	}
	var found []Process
	for _, pid := range lockers(string(table), stat) {
		// The table names who took the lock; a child may have inherited it.
		if !exists(pid) {
			continue
		}
		if found = append(found, process(pid)); len(found) == most {
			return found
		}
	}
	if len(found) > 0 {
		return found
	}
	return openers(info)
}

// lockers reads /proc/locks, whose lines are as
//
//	1: FLOCK  ADVISORY  WRITE 4711 fd:01:131073 0 EOF
//
// with device and inode after the pid. Lines with "->" are those that wait.
func lockers(table string, stat *syscall.Stat_t) []int {
	device := fmt.Sprintf("%02x:%02x:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev), stat.Ino)
	inode := fmt.Sprintf(":%d", stat.Ino)
	var exact, likely []int
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) < 6 || fields[1] != "FLOCK" {
			continue
		}
		pid, err := strconv.Atoi(fields[4])
		if err != nil || pid <= 0 {
			continue
		}
		switch {
		case fields[5] == device:
			exact = append(exact, pid)
		case strings.HasSuffix(fields[5], inode):
			// overlayfs and btrfs show another device than stat does.
			likely = append(likely, pid)
		}
	}
	if len(exact) > 0 {
		return exact
	}
	return likely
}

// openers finds the processes that have the file open, other than this one.
func openers(info os.FileInfo) []Process {
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return nil
	}
	var found []Process
	for _, link := range links {
		pid, err := strconv.Atoi(strings.Split(link, "/")[2])
		if err != nil || pid == os.Getpid() || len(found) > 0 && found[len(found)-1].PID == pid {
			continue
		}
		if open, err := os.Stat(link); err != nil || !os.SameFile(open, info) {
			continue
		}
		if found = append(found, process(pid)); len(found) == most {
			break
		}
	}
	return found
}

func exists(pid int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	return err == nil
}

func process(pid int) Process {
	if pid == os.Getpid() {
		return Process{PID: pid, Command: "this process"}
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return Process{PID: pid}
	}
	return Process{PID: pid, Command: strings.TrimSpace(string(name))}
}
