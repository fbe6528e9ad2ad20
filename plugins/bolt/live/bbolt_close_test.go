package live_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"go.uber.org/goleak"

	"github.com/wringdb/wring/plugins/bolt"
	"github.com/wringdb/wring/plugins/bolt/live"
	"github.com/wringdb/wring/sdk"
)

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still not: %s", what)
		}
	}
}

// wantClosed makes sure that every call fails as bbolt's do.
func wantClosed(t *testing.T, s *subject) {
	t.Helper()
	s.batches(1, 0)
	_, read := s.Begin(false)
	_, write := s.Begin(true)
	nothing := func(*bbolt.Tx) error { t.Error("it was called"); return nil }
	for what, err := range map[string]error{
		"Begin to read": read, "Begin to write": write, "View": s.View(nothing), "Update": s.Update(nothing), "Batch": s.Batch(nothing),
	} {
		if !errors.Is(err, berrors.ErrDatabaseNotOpen) {
			t.Errorf("%s: error %v, want %v", what, err, berrors.ErrDatabaseNotOpen)
		}
	}
	if err := s.Sync(); err == nil {
		t.Error("a closed store was synced")
	}
	if panicOf(func() { s.Info() }) == nil {
		t.Error("a closed store tells where it is mapped")
	}
	if err := s.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	if s.live == nil {
		return
	}
	_, compact := s.live.Compact(context.Background(), live.CompactOptions{})
	_, measure := s.live.Fragmentation(context.Background())
	for what, err := range map[string]error{"Compact": compact, "Fragmentation": measure} {
		if !errors.Is(err, sdk.ErrNotFound) || !errors.Is(err, berrors.ErrDatabaseNotOpen) || sdk.HintOf(err) == "" {
			t.Errorf("%s: error %v, hint %q", what, err, sdk.HintOf(err))
		}
	}
}

// Close waits for the transactions that are open, those on former generations too.
func TestCloseWaits(t *testing.T) {
	onBoth(t, roomy(), func(t *testing.T, s *subject) {
		s.put(t, "a")
		former, err := s.Begin(false)
		if err != nil {
			t.Fatal(err)
		}
		s.swap(t)
		s.put(t, "b")
		reader, err := s.Begin(false)
		if err != nil {
			t.Fatal(err)
		}
		writer, err := s.Begin(true)
		if err != nil {
			t.Fatal(err)
		}
		closed := make(chan error, 1)
		go func() { closed <- s.Close() }()
		if s.live != nil { // bbolt's does not tell that it is being closed
			eventually(t, "no transaction can be begun", func() bool {
				return errors.Is(s.View(func(*bbolt.Tx) error { return nil }), berrors.ErrDatabaseNotOpen)
			})
		}
		unclosed := func(when string) {
			t.Helper()
			select {
			case err := <-closed:
				t.Fatalf("closed %s: error %v", when, err)
			default:
			}
		}
		unclosed("with a writer open")
		if err := putting("c")(writer); err != nil {
			t.Error(err)
		}
		if err := writer.Commit(); err != nil {
			t.Error(err)
		}
		unclosed("with readers open")
		if !has(reader, "b") || has(reader, "c") || !has(former, "a") || has(former, "b") {
			t.Error("readers do not see what they saw")
		}
		// A reader of bbolt's that ends while the store is being closed may have to wait
		// for all others.
		ended := make(chan error, 2)
		go func() { ended <- reader.Rollback() }()
		unclosed("with a former reader open")
		if !has(former, "a") || has(former, "b") {
			t.Error("a former reader does not see what it saw")
		}
		go func() { ended <- former.Rollback() }()
		if err := errors.Join(<-ended, <-ended, <-closed); err != nil {
			t.Error(err)
		}
		wantClosed(t, s)
	})
}

