package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
)

// store is what an application sees of one.
type store interface {
	View(fn func(*bbolt.Tx) error) error
	Update(fn func(*bbolt.Tx) error) error
}

// Values have so many bytes, as in the original.
const (
	leastValue = 40
	mostValue  = 400
)

// demand is what is asked of a store.
type demand struct {
	// reads and writes per second; 0 for as many as there can be, each one begun
	// when the one before has ended.
	reads, writes int
	// readers and writers make them.
	readers, writers int
}

// load reads and overwrites keys at random, one in a transaction.
type load struct {
	store    store
	original *original
	cancel   context.CancelFunc
	workers  sync.WaitGroup

	due    [kinds]schedule
	served [kinds]counter
	grows  growth

	mu      sync.Mutex // of what follows
	samples [kinds][]sample
	err     error
	writers []*writer
}

// Kinds of requests.
const (
	reads = iota
	writes
	kinds
)

// counter has a cache line to itself.
type counter struct {
	atomic.Int64
	_ [56]byte
}

// startLoad begins to make requests of a store.
func startLoad(ctx context.Context, s store, o *original, seed uint64, d demand) *load {
	ctx, cancel := context.WithCancel(ctx)
	l := &load{store: s, original: o, cancel: cancel}
	began := time.Now()
	l.due[reads].began, l.due[reads].rate = began, d.reads
	l.due[writes].began, l.due[writes].rate = began, d.writes
	for i := range d.readers {
		r := &reader{load: l, random: rand.New(rand.NewPCG(seed, uint64(i)))}
		l.workers.Go(func() { l.work(ctx, reads, r.read) })
	}
	for i := range d.writers {
		w := &writer{
			load: l, random: rand.New(rand.NewPCG(seed, uint64(d.readers+i))),
			first: i, step: d.writers, value: make([]byte, mostValue), last: map[int]uint64{},
		}
		l.writers = append(l.writers, w)
		l.workers.Go(func() { l.work(ctx, writes, w.write) })
	}
	return l
}

// work makes requests of one kind until ctx ends.
func (l *load) work(ctx context.Context, kind int, request func() error) {
	counted := func() error {
		err := request()
		if err == nil {
			l.served[kind].Add(1)
		}
		return err
	}
	made, err := l.makeRequests(ctx, kind, counted)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.samples[kind] = append(l.samples[kind], made...)
	if err != nil {
		l.err = errors.Join(l.err, err)
		l.cancel()
	}
}

func (l *load) makeRequests(ctx context.Context, kind int, request func() error) ([]sample, error) {
	if l.due[kind].rate == 0 {
		for ctx.Err() == nil {
			if err := request(); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}
	c, stop, err := newClock()
	if err != nil {
		return nil, err
	}
	defer stop()
	return l.due[kind].work(ctx, c, request)
}

// mark is a moment, and what had been done by then.
type mark struct {
	at     time.Time
	served [kinds]int64
}

func (l *load) mark() mark {
	return mark{time.Now(), [kinds]int64{l.served[reads].Load(), l.served[writes].Load()}}
}

// growth of a file, up to the highest page in use. Transactions of another file
// that has taken its place do not count.
type growth struct {
	of      atomic.Pointer[bbolt.DB]
	from    int64
	highest atomic.Int64
}

// watch begins with the file and the size that a transaction sees.
func (g *growth) watch(tx *bbolt.Tx) {
	g.from = tx.Size()
	g.highest.Store(tx.Size())
	g.of.Store(tx.DB())
}

func (g *growth) see(tx *bbolt.Tx) {
	if g.of.Load() != tx.DB() {
		return
	}
	for size, was := tx.Size(), g.highest.Load(); size > was; was = g.highest.Load() {
		if g.highest.CompareAndSwap(was, size) {
			return
		}
	}
}

// bytes since it is watched.
func (g *growth) bytes() int64 { return g.highest.Load() - g.from }

// patience is how long requests that have piled up may take.
const patience = time.Minute

// catchUp waits until all requests that were due by then have been taken up.
func (l *load) catchUp(ctx context.Context, by time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		behind := false
		for kind := range l.due {
			s := &l.due[kind]
			behind = behind || s.rate > 0 && !s.due(s.taken.Load()).After(by)
		}
		if !behind {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for requests that have piled up: %w", ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// stop ends the load, and returns what was measured.
func (l *load) stop() ([kinds][]sample, error) {
	l.cancel()
	l.workers.Wait()
	return l.samples, l.err
}

// verify makes sure that the store has the last value that was acknowledged of
// each key written.
func (l *load) verify(s store) error {
	return s.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(l.original.bucket)
		if b == nil {
			return fmt.Errorf("the bucket %q is gone", l.original.bucket)
		}
		for _, w := range l.writers {
			for i, want := range w.last {
				key := l.original.keys.at(i)
				value := b.Get(key)
				if len(value) < leastValue || binary.BigEndian.Uint64(value) != want {
					return fmt.Errorf("key %x has lost its write %d: it has %d bytes", key, want, len(value))
				}
			}
		}
		return nil
	})
}

type reader struct {
	load   *load
	random *rand.Rand
	sum    byte // of what was read, so that it is
}

func (r *reader) read() error {
	key := r.load.original.keys.at(r.random.IntN(r.load.original.keys.count()))
	return r.load.store.View(func(tx *bbolt.Tx) error {
		value := tx.Bucket(r.load.original.bucket).Get(key)
		if len(value) < leastValue {
			return fmt.Errorf("key %x has %d bytes, want at least %d", key, len(value), leastValue)
		}
		for _, b := range value {
			r.sum ^= b
		}
		return nil
	})
}

// writer has keys that no other one writes.
type writer struct {
	load        *load
	random      *rand.Rand
	first, step int
	value       []byte
	written     uint64
	last        map[int]uint64 // number of the last write by key
}

func (w *writer) write() error {
	all := w.load.original.keys
	i := w.first + w.step*w.random.IntN((all.count()-w.first+w.step-1)/w.step)
	number := w.written + 1
	// bbolt has the key and the value until the transaction has ended.
	value := w.value[:leastValue+w.random.IntN(mostValue-leastValue+1)]
	for at := 0; at+8 <= len(value); at += 8 {
		binary.BigEndian.PutUint64(value[at:], w.random.Uint64())
	}
	binary.BigEndian.PutUint64(value, number)
	if err := w.load.store.Update(func(tx *bbolt.Tx) error {
		w.load.grows.see(tx)
		return tx.Bucket(w.load.original.bucket).Put(all.at(i), value)
	}); err != nil {
		return err
	}
	w.written, w.last[i] = number, number
	return nil
}
