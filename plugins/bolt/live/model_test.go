package live_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"github.com/wringdb/wring/plugins/bolt"
	"github.com/wringdb/wring/plugins/bolt/live"
	"github.com/wringdb/wring/sdk"
)

// modelRuns is how often rapid is called; each makes -rapid.checks sequences, 100
// unless told otherwise.
func modelRuns() int {
	if live.RaceDetector {
		return 4
	}
	return 10
}

// Whatever transactions an application makes, and wherever compactions that never
// cease come between them: the store has the content of a model in memory, and a
// reader sees that of the moment in which it began, to its end.
func TestModel(t *testing.T) {
	dir := memoryDir(t)
	var n modelCounts
	for range modelRuns() {
		rapid.Check(t, func(t *rapid.T) {
			n.sequences++
			modelSequence(t, filepath.Join(dir, fmt.Sprintf("%d.db", n.sequences)), &n)
		})
	}
	t.Log(n.String())
	if n.compacted*4 < n.sequences*3 {
		t.Errorf("the file was replaced in %d of %d sequences only", n.compacted, n.sequences)
	}
	if n.across*4 < n.sequences {
		t.Error("too few readers read across a compaction")
	}
	needHoles(t, n.noHoles)
	if n.punched == 0 || n.cancelled == 0 || n.moves == 0 || n.remade == 0 || n.turned == 0 {
		t.Error("something did not happen at all")
	}
}

// memoryDir is a directory in memory, where the system has such: what takes time on
// a disk is to sync, which this test is not about.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "wring") //nolint:usetesting // see above
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

type modelCounts struct {
	sequences, compacted                            int // compacted at least once
	transactions, rolledBack, moves, remade, turned int
	rewritten, punched, noOps, cancelled, gaveUp    int
	readers, snapshots, across, longest             int
	noHoles                                         error // why nothing was punched
}

func (n *modelCounts) String() string {
	return fmt.Sprintf("%d sequences, %d of them with a file replaced; %d transactions, %d rolled back; "+
		"%d buckets moved, %d made anew, %d values that became buckets or the reverse; "+
		"compactions: %d rewrote, %d punched, %d had nothing to do, %d were cancelled, %d gave up; "+
		"%d readers, %d snapshots checked, %d readers across a compaction, one across %d",
		n.sequences, n.compacted, n.transactions, n.rolledBack, n.moves, n.remade, n.turned,
		n.rewritten, n.punched, n.noOps, n.cancelled, n.gaveUp,
		n.readers, n.snapshots, n.across, n.longest)
}

// sequence is one life of a store.
type sequence struct {
	t    *rapid.T
	n    *modelCounts
	db   *live.DB
	path string

	now     *bucketModel // as committed
	id      int          // of the transaction that committed it
	readers []*modelReader
	running *runningCompaction // nil where none is
	swaps   int
}

// modelReader is a read transaction and what it is to see.
type modelReader struct {
	tx    *bbolt.Tx
	model *bucketModel
	swaps int // of the sequence, when it began
}

func modelSequence(t *rapid.T, path string, n *modelCounts) {
	s := &sequence{t: t, n: n, path: path, now: newBucketModel()}
	options := &bbolt.Options{
		PageSize: 1 << 10, NoSync: true, NoGrowSync: true,
		// A writer that needs more is to wait for no reader: this one goroutine is both.
		InitialMmapSize: 1 << 26,
		NoFreelistSync:  rapid.IntRange(0, 3).Draw(t, "no freelist") == 0,
		FreelistType:    rapid.SampledFrom([]bbolt.FreelistType{bbolt.FreelistArrayType, bbolt.FreelistMapType}).Draw(t, "freelist"),
	}
	var err error
	if s.db, err = live.Open(path, 0o600, options); err != nil {
		t.Fatal(err)
	}
	s.db.MaxBatchSize = 1 // there is nobody to wait for
	defer s.end()
	s.garbage()
	for range rapid.IntRange(15, 40).Draw(t, "steps") {
		if s.running == nil {
			s.compact()
		}
		switch kind := rapid.IntRange(0, 11).Draw(t, "step"); {
		case kind < 4:
			s.transaction()
		case kind < 6:
			s.garbage()
		case kind == 6 && len(s.readers) < 4:
			s.read()
		case kind == 7 && len(s.readers) > 0:
			i := rapid.IntRange(0, len(s.readers)-1).Draw(t, "reader")
			s.ends(i)
		default:
			s.turn()
		}
	}
	s.finish()
}