// What waits for its turn to write when the store is closed either has written or
// is told that there is no store.
func TestCloseUnderLoad(t *testing.T) {
	dir := memoryDir(t)
	for _, name := range []string{"bbolt", "live"} {
		path := filepath.Join(dir, name)
		s, err := openSubject(name, path, roomy())
		if err != nil {
			t.Fatal(err)
		}
		s.swap(t)
		const writers = 16
		type end struct {
			written uint64
			err     error
		}
		begun, ends := make(chan struct{}, writers), make(chan end, writers)
		for range writers {
			go func() {
				var e end
				for e.err == nil {
					e.err = s.Update(func(tx *bbolt.Tx) error {
						b, err := tx.CreateBucketIfNotExists([]byte("count"))
						if err != nil {
							return err
						}
						_, err = b.NextSequence()
						return err
					})
					if e.err == nil {
						e.written++
					}
					if e.written == 1 {
						begun <- struct{}{}
					}
				}
				ends <- e
			}()
		}
		for range writers {
			<-begun
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		var written uint64
		for range writers {
			e := <-ends
			if !errors.Is(e.err, berrors.ErrDatabaseNotOpen) {
				t.Errorf("%s: error %v, want %v", name, e.err, berrors.ErrDatabaseNotOpen)
			}
			written += e.written
		}
		plain, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if err := plain.View(func(tx *bbolt.Tx) error {
			if n := tx.Bucket([]byte("count")).Sequence(); n != written {
				t.Errorf("%s: %d writes in the store, %d acknowledged", name, n, written)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		plain.Close()
	}
}

// Close ends a compaction, whatever it is at, which leaves nothing behind.
func TestCloseEndsACompaction(t *testing.T) {
	for _, phase := range []string{"copy", "sync", "catch_up", "check", "punch"} {
		t.Run(phase, func(t *testing.T) {
			dir := memoryDir(t)
			s, err := openSubject("live", filepath.Join(dir, "a.db"), roomy())
			if err != nil {
				t.Fatal(err)
			}
			s.put(t, "a")
			if err := s.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("bucket")).Put([]byte("b"), make([]byte, 1<<20)) }); err != nil {
				t.Fatal(err)
			}
			if err := s.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("bucket")).Delete([]byte("b")) }); err != nil {
				t.Fatal(err)
			}
			o := live.CompactOptions{Mode: bolt.ModeRewrite, VerifyFull: true}
			if phase == "punch" {
				o.Mode = bolt.ModePunch
			}
			closed := make(chan error, 1)
			o.Report = once(phase, func() {
				go func() { closed <- s.Close() }()
				eventually(t, "the store is being closed", func() bool {
					_, err := s.live.Fragmentation(context.Background())
					return errors.Is(err, berrors.ErrDatabaseNotOpen)
				})
			})
			_, err = s.live.Compact(context.Background(), o)
			if phase == "punch" {
				needHoles(t, err)
			}
			if !errors.Is(err, sdk.ErrCancelled) {
				t.Fatalf("error %v, want %v", err, sdk.ErrCancelled)
			}
			if err := <-closed; err != nil {
				t.Error(err)
			}
			wantClosed(t, s)
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
				t.Errorf("left behind: %v, error %v", entries, err)
			}
		})
	}
}

// A writer that never ends makes a compaction give up, and not the other way round.
func TestWriterThatNeverEnds(t *testing.T) {
	for _, mode := range []string{bolt.ModeRewrite, bolt.ModePunch} {
		t.Run(mode, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			db := openSwappable(t)
			tx, err := db.live.Begin(true)
			if err != nil {
				t.Fatal(err)
			}
			db.live.SetWriterWait(20 * time.Millisecond)
			_, err = db.live.Compact(t.Context(), live.CompactOptions{Mode: mode})
			needHoles(t, err)
			if !errors.Is(err, sdk.ErrBusy) || !strings.Contains(sdk.HintOf(err), "transaction") {
				t.Errorf("error %v, hint %q", err, sdk.HintOf(err))
			}
			// Who does not want to wait that long need not.
			db.live.SetWriterWait(never)
			ctx, cancel := context.WithCancel(t.Context())
			_, err = db.live.Compact(ctx, live.CompactOptions{Mode: mode, Report: func(p sdk.Progress) {
				if p.Phase == "sync" || p.Phase == "punch" { // there, or a little before
					cancel()
				}
			}})
			cancel()
			if !errors.Is(err, sdk.ErrCancelled) {
				t.Errorf("error %v, want %v", err, sdk.ErrCancelled)
			}
			if err := putting("b")(tx); err != nil {
				t.Error(err)
			}
			if err := tx.Commit(); err != nil {
				t.Error(err)
			}
			db.put(t, "c")
			db.swap(t)
			db.wantKeys(t, "a", "b", "c")
			if err := db.Close(); err != nil {
				t.Error(err)
			}
			goleak.VerifyNone(t, before)
		})
	}
}

// openSwappable opens a live store with some garbage.
func openSwappable(t *testing.T) *subject {
	t.Helper()
	s, err := openSubject("live", filepath.Join(memoryDir(t), "a.db"), roomy())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	s.put(t, "a")
	if err := s.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("bucket")).Put([]byte("b"), make([]byte, 1<<20)) }); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("bucket")).Delete([]byte("b")) }); err != nil {
		t.Fatal(err)
	}
	return s
}
