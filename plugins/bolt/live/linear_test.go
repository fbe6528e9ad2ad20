package live_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt"
	"github.com/wringdb/wring/plugins/bolt/live"
	"github.com/wringdb/wring/sdk"
)

// Whoever begins a transaction while one generation takes the place of another gets
// the newest state: no acknowledged write is missed by what begins after it, none is
// lost, and none is counted twice.
func TestLinear(t *testing.T) {
	const writers, readers = 16, 32
	swaps, writes := int64(30), int64(10_000)
	if live.RaceDetector {
		swaps, writes = 12, 1000
	}
	l := newLinear(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var all sync.WaitGroup
	histories := make([]history, writers+readers)
	for i := range histories {
		work := l.write
		if i >= writers {
			work = l.read
		}
		all.Go(func() {
			for step := 0; ctx.Err() == nil && !t.Failed(); step++ {
				seen, err := work(ctx, i, step)
				if err != nil {
					t.Errorf("goroutine %d: %v", i, err)
					return
				}
				histories[i] = append(histories[i], seen...)
			}
		})
	}
	var gaveUp int
	swapped := l.swapped.Load
	for ctx.Err() == nil && !t.Failed() && (swapped() < swaps || l.writes.Load() < writes) {
		result, err := l.db.Compact(ctx, live.CompactOptions{Mode: bolt.ModeRewrite, MaxPause: time.Second})
		switch {
		case errors.Is(err, sdk.ErrBusy):
			gaveUp++
		case err != nil:
			t.Errorf("compact: %v", err)
		case !result.NoOp:
			l.swapped.Add(1)
		}
	}
	cancel()
	all.Wait()
	whole := history{}
	var acknowledged uint64
	for i, h := range histories {
		whole = append(whole, h...)
		if i < writers {
			acknowledged += uint64(len(h))
		}
	}
	if err := whole.linear(); err != nil {
		t.Error(err)
	}
	if err := alone(l.db, func(tx *bbolt.Tx) error {
		state, err := l.look(tx)
		if err == nil && state != acknowledged {
			err = fmt.Errorf("the counter is at %d after %d acknowledged increments", state, acknowledged)
		}
		for unsound := range tx.Check() {
			return unsound
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	t.Logf("%d transactions, %d of them increments, %d rolled back; the generation changed %d times, %d compactions gave up",
		len(whole), acknowledged, l.rolledBack.Load(), swapped(), gaveUp)
	if swapped() < 10 || l.rolledBack.Load() == 0 {
		t.Error("too little has happened for it to mean much")
	}
}

// linear is a store with a counter that lies in several registers, all of which
// each write transaction writes: they agree in whatever state a reader may see.
type linear struct {
	db         *live.DB
	clock      atomic.Int64
	writes     atomic.Int64 // acknowledged
	swapped    atomic.Int64
	rolledBack atomic.Int64
}

const registers = 5

func newLinear(t *testing.T) *linear {
	t.Helper()
	db, err := live.Open(filepath.Join(memoryDir(t), "a.db"), 0o600, &bbolt.Options{NoSync: true, NoGrowSync: true, InitialMmapSize: 1 << 28})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	db.MaxBatchSize, db.MaxBatchDelay = 4, time.Millisecond
	if err := db.Update(func(tx *bbolt.Tx) error {
		for r := range registers {
			b, err := tx.CreateBucket(register(r))
			if err != nil {
				return err
			}
			if err := b.Put(register(r), make([]byte, 8)); err != nil {
				return err
			}
		}
		_, err := tx.CreateBucket([]byte("ballast"))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return &linear{db: db}
}

func register(r int) []byte { return fmt.Appendf(nil, "register %d", r) }

// look is the state that a transaction sees.
func (l *linear) look(tx *bbolt.Tx) (state uint64, err error) {
	for r := range registers {
		b := tx.Bucket(register(r))
		if b == nil {
			return 0, fmt.Errorf("register %d is not there", r)
		}
		got := binary.BigEndian.Uint64(b.Get(register(r)))
		if r > 0 && got != state || b.Sequence() != got {
			return 0, fmt.Errorf("register %d is at %d, its bucket at %d, register 0 at %d: what is seen is not of one moment", r, got, b.Sequence(), state)
		}
		state = got
	}
	return state, nil
}

// increment brings a transaction's state to the next one, and leaves garbage.
func (l *linear) increment(tx *bbolt.Tx, who int) (state uint64, err error) {
	if state, err = l.look(tx); err != nil {
		return 0, err
	}
	return state + 1, errors.Join(l.set(tx, state+1), tx.Bucket([]byte("ballast")).Put(fmt.Appendf(nil, "%d", who), make([]byte, 8<<10)))
}

func (l *linear) set(tx *bbolt.Tx, state uint64) error {
	for r := range registers {
		b := tx.Bucket(register(r))
		if err := errors.Join(b.SetSequence(state), b.Put(register(r), binary.BigEndian.AppendUint64(nil, state))); err != nil {
			return err
		}
	}
	return nil
}

// errUnwanted rolls a managed transaction back.
var errUnwanted = errors.New("not wanted after all")

// unwanted is a state that no transaction commits.
const unwanted = 1 << 60

// write makes one write transaction, in the way that it is the turn of.
func (l *linear) write(_ context.Context, who, step int) (history, error) {
	seen := event{began: l.clock.Add(1), wrote: true}
	increment := func(tx *bbolt.Tx) (err error) {
		seen.state, err = l.increment(tx, who)
		return err
	}
	var err error
	switch (who + step) % 4 {
	case 0:
		err = l.db.Update(increment)
	case 1:
		err = l.db.Batch(increment)
	case 2:
		var tx *bbolt.Tx
		if tx, err = l.db.Begin(true); err != nil {
			break
		}
		if err = increment(tx); err == nil {
			err = tx.Commit()
		}
		_ = tx.Rollback() // where it has not been committed
	default:
		by := l.db.Update
		if step%8 < 4 {
			by = l.db.Batch
		}
		if err = by(func(tx *bbolt.Tx) error { return errors.Join(l.set(tx, unwanted), errUnwanted) }); errors.Is(err, errUnwanted) {
			l.rolledBack.Add(1)
			return nil, nil
		}
		return nil, fmt.Errorf("rolled back with error %w", err)
	}
	seen.ended = l.clock.Add(1)
	l.writes.Add(1)
	return history{seen}, err
}

// read makes one read transaction, and looks a second time when it is past a write or,
// some of them, when a generation has taken the place of another.
func (l *linear) read(ctx context.Context, who, step int) (history, error) {
	past := &l.writes
	if who%4 == 0 {
		past = &l.swapped
	}
	seen := event{began: l.clock.Add(1)}
	look := func(tx *bbolt.Tx) (err error) {
		seen.ended = l.clock.Add(1) // what it sees has been decided
		if seen.state, err = l.look(tx); err != nil {
			return err
		}
		wait(ctx, past)
		again, err := l.look(tx)
		if err == nil && again != seen.state {
			err = fmt.Errorf("a reader saw %d and then %d", seen.state, again)
		}
		return err
	}
	if (who/4+step)%2 == 0 {
		err := l.db.View(look)
		return history{seen}, err
	}
	tx, err := l.db.Begin(false)
	if err != nil {
		return nil, err
	}
	err = errors.Join(look(tx), tx.Rollback())
	return history{seen}, err
}

// wait returns when a count has changed.
func wait(ctx context.Context, count *atomic.Int64) {
	for now := count.Load(); ctx.Err() == nil && count.Load() == now; {
		time.Sleep(100 * time.Microsecond)
	}
}
