package pebble

import (
	"context"
	"errors"
	"syscall"
	"testing"
)

// TestLeftWorkThatEnds has work that was left and comes to its end at the same
// moment: the call answers with why it was left, whatever is seen first.
func TestLeftWorkThatEnds(t *testing.T) {
	for range 100 { // which of the two is seen first is a matter of chance
		w := newWatch()
		done := make(chan struct{})
		w.leave(syscall.ENOSPC)
		w.leave(syscall.EIO)
		close(done)
		if err := w.wait(context.Background(), done, func() {}); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("error %v, want the first, %v", err, syscall.ENOSPC)
		}
	}
}

// TestFatalError keeps the cause among the arguments.
func TestFatalError(t *testing.T) {
	err := error(newFatalError("%d: %s", 7, error(syscall.EDQUOT)))
	if !errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EIO) {
		t.Errorf("error %v is not %v", err, syscall.EDQUOT)
	}
	if errors.Unwrap(newFatalError("no cause")) != nil {
		t.Error("an error without a cause has one")
	}
}
