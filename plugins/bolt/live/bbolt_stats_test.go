package live_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"go.uber.org/goleak"
)

// Statistics go on over swaps, and tell what the application has done and nothing
// else.
func TestStatsOverSwaps(t *testing.T) {
	onBoth(t, roomy(), func(t *testing.T, s *subject) {
		s.put(t, "a")
		first := s.Stats()
		last := first
		var held []*bbolt.Tx
		for round := range 4 {
			for range 10 {
				if err := s.View(func(tx *bbolt.Tx) error { _ = has(tx, "a"); return nil }); err != nil {
					t.Fatal(err)
				}
			}
			tx, err := s.Begin(false)
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, tx)
			s.put(t, "b")
			before := s.Stats()
			s.swap(t)
			now := s.Stats()
			if want := first.TxN + 11*(round+1); before.TxN != want || now.TxN != want {
				t.Errorf("round %d: %d read transactions, %d after the swap, want %d", round, before.TxN, now.TxN, want)
			}
			if now.OpenTxN != len(held) {
				t.Errorf("round %d: %d open transactions, want %d", round, now.OpenTxN, len(held))
			}
			step := now.Sub(&last)
			// Three of the application's: each writes a page at least, and a meta page.
			if writes := step.TxStats.GetWrite(); writes < 6 || step.TxStats.GetCursorCount() == 0 || step.TxStats.GetPageAlloc() == 0 {
				t.Errorf("round %d: %d writes, %+v", round, writes, &step.TxStats)
			}
			last = now
		}
		for i, tx := range held {
			if !has(tx, "a") {
				t.Errorf("reader %d does not see what it saw", i)
			}
			if err := tx.Rollback(); err != nil {
				t.Error(err)
			}
			if open := s.Stats().OpenTxN; open != len(held)-i-1 {
				t.Errorf("%d open transactions, want %d", open, len(held)-i-1)
			}
		}
		s.put(t, "c")
		last = s.Stats()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if now := s.Stats(); now.TxN != last.TxN || now.OpenTxN != 0 || now.TxStats.GetWrite() != last.TxStats.GetWrite() {
			t.Errorf("closed: %+v, want %+v", now, last)
		}
	})
}

// Whenever somebody looks while generations change: none of their transactions is
// missing, and in the end none is there twice.
func TestStatsMeanwhile(t *testing.T) {
	s := openSwappable(t)
	base := s.Stats().TxN
	ended := make(chan struct{})
	var reader sync.WaitGroup
	var views, last int
	look := func(*bbolt.Tx) error {
		views++
		var now bbolt.Stats
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
			now = s.Stats()
			if now.TxN < last || now.TxN < base+views {
				return fmt.Errorf("%d read transactions, %d a moment ago; want %d", now.TxN, last, base+views)
			}
			last = now.TxN
			// A transaction of the compaction may be seen, for a moment.
			if now.OpenTxN == 1 {
				return nil
			}
		}
		return fmt.Errorf("%d open transactions, want 1", now.OpenTxN)
	}
	reader.Go(func() {
		for {
			select {
			case <-ended:
				return
			default:
			}
			if err := s.View(look); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 20 {
		s.swap(t)
	}
	close(ended)
	reader.Wait()
	for range 10 { // more than can have been seen of the compactions
		if err := s.View(look); err != nil {
			t.Error(err)
		}
	}
	if now := s.Stats(); now.TxN != base+views || now.OpenTxN != 0 {
		t.Errorf("%d read transactions, %d open; want %d, 0", now.TxN, now.OpenTxN, base+views)
	}
	t.Logf("%d read transactions", views)
}

func TestNoStatistics(t *testing.T) {
	o := roomy()
	o.NoStatistics = true
	onBoth(t, o, func(t *testing.T, s *subject) {
		s.put(t, "a")
		tx, err := s.Begin(false)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			s.swap(t)
			if got := s.Stats(); got != (bbolt.Stats{}) {
				t.Errorf("statistics %+v, want none", &got)
			}
		}
		if !has(tx, "a") {
			t.Error("a reader does not see what it saw")
		}
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
		s.wantKeys(t, "a")
	})
}

// Sync makes durable what was written without; it may be called at any time.
func TestSync(t *testing.T) {
	onBoth(t, roomy(), func(t *testing.T, s *subject) {
		ended := make(chan struct{})
		var syncs sync.WaitGroup
		syncs.Go(func() {
			for {
				if err := s.Sync(); err != nil {
					t.Errorf("while generations change: %v", err)
					return
				}
				select {
				case <-ended:
					return
				default:
				}
			}
		})
		for range 5 {
			s.put(t, "a")
			s.swap(t)
		}
		close(ended)
		syncs.Wait()
	})
}

// What an application sets after Open holds for the generations to come, too.
func TestFieldsOverSwaps(t *testing.T) {
	onBoth(t, roomy(), func(t *testing.T, s *subject) {
		large := func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("large"))
			return errors.Join(err, b.Put([]byte("key"), make([]byte, 4<<20)))
		}
		s.put(t, "a")
		s.swap(t)
		s.maxSize(1 << 20)
		for range 3 {
			if err := s.Update(large); !errors.Is(err, berrors.ErrMaxSizeReached) {
				t.Errorf("error %v, want %v", err, berrors.ErrMaxSizeReached)
			}
			s.maxSize(0)
			s.swap(t)
			s.maxSize(1 << 20)
		}
		s.maxSize(0)
		if err := s.Update(large); err != nil {
			t.Error(err)
		}
	})
}

// A reader that is open while the generation is replaced keeps what it sees, and
// that only: the former file is closed when it ends, with nothing left behind.
func TestReaderOverSwaps(t *testing.T) {
	before := goleak.IgnoreCurrent()
	s := openSwappable(t)
	s.batches(1, 0)
	plain := openFiles(t, s.Path())
	var held []*bbolt.Tx
	for round := range 3 {
		tx, err := s.Begin(false)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, tx)
		s.swap(t)
		s.put(t, string(rune('b'+round)))
	}
	for i, tx := range held {
		for j := range held {
			if key := string(rune('b' + j)); has(tx, key) != (j < i) {
				t.Errorf("reader %d sees %q: %v", i, key, has(tx, key))
			}
		}
	}
	if plain > 0 && openFiles(t, s.Path()) <= plain {
		t.Error("the former files are not open, which readers have")
	}
	// The one in the middle ends first, and the others read on.
	for _, i := range []int{1, 0, 2} {
		if !has(held[i], "a") {
			t.Errorf("reader %d does not see what it saw", i)
		}
		if err := held[i].Rollback(); err != nil {
			t.Error(err)
		}
	}
	eventually(t, "the former files are closed", func() bool { return openFiles(t, s.Path()) == plain })
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if n := openFiles(t, s.Path()); n != 0 {
		t.Errorf("%d files are open still", n)
	}
	goleak.VerifyNone(t, before)
}

// openFiles counts how often files of a store's directory are open, with names or
// without; 0 where the system does not tell.
func openFiles(t *testing.T, path string) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	for _, e := range entries {
		if file, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name())); err == nil && strings.HasPrefix(file, filepath.Dir(path)+"/") {
			n++
		}
	}
	return n
}
