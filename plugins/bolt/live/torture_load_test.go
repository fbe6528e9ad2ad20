//go:build linux

package live

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
)

// What the load's writers keep in a store follows from how often each of them
// has committed. So whoever reads it, in whatever snapshot, can tell that all of
// it is there, and that it belongs together.
const (
	loadWriters = 4
	// logWindow is how many of its last commits a writer keeps in its log.
	logWindow = 40
	// epochLength is after how many commits a writer begins a new bucket, and
	// deletes the one before.
	epochLength = 16
	// stillKeys are written once.
	stillKeys = 300
	// litterPages of free space are made before each compaction.
	litterPages = 64
)

func writerName(w int) []byte { return fmt.Appendf(nil, "writer %d", w) }

func numbered(n uint64) []byte { return fmt.Appendf(nil, "%08d", n) }

// valueOf is what writer w puts at its commit n.
func valueOf(w int, n uint64) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%d/%d ", w, n), 1+int(n*37%60))
}

// bigOf has overflow pages, but for every fifth commit.
func bigOf(w int, n uint64) []byte {
	return bytes.Repeat([]byte{byte(w), byte(n)}, int(n%5)*1500)
}

func count64(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// violation is what must never be seen. It is no error of the store's.
type violation struct{ what string }

func (v *violation) Error() string { return v.what }

func violated(format string, args ...any) error { return &violation{fmt.Sprintf(format, args...)} }

var keyN = []byte("n")

// commitNext is the next transaction of writer w, the nth.
func commitNext(tx *bbolt.Tx, w int, n uint64) error {
	top, err := tx.CreateBucketIfNotExists(writerName(w))
	if err != nil {
		return err
	}
	if has := count64(top.Get(keyN)); has != n-1 {
		return violated("writer %d finds %d commits and has made %d", w, has, n-1)
	}
	log, err := top.CreateBucketIfNotExists([]byte("log"))
	if err != nil {
		return err
	}
	all, err := tx.CreateBucketIfNotExists([]byte("all"))
	if err != nil {
		return err
	}
	if n > logWindow {
		err = log.Delete(numbered(n - logWindow))
	}
	return errors.Join(err,
		top.SetSequence(n),
		top.Put(keyN, binary.BigEndian.AppendUint64(nil, n)),
		top.Put([]byte("big"), bigOf(w, n)),
		log.Put(numbered(n), valueOf(w, n)),
		all.Put(keyN, binary.BigEndian.AppendUint64(nil, count64(all.Get(keyN))+1)),
		commitEpoch(top, n))
}

func commitEpoch(top *bbolt.Bucket, n uint64) error {
	epoch := n / epochLength
	b, err := top.CreateBucketIfNotExists(fmt.Appendf(nil, "epoch %d", epoch))
	if err != nil {
		return err
	}
	if n%epochLength == 0 {
		if err := top.DeleteBucket(fmt.Appendf(nil, "epoch %d", epoch-1)); err != nil {
			return err
		}
	}
	return errors.Join(b.Put(numbered(n), keyN), b.SetSequence(n))
}

// readWriters returns how often each writer has committed, by the snapshot of a
// transaction, having looked at all that they have written.
func readWriters(tx *bbolt.Tx) (counts [loadWriters]uint64, err error) {
	var sum uint64
	for w := range counts {
		if counts[w], err = readWriter(tx, w); err != nil {
			return counts, err
		}
		sum += counts[w]
	}
	var all uint64
	if b := tx.Bucket([]byte("all")); b != nil {
		all = count64(b.Get(keyN))
	}
	if all != sum {
		return counts, violated("the writers have made %v commits, %d in all, and %d are counted", counts, sum, all)
	}
	return counts, nil
}

func readWriter(tx *bbolt.Tx, w int) (n uint64, err error) {
	top := tx.Bucket(writerName(w))
	if top == nil {
		return 0, nil
	}
	n = count64(top.Get(keyN))
	epoch := n / epochLength
	if top.Sequence() != n || !bytes.Equal(top.Get([]byte("big")), bigOf(w, n)) {
		return n, violated("writer %d has made %d commits, has the sequence %d and a big value of %d bytes", w, n, top.Sequence(), len(top.Get([]byte("big"))))
	}
	log, last := top.Bucket([]byte("log")), top.Bucket(fmt.Appendf(nil, "epoch %d", epoch))
	if log == nil || last == nil || last.Sequence() != n {
		return n, violated("writer %d has made %d commits, and its buckets are not those", w, n)
	}
	first := uint64(1)
	if n > logWindow {
		first = n - logWindow + 1
	}
	next := first
	if err := log.ForEach(func(k, v []byte) error {
		if !bytes.Equal(k, numbered(next)) || !bytes.Equal(v, valueOf(w, next)) {
			return violated("writer %d has %q in its log with %d bytes, and not %d", w, k, len(v), next)
		}
		next++
		return nil
	}); err != nil {
		return n, err
	}
	if next != n+1 {
		return n, violated("writer %d has made %d commits, and its log ends at %d", w, n, next-1)
	}
	buckets := 0
	if err := top.ForEachBucket(func([]byte) error { buckets++; return nil }); err != nil {
		return n, err
	}
	if keys := last.Stats().KeyN; buckets != 2 || uint64(keys) != n-max(epoch*epochLength, 1)+1 {
		return n, violated("writer %d has made %d commits, has %d buckets, and %d keys in the last one", w, n, buckets, keys)
	}
	return n, nil
}

// layStill writes what nobody writes to any more.
func layStill(db *DB) error {
	return db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte("still"))
		if err != nil {
			return err
		}
		for k := range uint64(stillKeys) {
			inner, err := b.CreateBucketIfNotExists(numbered(k % 10))
			if err != nil {
				return err
			}
			if err := inner.Put(numbered(k), bytes.Repeat([]byte{byte(k)}, 1000)); err != nil {
				return err
			}
		}
		return nil
	})
}

