// Package pebbletest makes Pebble stores for tests and demonstrations: the same
// seed gives the same content, and the shape says where the dead space lies.
package pebbletest

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Shape is where a store's dead space comes from.
type Shape string

const (
	// Deletes removes keys at random, one by one.
	Deletes Shape = "deletes"
	// Overwrites writes keys again at random.
	Overwrites Shape = "overwrites"
	// RangeDeletes removes the lower part of the keys by one range tombstone, as
	// a log or a queue is trimmed.
	RangeDeletes Shape = "range_deletes"
	// Churn overwrites and deletes at random while Pebble compacts by itself,
	// so that several levels are in use.
	Churn Shape = "churn"
	// Clustered has most of its dead space in a tenth of the keys, which are overwritten
	// again and again, and a little everywhere, since all keys were passed through once
	// and some of them updated.
	Clustered Shape = "clustered"
	// Dense has no dead space: one pass of writes, compacted.
	Dense Shape = "dense"
	// Bottom has its dead space nowhere but in the lowest level: a snapshot was
	// open while the store was compacted.
	Bottom Shape = "bottom"
	// Held has its dead space in the lowest level too, as versions that were
	// overwritten while a snapshot was open, and no tombstones.
	Held Shape = "held"
	// Expired has keys that begin with a day, of which the first days were dropped,
	// each by a range tombstone.
	Expired Shape = "expired"
	// Patches has its dead space in stretches of keys that lie apart, so that no
	// table reaches from one to the next.
	Patches Shape = "patches"
	// Empty has no keys; LiveBytes does not matter.
	Empty Shape = "empty"
)

// Spec describes a store.
type Spec struct {
	Seed uint64
	// Shape is Deletes when empty.
	Shape Shape
	// LiveBytes is about how much a reader of all keys and values gets, before
	// compression; 1 MiB when zero.
	LiveBytes int64
	// Garbage is the dead share of what is written, 0 to below 1; 0.5 when zero.
	// Dense has none.
	Garbage float64
	// ValueBytes is the mean size of a value; 512 when zero. Half of each value
	// is noise, so that compression finds something to do.
	ValueBytes int
	// Format is the format major version; the oldest supported when zero.
	Format pebbledb.FormatMajorVersion
	// FilterBits is the bloom filters' bits per key; no filters when zero.
	FilterBits int
	// LeaveInLog leaves the last writes in the write-ahead log, as a process
	// that was killed does.
	LeaveInLog bool
	// ObsoleteLogs leaves log files behind that are not needed any more, as
	// every Pebble does that is closed: it keeps a few to write over.
	ObsoleteLogs bool
	// RangeKeys is how many range keys the store has.
	RangeKeys int
	// Separate is from which size on values are kept in blob files, which takes
	// FormatValueSeparation at least; 0 for none.
	Separate int
	// Adjust changes the options that the store is made with; may be nil.
	Adjust func(*pebbledb.Options)
}

func (s Spec) withDefaults() Spec {
	if s.Shape == "" {
		s.Shape = Deletes
	}
	if s.LiveBytes == 0 {
		s.LiveBytes = 1 << 20
	}
	if s.Garbage == 0 {
		s.Garbage = 0.5
	}
	if s.Shape == Dense {
		s.Garbage = 0
	}
	if s.ValueBytes == 0 {
		s.ValueBytes = 512
	}
	if s.Format == 0 {
		s.Format = pebbledb.FormatMinSupported
	}
	if s.Separate > 0 {
		s.Format = max(s.Format, pebbledb.FormatValueSeparation)
	}
	return s
}

// Generate makes the store at path, which must not exist or be empty.
func Generate(path string, spec Spec) error {
	spec = spec.withDefaults()
	o := spec.Options()
	o.ErrorIfExists = true
	db, err := pebbledb.Open(path, o)
	if err != nil {
		return fmt.Errorf("create store %s: %w", path, err)
	}
	w := &writer{db: db, spec: spec, rng: rand.New(rand.NewPCG(spec.Seed, 0))}
	w.fill()
	if !spec.LeaveInLog {
		w.flush()
	}
	w.do(db.Close())
	if w.err == nil && !spec.LeaveInLog && !spec.ObsoleteLogs {
		w.err = dropLogs(path, spec)
	}
	if w.err != nil {
		return fmt.Errorf("fill store %s: %w", path, w.err)
	}
	return nil
}

// dropLogs opens and closes the store: opening removes what is obsolete.
func dropLogs(path string, spec Spec) error {
	o := spec.Options()
	o.DisableAutomaticCompactions = true
	db, err := pebbledb.Open(path, o)
	if err != nil {
		return err
	}
	return db.Close()
}

// Options are those of the application: the store is made with them.
func (s Spec) Options() *pebbledb.Options {
	s = s.withDefaults()
	o := &pebbledb.Options{
		FS:                          vfs.Default,
		FormatMajorVersion:          s.Format,
		DisableAutomaticCompactions: s.Shape != Churn,
		L0StopWritesThreshold:       1 << 20,
		MemTableSize:                uint64(min(max(s.LiveBytes/16, 256<<10), 4<<20)),
		Logger:                      quiet{},
	}
	if s.Shape == Churn {
		// Small enough for several levels in a store of a few megabytes.
		o.LBaseMaxBytes = max(s.LiveBytes/8, 64<<10)
		o.L0StopWritesThreshold = 0
	}
	if s.FilterBits > 0 {
		for i := range o.Levels {
			o.Levels[i].FilterPolicy = bloom.FilterPolicy(s.FilterBits)
		}
	}
	if s.Separate > 0 {
		o.Experimental.ValueSeparationPolicy = func() pebbledb.ValueSeparationPolicy {
			return pebbledb.ValueSeparationPolicy{
				Enabled: true, MinimumSize: s.Separate, MaxBlobReferenceDepth: 10,
				RewriteMinimumAge: blobAge, TargetGarbageRatio: 0.5,
			}
		}
	}
	if s.Adjust != nil {
		s.Adjust(o)
	}
	return o
}

