package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// kernelClock waits for a timer of the kernel's, by which a sleeping process is
// woken as exactly as by a request from the network. Go's own timers are rounded
// to milliseconds when nothing else goes on: more than most reads take.
type kernelClock struct {
	timer *os.File
	fd    int
}

const longestWait = 100 * time.Millisecond

// newClock is one for a single goroutine.
func newClock() (clock, func(), error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, nil, fmt.Errorf("make a timer: %w", err)
	}
	c := &kernelClock{timer: os.NewFile(uintptr(fd), "timer"), fd: fd}
	return c, func() { _ = c.timer.Close() }, nil
}

func (*kernelClock) now() time.Time { return time.Now() }

func (c *kernelClock) until(ctx context.Context, at time.Time) error {
	for {
		wait := time.Until(at)
		if wait <= 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		wait = min(wait, longestWait) // so that the end of the context is seen
		in := unix.ItimerSpec{Value: unix.NsecToTimespec(wait.Nanoseconds())}
		if err := unix.TimerfdSettime(c.fd, 0, &in, nil); err != nil {
			return fmt.Errorf("set a timer: %w", err)
		}
		var expirations [8]byte
		if _, err := c.timer.Read(expirations[:]); err != nil {
			return fmt.Errorf("wait for a timer: %w", err)
		}
	}
}

var _ clock = (*kernelClock)(nil)
