package live

import (
	"context"
	"strings"
	"testing"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// TestClosedBefore has a store that its application closed without a word.
func TestClosedBefore(t *testing.T) {
	o := open(t, pebbletest.Spec{LiveBytes: 128 << 10}, nil)
	b := o.backend(t)
	o.close(t)
	for call, err := range map[string]error{
		"measure": measureStore(t.Context(), b, events),
		"compact": compactStore(t.Context(), b, events),
	} {
		wantKind(t, call, err, sdk.ErrNotFound)
		if !strings.Contains(err.Error(), "closed it") || !strings.Contains(sdk.HintOf(err), "live.Serve") {
			t.Errorf("%s: %v (hint %q)", call, err, sdk.HintOf(err))
		}
	}
}

// TestClosedMeanwhile closes the store while Pebble flushes for a compaction: what
// that waits for never comes, and nobody panics.
func TestClosedMeanwhile(t *testing.T) {
	gate := &gateFS{FS: vfs.NewMem(), open: make(chan struct{}), waiting: make(chan struct{}, 1)}
	o := openInMemory(t, func(o *pebbledb.Options) { o.FS = gate })
	for _, value := range []string{"first", "again"} {
		o.set(t, 0, 100, value)
		if err := o.db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	b := o.backend(t)
	o.set(t, 0, 100, "unflushed")
	gate.shut.Store(true)
	ended := make(chan error, 1)
	go func() { ended <- compactStore(context.Background(), b, events) }()
	<-gate.waiting
	db := o.db
	o.db = nil
	closed := make(chan struct{})
	go func() { // waits for the flush
		defer close(closed)
		_ = db.Close() // may complain of what the call held
	}()
	err := <-ended
	wantKind(t, "a store that is closed meanwhile", err, sdk.ErrCancelled)
	if !strings.Contains(err.Error(), "closed it") {
		t.Errorf("error %v does not say why", err)
	}
	close(gate.open)
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Fatal("the store cannot be closed")
	}
}

// TestCancel ends a call while Pebble flushes for it, and for as long as nobody
// lets that go on.
func TestCancel(t *testing.T) {
	gate := &gateFS{FS: vfs.NewMem(), open: make(chan struct{}), waiting: make(chan struct{}, 1)}
	o := openInMemory(t, func(o *pebbledb.Options) { o.FS = gate })
	for _, value := range []string{"first", "again"} {
		o.set(t, 0, 100, value)
		if err := o.db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	b, err := New(Store{Name: "events", DB: o.db, Options: o.options}) // without a guard, which would refuse the second
	if err != nil {
		t.Fatal(err)
	}
	gate.shut.Store(true)
	o.set(t, 0, 100, "unflushed")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- compactStore(ctx, b, events) }()
	<-gate.waiting
	wantKind(t, "a second compaction meanwhile", compactStore(t.Context(), b, events), sdk.ErrBusy)
	cancel()
	wantKind(t, "a cancelled compaction", <-ended, sdk.ErrCancelled)
	gate.shut.Store(false)
	close(gate.open)
	if result := compact(t, b); result.NoOp || result.Verification == nil || result.Verification.ItemsAfter != 100 {
		t.Errorf("the next compaction: %+v", result)
	}
}
