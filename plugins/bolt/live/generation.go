package live

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/sdk"
)

// generation is the store between two compactions.
type generation struct {
	db *bbolt.DB
	// info tells its file from others; nil where that is not known.
	info     os.FileInfo
	pageSize int
	// mapped is how much of the file bbolt has mapped at least, in bytes.
	mapped int64
	// file is the old file, when it has been replaced and spoilt.
	file *os.File
	// bare is set while a snapshot is held: see compaction.run.
	bare atomic.Bool
	// begins counts those who may be about to begin a transaction.
	begins atomic.Int64
	// ours are the read transactions of compactions: not the application's.
	ours stats
	// before is what its statistics were when it became the current one.
	before bbolt.Stats
}

func newGeneration(db *bbolt.DB, info os.FileInfo, mapped int64) *generation {
	return &generation{db: db, info: info, pageSize: db.Info().PageSize, mapped: mapped}
}

// stats of read transactions. They are in order with bbolt's while as many have
// changed as were changing.
type stats struct{ begun, open, changing, changed atomic.Int64 }

func (g *generation) leave() { g.begins.Add(-1) }

// opens opens the generation's file for reading and writing, and makes sure that it
// is the one that lies at path.
func (g *generation) opens(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !os.SameFile(info, g.info) {
		err = sdk.Errorf(sdk.ErrNotFound, "%s: %w: the application has another file open", path, replace.ErrChanged).
			WithHint("what the application writes goes to a file that has no name any more; copy its content out (bbolt.Tx.WriteTo), or let it open the store anew")
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// pollEvery is how often is looked whether a generation can be closed.
const pollEvery = time.Millisecond

// drain waits until nobody can begin a transaction on a generation that has been
// replaced.
func (g *generation) drain() {
	for g.begins.Load() > 0 {
		time.Sleep(pollEvery)
	}
}

// pin opens a read transaction of ours.
func (g *generation) pin() (*bbolt.Tx, error) {
	g.ours.changing.Add(1)
	defer g.ours.changed.Add(1)
	tx, err := g.db.Begin(false)
	if err == nil {
		g.ours.begun.Add(1)
		g.ours.open.Add(1)
	}
	return tx, err
}

// unpin ends a read transaction of ours.
func (g *generation) unpin(tx *bbolt.Tx) {
	g.ours.changing.Add(1)
	defer g.ours.changed.Add(1)
	_ = tx.Rollback() // its error would be that it has ended
	g.ours.open.Add(-1)
}

// again accounts for a transaction of the application that has ended at once, to be
// begun anew on the next generation: it counts once. bbolt counts only those that
// read.
func (g *generation) again(writable bool) {
	if !writable {
		g.ours.changing.Add(1)
		g.ours.begun.Add(1)
		g.ours.changed.Add(1)
	}
}

// quietAfter is for how long the application has done nothing when it is not busy.
const quietAfter = 100 * time.Millisecond

// busy says whether the application has lately begun or ended a transaction.
func (g *generation) busy() func() bool {
	type activity struct{ reads, open, writes int }
	var last activity
	var at time.Time
	return func() bool {
		s := g.stats()
		now := activity{s.TxN, s.OpenTxN, int(s.TxStats.GetWrite())}
		if now != last {
			last, at = now, time.Now()
		}
		return time.Since(at) < quietAfter
	}
}

// statsWait bounds for how long the statistics are read anew because a transaction
// of ours is beginning or ending: one that waits for the store takes longer, and
// has not been counted by bbolt either.
const statsWait = 10 * time.Millisecond

// stats as the application is to see them.
func (g *generation) stats() bbolt.Stats {
	var s bbolt.Stats
	var begun, open int64
	for end := time.Now().Add(statsWait); ; runtime.Gosched() {
		settled := g.ours.changed.Load()
		begun, open, s = g.ours.begun.Load(), g.ours.open.Load(), g.db.Stats()
		if g.ours.changing.Load() == settled || time.Now().After(end) {
			break
		}
	}
	s.TxN -= int(begun)
	now := s.Sub(&g.before)
	now.OpenTxN = max(0, s.OpenTxN-int(open)) // Sub leaves it out
	return now
}

// swap makes next the current generation. The write lock of the old one must be
// held; release gives it back. When nobody can begin a transaction on the old one
// any more, spoil is called, and when its readers are gone it is closed.
func (db *DB) swap(next *generation, release, spoil func()) {
	old := db.current.Load()
	db.settle(next)
	next.before = next.db.Stats()
	db.mu.Lock() // Stats is to find each generation once
	db.retired[old] = struct{}{}
	db.current.Store(next)
	db.mu.Unlock()
	release()
	old.drain()
	spoil()
	db.closing.Go(func() { db.retire(old) })
}

// retire closes a generation once its last reader is gone. bbolt's Close would
// wait for that too, but hold up the readers that end earlier.
func (db *DB) retire(g *generation) {
	for wait := pollEvery; g.db.Stats().OpenTxN > 0; wait = min(2*wait, 100*pollEvery) {
		time.Sleep(wait)
	}
	if g.file != nil {
		shrink(g.file, max(leastShrunk, 2*int64(g.pageSize)))
		_ = g.file.Close() // nothing of it is wanted any more
	}
	err := g.db.Close()
	s := g.stats()
	db.mu.Lock()
	defer db.mu.Unlock()
	delete(db.retired, g)
	db.past = sum(db.past, s)
	db.closeErr = errors.Join(db.closeErr, err)
}

// An old file gives its blocks and mapped pages back by so many bytes at a time,
// with a rest after each: to give up a large file at once keeps the file system's
// journal, and the process's memory map, from everybody else for a while.
const (
	shrinkBy   = 16 << 20
	shrinkRest = 2 * time.Millisecond
	// leastShrunk is what is left, or both meta pages where they are larger. Whoever
	// waits for the lock of the old file is to find metas that are spoilt: of an empty
	// file bbolt would make a new store.
	leastShrunk = 64 << 10
)

// shrink does that for a file without a name, down to so many bytes. It is an aid:
// what fails here is done by the last descriptor that is closed.
func shrink(f *os.File, shrunk int64) {
	info, err := f.Stat()
	if err != nil || !nameless(info) {
		return
	}
	for size := info.Size() - shrinkBy; size > shrunk; size -= shrinkBy {
		if f.Truncate(size) != nil {
			return
		}
		time.Sleep(shrinkRest)
	}
	_ = f.Truncate(min(info.Size(), shrunk))
}

func nameless(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Nlink == 0
}

// Close ends a compaction that is running, waits for all transactions, as
// bbolt.DB.Close does, and releases all resources. Transactions that are begun
// from then on fail.
func (db *DB) Close() error {
	db.mu.Lock()
	if db.closed {
		db.mu.Unlock()
		return nil
	}
	db.closed = true
	close(db.quit)
	db.mu.Unlock()
	db.compact <- struct{}{} // until the compaction has ended; no other begins
	db.mu.Lock()
	last := db.current.Swap(nil)
	db.retired[last] = struct{}{} // Stats goes on telling of it
	db.mu.Unlock()
	last.drain() // a call that was given up, such as Sync, may not have ended
	err := last.db.Close()
	db.closing.Wait()
	db.mu.Lock()
	defer db.mu.Unlock()
	return errors.Join(err, db.closeErr)
}

// Stats are those of all generations together: they go on over a compaction.
// What a compaction does is not in them. They are empty with NoStatistics.
func (db *DB) Stats() bbolt.Stats {
	if db.quiet {
		return bbolt.Stats{}
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	total := db.past
	for g := range db.retired {
		total = sum(total, g.stats())
	}
	if g := db.current.Load(); g != nil {
		now := g.stats()
		total = sum(total, now)
		total.FreePageN, total.PendingPageN, total.FreeAlloc, total.FreelistInuse = now.FreePageN, now.PendingPageN, now.FreeAlloc, now.FreelistInuse
	}
	// One that is begun anew is there twice for a moment.
	db.told = max(db.told, total.TxN)
	total.TxN = db.told
	return total
}

// sum adds what counts up.
func sum(a, b bbolt.Stats) bbolt.Stats {
	var none bbolt.TxStats
	minus := none.Sub(&b.TxStats)
	a.TxStats = a.TxStats.Sub(&minus)
	a.TxN += b.TxN
	a.OpenTxN += b.OpenTxN
	return a
}

// gate holds back those who are about to begin a write transaction. It opens
// for all of them at once.
type gate struct {
	mu     sync.Mutex
	closed chan struct{} // nil while the gate is open
}

func (g *gate) wait() {
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	if closed != nil {
		<-closed
	}
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed == nil {
		g.closed = make(chan struct{})
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed != nil {
		close(g.closed)
		g.closed = nil
	}
}