// finish lets readers and the compaction end, and opens the store by bbolt alone.
func (s *sequence) finish() {
	for len(s.readers) > 0 {
		s.ends(0)
	}
	for s.running != nil {
		s.turn()
	}
	if s.swaps > 0 {
		s.n.compacted++
	}
	if err := alone(s.db, s.now.sound); err != nil {
		s.t.Fatalf("in the end: %v", err)
	}
	if err := s.db.Close(); err != nil {
		s.t.Fatal(err)
	}
	plain, err := bbolt.Open(s.path, 0o600, &bbolt.Options{Timeout: time.Second, NoSync: true})
	if err != nil {
		s.t.Fatal(err)
	}
	defer plain.Close()
	if err := plain.View(s.now.sound); err != nil {
		s.t.Fatalf("opened by bbolt: %v", err)
	}
	if entries, err := filepath.Glob(filepath.Join(filepath.Dir(s.path), "*")); err != nil || len(entries) != 1 {
		s.t.Fatalf("left behind: %v, error %v", entries, err)
	}
}

// alone looks at a store that nobody else writes to meanwhile: bbolt's Check takes no
// lock, and a compaction that was cancelled may still be about to begin, and end, a
// transaction that it had to wait for.
func alone(db *live.DB, look func(*bbolt.Tx) error) error {
	tx, err := db.Begin(true)
	if err != nil {
		return err
	}
	return errors.Join(look(tx), tx.Rollback())
}

// end leaves nothing behind, however the sequence has ended.
func (s *sequence) end() {
	for _, r := range s.readers {
		_ = r.tx.Rollback()
	}
	if s.running != nil {
		s.running.cancel()
		<-s.running.done
	}
	_ = s.db.Close()
	_ = os.Remove(s.path)
}

// transaction makes random changes, and commits them or not.
func (s *sequence) transaction() {
	s.n.transactions++
	next := s.now.clone()
	var id int
	rollback := errors.New("rolled back")
	if rapid.IntRange(0, 5).Draw(s.t, "roll back") > 0 {
		rollback = nil
	}
	within := func(tx *bbolt.Tx) error {
		if id = tx.ID(); id <= s.id {
			return fmt.Errorf("transaction %d comes after %d", id, s.id)
		}
		(&changes{t: s.t, n: s.n, root: place{rootOf(tx), next}}).make()
		if len(s.readers) < 4 && rapid.IntRange(0, 9).Draw(s.t, "read meanwhile") == 0 {
			s.read()
		}
		if err := next.differs(rootOf(tx)); err != nil {
			return fmt.Errorf("in its own transaction: %w", err)
		}
		return rollback
	}
	var err error
	switch rapid.IntRange(0, 2).Draw(s.t, "by") {
	case 0:
		err = s.db.Update(within)
	case 1:
		err = s.begun(within)
	default:
		// What fails in a batch is called again, and has to draw the same again.
		if rollback != nil {
			err = s.db.Update(within)
			break
		}
		err = s.inBatch(within)
	}
	if !errors.Is(err, rollback) {
		s.t.Fatalf("error %v, want %v", err, rollback)
	}
	if rollback != nil {
		s.n.rolledBack++
		return
	}
	s.id = id
	s.now = next.clone() // without the marks of the transaction
}

// begun does by Begin, Commit and Rollback what Update does.
func (s *sequence) begun(within func(*bbolt.Tx) error) error {
	tx, err := s.db.Begin(true)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := within(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// inBatch calls Batch. What is drawn is drawn here, as rapid asks for: a batch runs
// in another goroutine, which must not fail the test.
func (s *sequence) inBatch(within func(*bbolt.Tx) error) error {
	begun, ended := make(chan *bbolt.Tx), make(chan error)
	called := make(chan error, 1)
	go func() {
		called <- s.db.Batch(func(tx *bbolt.Tx) error {
			begun <- tx
			return <-ended
		})
	}()
	tx := <-begun
	left := true
	defer func() {
		if left { // by a panic, as which rapid fails
			ended <- errors.New("the test has failed")
			(<-begun).ID() // once more, alone
			ended <- errors.New("the test has failed")
			if err := <-called; err == nil {
				panic("what has failed was committed")
			}
		}
	}()
	err := within(tx)
	left = false
	ended <- err
	if err != nil {
		<-begun
		ended <- err
	}
	return <-called
}

// garbage fills pages and gives them up, so that there is something to compact.
func (s *sequence) garbage() {
	for _, change := range []func(tx *bbolt.Tx) error{
		func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucket([]byte("garbage"))
			return errors.Join(err, b.Put([]byte("key"), make([]byte, 80<<10)))
		},
		func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte("garbage")) },
	} {
		s.n.transactions++
		if err := s.db.Update(change); err != nil {
			s.t.Fatal(err)
		}
	}
}

