package sdk

import (
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ioClasses returns the I/O classes of the threads of a process.
func ioClasses(t *testing.T, pid int) map[int]int {
	t.Helper()
	threads, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	if err != nil {
		t.Fatal(err)
	}
	classes := make(map[int]int)
	for _, thread := range threads {
		tid, err := strconv.Atoi(thread.Name())
		if err != nil {
			t.Fatal(err)
		}
		rank, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, ioprioWhoProcess, uintptr(tid), 0)
		if errno == unix.ESRCH {
			continue // it has ended since
		}
		if errno != 0 {
			t.Fatal(errno)
		}
		classes[tid] = int(rank >> ioprioClassShift)
	}
	return classes
}

// All threads have the rank: those that are there, and those that come.
func TestIOPriority(t *testing.T) {
	noLeaks(t)
	p, c := start(t, "plugin")
	own := ioClasses(t, os.Getpid())[os.Getpid()]
	if own == ioprioClassIdle {
		t.Skip("this process is idle itself, so that there is nothing to tell apart")
	}
	rank := func(priority IOPriority, want int) {
		t.Helper()
		if err := p.SetIOPriority(priority); err != nil {
			t.Fatalf("%s: %v", priority, err)
		}
		// Calls in flight need threads.
		for range 20 {
			if _, err := c.Fragmentation(t.Context(), FragmentationRequest{Store: Store{Name: "a"}}); err != nil {
				t.Fatal(err)
			}
		}
		classes := ioClasses(t, p.PID())
		for tid, class := range classes {
			if class != want {
				t.Errorf("%q: thread %d of %d has class %d, want %d", priority, tid, len(classes), class, want)
			}
		}
	}
	rank("", own)
	rank(IOIdle, ioprioClassIdle)
	rank(IOIdle, ioprioClassIdle)
	rank(IONormal, own)
	rank(IOIdle, ioprioClassIdle)
	if got := ioClasses(t, os.Getpid())[os.Getpid()]; got != own {
		t.Errorf("the host's own class is %d now", got)
	}
}

// A process that has ended is left alone: its number may be somebody else's.
func TestIOPriorityOfTheDead(t *testing.T) {
	p, _ := start(t, "plugin")
	if err := unix.Kill(p.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Exited():
	case <-time.After(10 * time.Second):
		t.Fatal("it does not end")
	}
	eventually(t, 10*time.Second, "it is buried", func() bool { return unix.Kill(p.PID(), 0) != nil })
	if err := p.SetIOPriority(IOIdle); err != nil {
		t.Errorf("err = %v", err)
	}
}
