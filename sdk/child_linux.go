package sdk

import (
	"errors"

	"golang.org/x/sys/unix"
)

// awaitExit returns true when the child has ended and not been reaped.
func awaitExit(pid int) bool {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err == nil
		}
	}
}