// read opens a reader, which looks at all that it sees.
func (s *sequence) read() {
	tx, err := s.db.Begin(false)
	if err != nil {
		s.t.Fatal(err)
	}
	if tx.ID() < s.id {
		s.t.Fatalf("a reader of transaction %d, after %d was committed", tx.ID(), s.id)
	}
	s.n.readers++
	r := &modelReader{tx: tx, model: s.now, swaps: s.swaps}
	s.readers = append(s.readers, r)
	s.looks(r, "at its beginning")
}

func (s *sequence) looks(r *modelReader, when string) {
	s.n.snapshots++
	if err := r.model.differs(rootOf(r.tx)); err != nil {
		s.t.Fatalf("a reader %s, %d compactions later: %v", when, s.swaps-r.swaps, err)
	}
}

// ends lets a reader look once more, and end.
func (s *sequence) ends(i int) {
	r := s.readers[i]
	s.looks(r, "at its end")
	s.readers = append(s.readers[:i], s.readers[i+1:]...)
	if err := r.tx.Rollback(); err != nil {
		s.t.Fatal(err)
	}
	if over := s.swaps - r.swaps; over > 0 {
		s.n.across++
		s.n.longest = max(s.n.longest, over)
	}
}

// runningCompaction is one that has not been waited for.
type runningCompaction struct {
	mode   string
	cancel context.CancelFunc
	// at has something where a phase has begun. A compaction that is led waits there
	// for its turn.
	at     chan struct{}
	done   chan struct{} // closed at the end
	result sdk.CompactResult
	err    error

	cancelled bool
}

// compact begins a compaction in another goroutine: one that is led goes on when it
// is its turn, so that rapid knows what comes between what; another one goes on by
// itself.
func (s *sequence) compact() {
	o := live.CompactOptions{
		Mode:       bolt.ModeRewrite,
		MaxPause:   rapid.SampledFrom([]time.Duration{time.Millisecond, live.DefaultMaxPause, 10 * time.Second, 10 * time.Second}).Draw(s.t, "pause"),
		VerifyFull: rapid.IntRange(0, 3).Draw(s.t, "verify") == 0,
	}
	if !s.db.NoFreelistSync && rapid.IntRange(0, 7).Draw(s.t, "punch") == 0 {
		// It waits for readers as long as writers may be held up.
		o.Mode, o.MinRun, o.MaxPause = bolt.ModePunch, 4<<10, live.DefaultMaxPause
	}
	if rapid.Bool().Draw(s.t, "full pages") {
		o.FillPercent = 1
	}
	led := rapid.Bool().Draw(s.t, "led")
	ctx, cancel := context.WithCancel(context.Background())
	r := &runningCompaction{mode: o.Mode, cancel: cancel, at: make(chan struct{}), done: make(chan struct{})}
	if !led {
		r.at = make(chan struct{}, 1)
	}
	phase := ""
	o.Report = func(p sdk.Progress) {
		if p.Phase == phase {
			return
		}
		phase = p.Phase
		if !led {
			select {
			case r.at <- struct{}{}:
			default:
			}
			return
		}
		select {
		case r.at <- struct{}{}:
		case <-ctx.Done():
		}
	}
	s.running = r
	go func() {
		defer close(r.done)
		r.result, r.err = s.db.Compact(ctx, o)
	}()
}

// turn lets the compaction come to its next phase, or to its end; now and then it
// is cancelled.
func (s *sequence) turn() {
	r := s.running
	if rapid.IntRange(0, 15).Draw(s.t, "cancel") == 7 {
		r.cancelled = true
		r.cancel()
	}
	// To punch waits for readers.
	for r.mode == bolt.ModePunch && len(s.readers) > 0 {
		s.ends(0)
	}
	select {
	case <-r.at:
	case <-r.done:
		r.cancel()
		s.running = nil
		s.ended(r)
	}
}

// ended counts a compaction that has come to its end.
func (s *sequence) ended(r *runningCompaction) {
	switch {
	case r.cancelled && errors.Is(r.err, sdk.ErrCancelled):
		s.n.cancelled++
	case errors.Is(r.err, sdk.ErrBusy) && sdk.HintOf(r.err) != "":
		s.n.gaveUp++
	case r.mode == bolt.ModePunch && errors.Is(r.err, sdk.ErrUnsupported):
		s.n.noHoles = r.err
	case r.err != nil:
		s.t.Fatalf("compact: %v", r.err)
	case r.result.NoOp:
		s.n.noOps++
	case r.result.Mode == bolt.ModePunch:
		s.n.punched++
	default:
		s.swaps++
		s.n.rewritten++
	}
}
