package live_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

// batched is a call of Batch and what became of it.
type batched struct {
	err    error
	panics any
	ids    []int // of the transactions in which it was made
}

// inBatches makes calls of Batch at once, so many to a transaction: all must share
// one when there are just as many.
func inBatches(s *subject, calls int, call func(i int, tx *bbolt.Tx) error) []batched {
	made := make([]batched, calls)
	var all sync.WaitGroup
	for i := range made {
		all.Go(func() {
			b := &made[i]
			b.panics = panicOf(func() {
				b.err = s.Batch(func(tx *bbolt.Tx) error {
					b.ids = append(b.ids, tx.ID())
					return call(i, tx)
				})
			})
		})
	}
	all.Wait()
	return made
}

func putNumber(i int, tx *bbolt.Tx) error { return putting(fmt.Sprintf("%02d", i))(tx) }

// for whoever must not be waited for by a clock
const never = time.Hour

func TestBatchSharesATransaction(t *testing.T) {
	onBoth(t, roomy(), func(t *testing.T, s *subject) {
		for range 2 {
			s.batches(8, never)
			ids := map[int]int{}
			for i, b := range inBatches(s, 24, putNumber) {
				if b.err != nil || b.panics != nil || len(b.ids) != 1 {
					t.Fatalf("call %d: %+v", i, b)
				}
				ids[b.ids[0]]++
			}
			if len(ids) != 3 {
				t.Errorf("24 calls, 8 to a batch, were made in the transactions %v", ids)
			}
			for _, alone := range []int{1, 0, -1} {
				s.batches(alone, never)
				ids := map[int]int{}
				for i, b := range inBatches(s, 8, putNumber) {
					if b.err != nil || len(b.ids) != 1 {
						t.Fatalf("call %d: %+v", i, b)
					}
					ids[b.ids[0]]++
				}
				if len(ids) != 8 {
					t.Errorf("8 calls with a batch size of %d were made in the transactions %v", alone, ids)
				}
			}
			s.batches(1000, time.Millisecond) // a batch that is not full is made when its time has come
			for i, b := range inBatches(s, 3, putNumber) {
				if b.err != nil || len(b.ids) != 1 {
					t.Errorf("call %d: %+v", i, b)
				}
			}
			s.swap(t)
		}
	})
}

// A call that fails is made once more alone, and the others without it.
func TestBatchOfCallsThatFail(t *testing.T) {
	const calls = 8
	mine := make([]error, calls)
	for i := range mine {
		mine[i] = fmt.Errorf("call %d fails", i)
	}
	for _, c := range []struct {
		name   string
		fails  []int
		panics []int
	}{
		{"one", []int{3}, nil},
		{"several", []int{0, 3, 4, 7}, nil},
		{"all", []int{0, 1, 2, 3, 4, 5, 6, 7}, nil},
		{"one panics", nil, []int{5}},
		{"several fail or panic", []int{1, 6}, []int{0, 2, 7}},
	} {
		t.Run(c.name, func(t *testing.T) {
			fails, panics := map[int]bool{}, map[int]bool{}
			for _, i := range c.fails {
				fails[i] = true
			}
			for _, i := range c.panics {
				panics[i] = true
			}
			onBoth(t, roomy(), func(t *testing.T, s *subject) {
				s.batches(calls, never)
				made := inBatches(s, calls, func(i int, tx *bbolt.Tx) error {
					if err := putNumber(i, tx); err != nil {
						return err
					}
					if panics[i] {
						panic(i)
					}
					if fails[i] {
						return mine[i]
					}
					return nil
				})
				var want []string
				shared := map[int]bool{}
				for i, b := range made {
					last := b.ids[len(b.ids)-1]
					switch {
					case fails[i] && (b.err != mine[i] || b.panics != nil), //nolint:errorlint // the very same
						panics[i] && b.panics != any(i),
						!fails[i] && !panics[i] && (b.err != nil || b.panics != nil):
						t.Errorf("call %d: error %v, panic %v", i, b.err, b.panics)
					case (fails[i] || panics[i]) && len(b.ids) < 2:
						t.Errorf("call %d was made %d times, and not alone", i, len(b.ids))
					case !fails[i] && !panics[i]:
						want = append(want, fmt.Sprintf("%02d", i))
						shared[last] = true
					}
				}
				if len(want) > 0 && len(shared) != 1 {
					t.Errorf("those that succeeded were made in the transactions %v", shared)
				}
				s.wantKeys(t, want...)
				s.swap(t) // waits for all writers
				s.wantKeys(t, want...)
			})
		})
	}
}

// Calls are made once each, however many there are, while generations change.
func TestBatchOverSwaps(t *testing.T) {
	onBoth(t, roomy(), func(t *testing.T, s *subject) {
		const callers, each = 16, 40
		s.batches(8, time.Millisecond)
		var all sync.WaitGroup
		for range callers {
			all.Go(func() {
				for range each {
					if err := s.Batch(func(tx *bbolt.Tx) error {
						b, err := tx.CreateBucketIfNotExists([]byte("count"))
						if err != nil {
							return err
						}
						_, err = b.NextSequence()
						return err
					}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		ended := make(chan struct{})
		go func() { all.Wait(); close(ended) }()
		swaps := 0
		for done := false; !done; swaps++ {
			s.swap(t)
			select {
			case <-ended:
				done = true
			default:
			}
		}
		if err := s.View(func(tx *bbolt.Tx) error {
			if n := tx.Bucket([]byte("count")).Sequence(); n != callers*each {
				return fmt.Errorf("%d calls were counted %d times over %d swaps", callers*each, n, swaps)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
}

// What bbolt itself says of a batch, all of its callers are told.
func TestBatchThatCannotBeCommitted(t *testing.T) {
	onBoth(t, roomy(), func(t *testing.T, s *subject) {
		s.put(t, "a")
		s.batches(4, never)
		s.maxSize(1 << 20)
		for range 2 {
			made := inBatches(s, 4, func(i int, tx *bbolt.Tx) error {
				return errors.Join(putNumber(i, tx), tx.Bucket([]byte("bucket")).Put([]byte("large"), make([]byte, 4<<20)))
			})
			for i, b := range made {
				if b.err == nil {
					t.Errorf("call %d has gone beyond the largest size", i)
				}
			}
			s.wantKeys(t, "a")
			s.swap(t)
		}
	})
}
