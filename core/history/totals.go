package history

import (
	"maps"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Totals count what has become of a store since the history began, also where
// the results themselves have made room for newer ones. They never go down.
type Totals struct {
	// Outcomes counts results.
	Outcomes map[Outcome]int64 `json:"outcomes"`
	// ReclaimedBytes leaves out compactions after which a store was larger.
	ReclaimedBytes int64 `json:"reclaimed_bytes"`
	// Duration and Pause are of compactions that ended as compacted or no_op.
	Duration Distribution `json:"duration"`
	Pause    Distribution `json:"pause"`
}

// Distribution counts how long something took.
type Distribution struct {
	// Counts has one number for each of the bounds, of what took at most so long
	// and longer than the bound before, and one for the rest.
	Counts []int64       `json:"counts"`
	Sum    time.Duration `json:"sum_ns"`
}

// DurationBounds are those of Totals.Duration, smallest first.
func DurationBounds() []time.Duration {
	return []time.Duration{
		100 * time.Millisecond, 300 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second, 30 * time.Second,
		time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 4 * time.Hour,
	}
}

// PauseBounds are those of Totals.Pause, smallest first.
func PauseBounds() []time.Duration {
	return []time.Duration{
		time.Millisecond, 3 * time.Millisecond, 10 * time.Millisecond, 30 * time.Millisecond, 100 * time.Millisecond,
		300 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second, time.Minute,
	}
}

// with counts one more. A distribution of other bounds, as another version has
// left it, begins anew.
func (d Distribution) with(took time.Duration, bounds []time.Duration) Distribution {
	if len(d.Counts) != len(bounds)+1 {
		d = Distribution{Counts: make([]int64, len(bounds)+1)}
	}
	d.Counts = slices.Clone(d.Counts)
	i, _ := slices.BinarySearch(bounds, took)
	d.Counts[i]++
	d.Sum += took
	return d
}

// Since is what has been counted after before: all of d if before has counted
// nothing, and nothing if d is not what has come of it.
func (d Distribution) Since(before Distribution) Distribution {
	if len(before.Counts) != len(d.Counts) {
		return d
	}
	since := Distribution{Counts: make([]int64, len(d.Counts)), Sum: d.Sum - before.Sum}
	for i := range d.Counts {
		if since.Counts[i] = d.Counts[i] - before.Counts[i]; since.Counts[i] < 0 {
			return Distribution{}
		}
	}
	return since
}

// Plus is both together, of the same bounds; one that has counted nothing is of
// any.
func (d Distribution) Plus(other Distribution) Distribution {
	if len(d.Counts) == 0 {
		return other
	}
	sum := Distribution{Counts: slices.Clone(d.Counts), Sum: d.Sum + other.Sum}
	for i := range other.Counts {
		sum.Counts[i] += other.Counts[i]
	}
	return sum
}

// After is the totals once r has happened.
func (t Totals) After(r Result) Totals {
	t.Outcomes = maps.Clone(t.Outcomes)
	if t.Outcomes == nil {
		t.Outcomes = map[Outcome]int64{}
	}
	t.Outcomes[r.Outcome]++
	t.ReclaimedBytes += max(0, r.ReclaimedBytes)
	if r.Outcome == Compacted || r.Outcome == NoOp {
		t.Duration = t.Duration.with(time.Duration(r.DurationMS)*time.Millisecond, DurationBounds())
		t.Pause = t.Pause.with(time.Duration(r.PauseMS)*time.Millisecond, PauseBounds())
	}
	return t
}

// bucketTotals is store → Totals; in bucketMeta keyReclaimed is the sum of what
// all stores have ever given back, those that are forgotten included.
var (
	bucketTotals = []byte("totals")
	keyReclaimed = []byte("reclaimed")
)

// total counts a result that is no sum of others.
func (h *file) total(tx *bolt.Tx, r Result) error {
	if r.Code == CodeAlreadyRunning {
		return nil
	}
	all := tx.Bucket(bucketTotals)
	var t Totals
	if value := all.Get([]byte(r.Store)); value != nil {
		if err := decode(value, &t); err != nil {
			return err
		}
	}
	if err := put(all, []byte(r.Store), t.After(r)); err != nil {
		return err
	}
	if r.ReclaimedBytes <= 0 {
		return nil
	}
	reclaimed, err := reclaimedBytes(tx)
	if err != nil {
		return err
	}
	return put(tx.Bucket(bucketMeta), keyReclaimed, reclaimed+r.ReclaimedBytes)
}

func reclaimedBytes(tx *bolt.Tx) (n int64, err error) {
	if value := tx.Bucket(bucketMeta).Get(keyReclaimed); value != nil {
		err = decode(value, &n)
	}
	return n, err
}

// beginTotals counts the results that a history has which was kept before there
// were totals.
func (h *file) beginTotals(tx *bolt.Tx) error {
	if tx.Bucket(bucketTotals) != nil {
		return nil
	}
	if _, err := tx.CreateBucket(bucketTotals); err != nil {
		return err
	}
	results := tx.Bucket(bucketResults)
	var all []Result
	patterns := map[string]bool{} // whose results are sums
	err := results.ForEachBucket(func(store []byte) error {
		return results.Bucket(store).ForEach(func(_, value []byte) error {
			var r Result
			err := decode(value, &r)
			all = append(all, r)
			if isFile(r) {
				patterns[r.Configured] = true
			}
			return err
		})
	})
	if err != nil {
		return err
	}
	for _, r := range all {
		if patterns[r.Store] {
			continue
		}
		if err := h.total(tx, r); err != nil {
			return err
		}
	}
	return nil
}

func (h *file) totals() (totals map[string]Totals, err error) {
	err = h.view("totals", func(tx *bolt.Tx) error {
		totals, err = allTotals(tx)
		return err
	})
	return totals, err
}

func (h *file) reclaimed() (n int64, err error) {
	err = h.view("what was given back", func(tx *bolt.Tx) error {
		n, err = reclaimedBytes(tx)
		return err
	})
	return n, err
}

func allTotals(tx *bolt.Tx) (map[string]Totals, error) {
	totals := map[string]Totals{}
	all := tx.Bucket(bucketTotals)
	if all == nil {
		return totals, nil // of a host that kept none
	}
	err := all.ForEach(func(store, value []byte) error {
		var t Totals
		err := decode(value, &t)
		totals[string(store)] = t
		return err
	})
	return totals, err
}
