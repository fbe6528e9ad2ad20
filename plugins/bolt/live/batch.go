package live

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

// Batch runs fn in a write transaction that concurrent calls may share, as
// bbolt.DB.Batch: fn may be called more than once, and what it does outside of
// the transaction is to count only when Batch has returned.
//
// MaxBatchSize is how many calls share a transaction at most, MaxBatchDelay how
// long the first one waits for the others.
func (db *DB) Batch(fn func(*bbolt.Tx) error) error {
	call := &batchCall{fn: fn, done: make(chan error, 1)}
	db.batcher.add(call)
	err := <-call.done
	if errors.Is(err, errAlone) {
		// By itself it tells its own error, or panics in its caller's goroutine.
		return db.Update(fn)
	}
	return err
}

// errAlone says that a call has to be made again in a transaction of its own. It
// is seen by Batch only.
var errAlone = errors.New("the call failed in a batch")

type batchCall struct {
	fn   func(*bbolt.Tx) error
	done chan error
}

// batcher collects calls into batches.
type batcher struct {
	db   *DB
	mu   sync.Mutex
	open *batch // takes calls; nil where none does
}

type batch struct {
	calls []*batchCall
	timer *time.Timer
}

func (b *batcher) add(call *batchCall) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == nil {
		next := new(batch)
		next.timer = time.AfterFunc(b.db.MaxBatchDelay, func() {
			if b.take(next) {
				b.run(next.calls)
			}
		})
		b.open = next
	}
	b.open.calls = append(b.open.calls, call)
	if full := b.open; len(full.calls) >= b.db.MaxBatchSize {
		full.timer.Stop()
		b.open = nil
		go b.run(full.calls)
	}
}

// take closes a batch for further calls, and says whether it was open.
func (b *batcher) take(next *batch) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open != next {
		return false
	}
	b.open = nil
	return true
}

// run makes all calls in one transaction; one that fails is taken out, and the
// transaction begun again without it.
func (b *batcher) run(calls []*batchCall) {
	for len(calls) > 0 {
		failed := -1
		err := b.db.Update(func(tx *bbolt.Tx) error {
			failed = -1
			for i, call := range calls {
				if err := contained(call.fn, tx); err != nil {
					failed = i
					return err
				}
			}
			return nil
		})
		if failed < 0 {
			for _, call := range calls {
				call.done <- err
			}
			return
		}
		calls[failed].done <- errAlone
		calls = append(calls[:failed], calls[failed+1:]...)
	}
}

// contained turns a panic into an error, lest it take the others with it.
func contained(fn func(*bbolt.Tx) error, tx *bbolt.Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return fn(tx)
}
