package command_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// printIOClass prints the I/O class of each thread of a process: "idle", or the
// number of another.
//
//	tool ioclass PID
func printIOClass(args []string) error {
	threads, err := os.ReadDir(filepath.Join("/proc", args[0], "task"))
	if err != nil {
		return err
	}
	for _, thread := range threads {
		tid, err := strconv.Atoi(thread.Name())
		if err != nil {
			return err
		}
		const whoProcess, classShift, classIdle = 1, 13, 3
		rank, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, whoProcess, uintptr(tid), 0)
		switch class := rank >> classShift; {
		case errno == unix.ESRCH: // it has ended since
		case errno != 0:
			return errno
		case class == classIdle:
			fmt.Println("idle")
		default:
			fmt.Println(class)
		}
	}
	return nil
}
