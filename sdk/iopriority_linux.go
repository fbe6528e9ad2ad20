package sdk

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// What ioprio_set(2) takes; unix has no names for it.
const (
	ioprioWhoProcess = 1 // a thread, in truth; 0 is the calling one
	ioprioWhoPgrp    = 2 // every thread of every process of a group
	ioprioClassShift = 13
	ioprioClassIdle  = 3
)

// setGroupIOPriority ranks a process group as idle, or as this process is.
// Threads that are started later rank as the one that starts them.
func setGroupIOPriority(pgid int, idle bool) error {
	rank := uintptr(ioprioClassIdle << ioprioClassShift)
	if !idle {
		own, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, ioprioWhoProcess, 0, 0)
		if errno != 0 {
			return fmt.Errorf("ask for the own I/O priority: %w", errno)
		}
		rank = own
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, ioprioWhoPgrp, uintptr(pgid), rank); errno != 0 {
		return fmt.Errorf("set the I/O priority of process group %d: %w", pgid, errno)
	}
	return nil
}