func readStill(tx *bbolt.Tx) error {
	for k := range uint64(stillKeys) {
		if v := tx.Bucket([]byte("still")).Bucket(numbered(k % 10)).Get(numbered(k)); !bytes.Equal(v, bytes.Repeat([]byte{byte(k)}, 1000)) {
			return violated("of what was written once, key %d has %d bytes", k, len(v))
		}
	}
	return nil
}

// litter makes free pages, so that a compaction has something to give back.
func litter(db *DB) error {
	name := []byte("litter")
	if err := db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(name)
		if err != nil {
			return err
		}
		for k := range uint64(litterPages) {
			if err := b.Put(numbered(k), make([]byte, 4<<10)); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	return db.Update(func(tx *bbolt.Tx) error { return tx.DeleteBucket(name) })
}

// load is an application that writes and reads all the time.
type load struct {
	db *DB
	// acknowledge is told of each commit. May be nil.
	acknowledge func(w int, n uint64)
	// eager acknowledges before the commit: a mistake, which must be noticed.
	eager bool
	// unpaced writers make no pause between two transactions.
	unpaced bool

	quit    chan struct{}
	running sync.WaitGroup
	begun   [loadWriters]uint64
	commits [loadWriters]atomic.Uint64
	reads   atomic.Int64
	old     atomic.Int64 // reads that ended in a generation that had been replaced

	mu     sync.Mutex
	failed []error
}

// startLoad goes on from what the store has.
func startLoad(db *DB, acknowledge func(w int, n uint64), options ...func(*load)) (*load, error) {
	l := &load{db: db, acknowledge: acknowledge, quit: make(chan struct{})}
	for _, set := range options {
		set(l)
	}
	if err := db.View(func(tx *bbolt.Tx) (err error) {
		l.begun, err = readWriters(tx)
		return err
	}); err != nil {
		return nil, err
	}
	for w := range loadWriters {
		l.commits[w].Store(l.begun[w])
		l.running.Go(func() { l.until(func() error { return l.write(w) }) })
	}
	for r := range 2 {
		l.running.Go(func() { l.until(func() error { return l.read(r) }) })
	}
	return l, nil
}

// stop ends the load and returns what went wrong.
func (l *load) stop() error {
	close(l.quit)
	l.running.Wait()
	return l.failure()
}

// failure is what has gone wrong so far.
func (l *load) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.failed...)
}

// until repeats work to the end of the load, or to the first error.
func (l *load) until(work func() error) {
	for {
		select {
		case <-l.quit:
			return
		default:
		}
		if err := work(); err != nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.failed = append(l.failed, err)
			return
		}
	}
}

// pause leaves the processor and the disk to others.
func (l *load) pause(d time.Duration) {
	if l.unpaced {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.quit:
	}
}

// write makes the next transaction of writer w, in one of the ways there are.
func (l *load) write(w int) (err error) {
	n := l.commits[w].Load() + 1
	if l.eager && l.acknowledge != nil {
		l.acknowledge(w, n)
	}
	next := func(tx *bbolt.Tx) error { return commitNext(tx, w, n) }
	switch w % 3 {
	case 0:
		err = l.db.Update(next)
	case 1:
		err = l.db.Batch(next)
	default:
		err = l.begin(next)
	}
	if err != nil {
		return err
	}
	l.commits[w].Store(n)
	if !l.eager && l.acknowledge != nil {
		l.acknowledge(w, n)
	}
	l.pause(time.Duration(w) * time.Millisecond)
	return nil
}

// begin is a transaction that its writer ends by itself; one in ten is rolled
// back, and made again.
func (l *load) begin(next func(*bbolt.Tx) error) error {
	if rand.N(10) == 0 {
		tx, err := l.db.Begin(true)
		if err != nil {
			return err
		}
		if err := errors.Join(next(tx), tx.Rollback()); err != nil {
			return err
		}
	}
	tx, err := l.db.Begin(true)
	if err != nil {
		return err
	}
	if err := next(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// read looks at a snapshot. Reader 1 keeps it for a while, in which the file may
// be replaced, and looks again.
func (l *load) read(r int) error {
	var floor [loadWriters]uint64
	for w := range floor {
		floor[w] = l.commits[w].Load()
	}
	tx, err := l.db.Begin(false)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	g := l.db.current.Load()
	counts, err := readWriters(tx)
	if err != nil {
		return err
	}
	for w := range floor {
		if counts[w] < floor[w] {
			return violated("a reader that began after commit %d of writer %d sees %d", floor[w], w, counts[w])
		}
	}
	l.reads.Add(1)
	if r == 0 {
		l.pause(2 * time.Millisecond)
		return nil
	}
	l.pause(rand.N(40 * time.Millisecond))
	again, err := readWriters(tx)
	if err != nil {
		return err
	}
	if again != counts {
		return violated("a reader saw %v commits and sees %v", counts, again)
	}
	if l.db.current.Load() != g {
		l.old.Add(1)
	}
	return readStill(tx)
}

// made are the commits of each writer by now.
func (l *load) made() (counts [loadWriters]uint64) {
	for w := range counts {
		counts[w] = l.commits[w].Load()
	}
	return counts
}