// expiredDays are the days that an Expired store was written for.
const expiredDays = 32

const (
	// thinly is how many keys of a Clustered store lie between two that are updated in
	// passing, which is written in so many passes.
	thinly = 100
	passes = 20
)

// blobAge is how old a blob file is before Pebble rewrites it by itself: older than
// any that is generated.
const blobAge = 24 * time.Hour

// patches is how many stretches a store of that shape has.
const patches = 6

// Key is the i-th key of every generated store.
func Key(i int) []byte { return fmt.Appendf(nil, "user/%012d/profile", i) }

// writer keeps the first error, so that the shapes read as what they write.
type writer struct {
	db   *pebbledb.DB
	spec Spec
	rng  *rand.Rand
	err  error
}

func (w *writer) fill() {
	perKey := int64(w.spec.ValueBytes + len(Key(0)))
	live := max(int(w.spec.LiveBytes/perKey), 1)
	dead := int(float64(live) * w.spec.Garbage / (1 - w.spec.Garbage))
	switch w.spec.Shape {
	case Dense:
		w.sets(live)
		w.rangeKeys(live)
		w.compact(live)
	case Deletes:
		w.sets(live + dead)
		w.rangeKeys(live + dead)
		w.compact(live + dead)
		for _, i := range w.rng.Perm(live + dead)[:dead] {
			w.delete(i)
		}
	case Overwrites:
		w.sets(live)
		w.rangeKeys(live)
		w.compact(live)
		for range dead {
			w.set(w.rng.IntN(live))
		}
	case RangeDeletes:
		w.sets(live + dead)
		w.rangeKeys(live + dead)
		w.compact(live + dead)
		w.do(w.db.DeleteRange(Key(0), Key(dead), pebbledb.NoSync))
	case Churn:
		w.sets(live)
		w.rangeKeys(live)
		for range dead {
			if i := w.rng.IntN(live); w.rng.IntN(4) == 0 {
				w.delete(i)
			} else {
				w.set(i)
			}
		}
	case Clustered:
		w.sets(live)
		w.rangeKeys(live)
		w.compact(live)
		for pass := range passes {
			for i := pass * live / passes; i < (pass+1)*live/passes; i += thinly {
				w.set(i)
				dead--
			}
			w.flush()
		}
		for range max(0, dead) {
			w.set(w.rng.IntN(max(1, live/10)))
		}
	case Expired:
		day := max(1, (live+dead)/expiredDays)
		w.sets(live + dead)
		w.rangeKeys(live + dead)
		w.compact(live + dead)
		for from := 0; from+day <= dead; from += day {
			w.do(w.db.DeleteRange(Key(from), Key(from+day), pebbledb.NoSync))
		}
	case Patches:
		w.sets(live)
		w.rangeKeys(live)
		w.compact(live)
		stretch := max(2, live/patches)
		for from := 0; from+stretch <= live; from += stretch {
			for range dead / patches {
				w.set(from + w.rng.IntN(stretch/2))
			}
			w.flush()
		}
	case Held:
		w.sets(live)
		snapshot := w.db.NewSnapshot()
		for range dead {
			w.set(w.rng.IntN(live))
		}
		w.compact(live)
		w.do(snapshot.Close())
	case Empty:
	case Bottom:
		w.sets(live + dead)
		snapshot := w.db.NewSnapshot()
		for i := range dead {
			w.delete(i)
		}
		w.compact(live + dead)
		w.do(snapshot.Close())
	default:
		w.do(fmt.Errorf("there is no shape %q", w.spec.Shape))
	}
}

func (w *writer) do(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *writer) sets(n int) {
	for i := range n {
		w.set(i)
	}
}

func (w *writer) set(i int) {
	if w.err == nil {
		w.err = w.db.Set(Key(i), w.value(), pebbledb.NoSync)
	}
}

func (w *writer) delete(i int) {
	if w.err == nil {
		w.err = w.db.Delete(Key(i), pebbledb.NoSync)
	}
}

func (w *writer) rangeKeys(keys int) {
	for i := range w.spec.RangeKeys {
		from := i * keys / w.spec.RangeKeys
		w.do(w.db.RangeKeySet(Key(from), Key(from+1), nil, fmt.Appendf(nil, "mark %d", i), pebbledb.NoSync))
	}
}

func (w *writer) flush() {
	if w.err == nil {
		w.err = w.db.Flush()
	}
}

// compact moves everything into the lowest level.
func (w *writer) compact(keys int) {
	if w.err == nil {
		w.err = w.db.Compact(context.Background(), Key(0), Key(keys), false)
	}
}

// value is of half to one and a half times the mean size.
func (w *writer) value() []byte {
	v := make([]byte, w.spec.ValueBytes/2+w.rng.IntN(w.spec.ValueBytes+1))
	for i := 0; i+8 <= len(v)/2; i += 8 {
		binary.LittleEndian.PutUint64(v[i:], w.rng.Uint64())
	}
	return v
}

// quiet keeps Pebble's chatter out of tests.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}

var _ pebbledb.Logger = quiet{}
