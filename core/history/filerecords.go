package history

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"
	bolt "go.etcd.io/bbolt"
)

func (h *file) view(what string, f func(tx *bolt.Tx) error) error {
	if err := h.guard(func() error { return h.db.View(f) }); err != nil {
		return fmt.Errorf("read %s from the history: %w", what, err)
	}
	return nil
}

// update makes a transaction, which takes the samples along that wait.
func (h *file) update(what string, f func(tx *bolt.Tx) error) error {
	err := h.guard(func() error {
		h.sampling.Lock()
		defer h.sampling.Unlock()
		err := h.db.Update(func(tx *bolt.Tx) error {
			if err := f(tx); err != nil {
				return err
			}
			return h.writeSamples(tx)
		})
		if err == nil {
			h.waiting = nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("record %s in the history: %w", what, err)
	}
	return nil
}

func (h *file) beginRun(run Run) error {
	return h.update("the beginning of run "+run.ID, func(tx *bolt.Tx) error {
		open, err := tx.Bucket(bucketOpen).CreateBucket([]byte(run.ID))
		if err != nil {
			return err
		}
		stores, err := open.CreateBucket(keyStores)
		if err != nil {
			return err
		}
		for i, r := range run.Results {
			if err := put(stores, []byte(r.Store), openResult{Order: i, Result: r}); err != nil {
				return err
			}
		}
		run.Results = nil
		return put(open, keyRun, run)
	})
}

// openResult is a store of a run that goes on: waiting while it has no
// StartedAt, being compacted while it has no Outcome, finished else.
type openResult struct {
	// Order of the store in the run.
	Order  int
	Result Result
}

func (h *file) beginCompaction(r Result) error {
	r.Outcome = ""
	return h.update("the compaction of "+r.Store, func(tx *bolt.Tx) error { return updateOpen(tx, r) })
}

// unwritten is a result that waits for the next transaction.
type unwritten struct {
	result Result
	done   chan error
}

// addResult writes together what several goroutines add at the same time: most
// results are of stores that were skipped, and those come faster than a disk
// can sync each.
func (h *file) addResult(r Result) error {
	mine := &unwritten{result: r, done: make(chan error, 1)}
	h.queueing.Lock()
	h.queue = append(h.queue, mine)
	h.queueing.Unlock()

	h.writing.Lock()
	defer h.writing.Unlock()
	select {
	case err := <-mine.done: // whoever wrote last has taken it along
		return err
	default:
	}
	h.queueing.Lock()
	all := h.queue
	h.queue = nil
	h.queueing.Unlock()
	if len(all) > 1 && h.addResults(all...) == nil {
		for _, u := range all {
			u.done <- nil
		}
		return nil
	}
	for _, u := range all {
		u.done <- h.addResults(u)
	}
	return <-mine.done
}

// addResults writes all results or none. The last file of a pattern brings the
// sum of the pattern with it.
func (h *file) addResults(all ...*unwritten) error {
	what := "the result of " + all[0].result.Store
	if len(all) > 1 {
		what = fmt.Sprintf("%d results", len(all))
	}
	return h.update(what, func(tx *bolt.Tx) error {
		patterns := map[[2]string]bool{} // run, pattern
		for _, u := range all {
			r := u.result
			if err := updateOpen(tx, r); err != nil {
				return err
			}
			if err := h.apply(tx, r); err != nil {
				return err
			}
			if err := h.total(tx, r); err != nil {
				return err
			}
			if isFile(r) {
				patterns[[2]string{r.Run, r.Configured}] = true
			}
		}
		for pattern := range patterns {
			if err := h.sumUp(tx, pattern[0], pattern[1]); err != nil {
				return err
			}
		}
		return nil
	})
}

// sumUp adds the sum of a pattern to its history if no file of it is open.
func (h *file) sumUp(tx *bolt.Tx, id, pattern string) error {
	// From the end: files have their turns in the order of their names, as a rule.
	c := tx.Bucket(bucketOpen).Bucket([]byte(id)).Bucket(keyStores).Cursor()
	for key, value := c.Last(); key != nil; key, value = c.Prev() {
		var o openResult
		if err := decode(value, &o); err != nil {
			return err
		}
		if o.Result.Configured == pattern && o.Result.Outcome == "" {
			return nil
		}
	}
	run, err := openRun(tx, id)
	if err != nil {
		return err
	}
	return h.applySums(tx, summaries(run), func(of string) bool { return of == pattern })
}

// updateOpen replaces what is known of a store in a run that goes on.
func updateOpen(tx *bolt.Tx, r Result) error {
	open := tx.Bucket(bucketOpen).Bucket([]byte(r.Run))
	if open == nil {
		return fmt.Errorf("run %s was not begun", r.Run)
	}
	stores := open.Bucket(keyStores)
	var o openResult
	if value := stores.Get([]byte(r.Store)); value != nil {
		if err := decode(value, &o); err != nil {
			return err
		}
	}
	o.Result = r
	return put(stores, []byte(r.Store), o)
}

func (h *file) addRun(run Run) error {
	return h.update("run "+run.ID, func(tx *bolt.Tx) error { return h.completeRun(tx, run) })
}

func (h *file) completeRun(tx *bolt.Tx, run Run) error {
	var before Run
	if tx.Bucket(bucketOpen).Bucket([]byte(run.ID)) != nil {
		var err error
		if before, err = openRun(tx, run.ID); err != nil {
			return err
		}
	}
	added := addedStores(before)
	for _, r := range run.Results {
		if added[r.Store] {
			continue
		}
		if err := h.apply(tx, r); err != nil {
			return err
		}
		if err := h.total(tx, r); err != nil {
			return err
		}
	}
	summed := summedUp(before)
	if err := h.applySums(tx, summaries(run), func(pattern string) bool { return !summed[pattern] }); err != nil {
		return err
	}
	if err := h.appendRecord(tx.Bucket(bucketRuns), run); err != nil {
		return err
	}
	open := tx.Bucket(bucketOpen)
	if open.Bucket([]byte(run.ID)) == nil {
		return nil
	}
	return open.DeleteBucket([]byte(run.ID))
}

// apply adds a result to its store's history and past.
func (h *file) apply(tx *bolt.Tx, r Result) error {
	if r.Code == CodeAlreadyRunning {
		return nil
	}
	results, err := tx.Bucket(bucketResults).CreateBucketIfNotExists([]byte(r.Store))
	if err != nil {
		return err
	}
	if err := h.appendRecord(results, r); err != nil {
		return err
	}
	past, err := pastOf(tx, r.Store)
	if err != nil {
		return err
	}
	return put(tx.Bucket(bucketPast), []byte(r.Store), past.After(r))
}

// applySums adds the sums of the patterns that are wanted.
func (h *file) applySums(tx *bolt.Tx, sums []sum, wanted func(pattern string) bool) error {
	for _, s := range sums {
		if !wanted(s.Store) {
			continue
		}
		if err := h.apply(tx, s.Result); err != nil {
			return err
		}
		past, err := pastOf(tx, s.Store)
		if err != nil {
			return err
		}
		past.Unresolved = false
		for _, name := range s.files {
			of, err := pastOf(tx, name)
			if err != nil {
				return err
			}
			past.Unresolved = past.Unresolved || of.Unresolved
		}
		if err := put(tx.Bucket(bucketPast), []byte(s.Store), past); err != nil {
			return err
		}
	}
	return nil
}

// appendRecord adds a record at the end and removes the oldest beyond keep.
func (h *file) appendRecord(b *bolt.Bucket, record any) error {
	sequence, err := b.NextSequence()
	if err != nil {
		return err
	}
	if err := put(b, sequenceKey(sequence), record); err != nil {
		return err
	}
	// Numbers have no gaps, so all up to this one are too old.
	keep := h.keep.Load()
	if sequence <= keep {
		return nil
	}
	tooOld := sequenceKey(sequence - keep)
	var old [][]byte
	c := b.Cursor()
	for key, _ := c.First(); key != nil && bytes.Compare(key, tooOld) <= 0; key, _ = c.Next() {
		old = append(old, bytes.Clone(key))
	}
	for _, key := range old {
		if err := b.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

// completeRuns ends the runs that a host has left open.
func (h *file) completeRuns(tx *bolt.Tx, lastWrite time.Time, logger hclog.Logger) error {
	runs, err := openRuns(tx)
	if err != nil {
		return err
	}
	for _, run := range runs {
		run = interrupted(run, lastWrite)
		unknown := []string{}
		for _, r := range run.Results {
			if r.Outcome == Unknown {
				unknown = append(unknown, r.Store)
			}
		}
		logger.Warn("the host ended in the middle of a run", "run", run.ID, "unknown", unknown)
		if err := h.completeRun(tx, run); err != nil {
			return err
		}
	}
	return nil
}

// openRuns are the runs that have not ended, oldest first.
func openRuns(tx *bolt.Tx) ([]Run, error) {
	var runs []Run
	err := tx.Bucket(bucketOpen).ForEachBucket(func(id []byte) error {
		run, err := openRun(tx, string(id))
		runs = append(runs, run)
		return err
	})
	slices.SortStableFunc(runs, func(a, b Run) int { return a.StartedAt.Compare(b.StartedAt) })
	return runs, err
}

func openRun(tx *bolt.Tx, id string) (run Run, err error) {
	open := tx.Bucket(bucketOpen).Bucket([]byte(id))
	if err := decode(open.Get(keyRun), &run); err != nil {
		return run, err
	}
	var stores []openResult
	err = open.Bucket(keyStores).ForEach(func(_, value []byte) error {
		var o openResult
		err := decode(value, &o)
		stores = append(stores, o)
		return err
	})
	slices.SortStableFunc(stores, func(a, b openResult) int { return cmp.Compare(a.Order, b.Order) })
	for _, o := range stores {
		run.Results = append(run.Results, o.Result)
	}
	return run, err
}

// forget removes stores that were last seen before a time.
func (h *file) forget(tx *bolt.Tx, before time.Time) error {
	if err := forgetSamples(tx, before); err != nil {
		return err
	}
	pasts, err := allPasts(tx)
	if err != nil {
		return err
	}
	for store, past := range pasts {
		if past.LastAttemptAt.IsZero() || !past.LastAttemptAt.Before(before) {
			continue
		}
		for _, b := range [][]byte{bucketPast, bucketTotals} {
			if err := tx.Bucket(b).Delete([]byte(store)); err != nil {
				return err
			}
		}
		results := tx.Bucket(bucketResults)
		if results.Bucket([]byte(store)) == nil {
			continue
		}
		if err := results.DeleteBucket([]byte(store)); err != nil {
			return err
		}
	}
	return nil
}

func (h *file) forgetBefore(before time.Time) error {
	return h.update("which stores are gone", func(tx *bolt.Tx) error { return h.forget(tx, before) })
}

func (h *file) runs(n int) (runs []Run, err error) {
	err = h.view("runs", func(tx *bolt.Tx) error {
		runs, err = newest[Run](tx.Bucket(bucketRuns), n)
		return err
	})
	return runs, err
}

func (h *file) results(store string, n int) (results []Result, err error) {
	err = h.view("results of "+store, func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketResults).Bucket([]byte(store))
		if b == nil {
			return nil
		}
		results, err = newest[Result](b, n)
		return err
	})
	return results, err
}

// newest decodes the last n records, all if n ≤ 0, newest first.
func newest[T any](b *bolt.Bucket, n int) (records []T, err error) {
	c := b.Cursor()
	for key, value := c.Last(); key != nil && (n <= 0 || len(records) < n); key, value = c.Prev() {
		var record T
		if err := decode(value, &record); err != nil {
			return nil, err
		}
		records = append(records, record)
	}
	return records, nil
}

func (h *file) past(store string) (past Past, err error) {
	err = h.view("the past of "+store, func(tx *bolt.Tx) error {
		past, err = pastOf(tx, store)
		return err
	})
	return past, err
}

func pastOf(tx *bolt.Tx, store string) (past Past, err error) {
	if value := tx.Bucket(bucketPast).Get([]byte(store)); value != nil {
		err = decode(value, &past)
	}
	return past, err
}

func (h *file) pasts() (pasts map[string]Past, err error) {
	err = h.view("the past of stores", func(tx *bolt.Tx) error {
		pasts, err = allPasts(tx)
		return err
	})
	return pasts, err
}

func allPasts(tx *bolt.Tx) (map[string]Past, error) {
	pasts := map[string]Past{}
	err := tx.Bucket(bucketPast).ForEach(func(store, value []byte) error {
		var past Past
		err := decode(value, &past)
		pasts[string(store)] = past
		return err
	})
	return pasts, err
}
