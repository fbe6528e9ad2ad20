package history

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/wringdb/wring/sdk"
)

// schemaVersion of the buckets below. A file of another version is set aside.
const schemaVersion = "1"

// The buckets. Sequence numbers (8 bytes, big endian) keep the order of
// recording whatever the clock does. Records are JSON.
var (
	bucketMeta    = []byte("meta")    // schema → schemaVersion
	bucketRuns    = []byte("runs")    // sequence → Run
	bucketResults = []byte("results") // store → bucket: sequence → Result
	bucketPast    = []byte("past")    // store → Past
	bucketOpen    = []byte("open")    // run ID → bucket: run → Run, stores → bucket: store → Result
	bucketNotices = []byte("notices") // key → record of core/notify; may be missing before open

	keySchema = []byte("schema")
	keyRun    = []byte("run")
	keyStores = []byte("stores")
)

// forgetAfter is how long a store that no run has seen is remembered. Files
// come and go under a pattern; the longest schedule is a year.
const forgetAfter = 400 * 24 * time.Hour

// file keeps the history in a bbolt database.
type file struct {
	db   *bolt.DB
	f    *os.File // the database's own
	keep atomic.Uint64
	// writing is held by whoever writes results, queueing guards those that wait
	// for it.
	writing, queueing sync.Mutex
	queue             []*unwritten
	// sampling guards waiting, the samples of which no transaction has taken care.
	sampling sync.Mutex
	waiting  []newSample
	// broken is set when touching the file has gone wrong in the middle of
	// bbolt, whose locks may be held for ever since.
	broken atomic.Bool
}

var _ records = (*file)(nil)

// ErrForeign is of a file that is a sound database, and somebody else's.
var ErrForeign = errors.New("it is a bbolt database of another application")

// openFile opens the database at path. It sets aside what it cannot read,
// except for a database of somebody else's, and returns errLocked if another
// process holds the file.
func openFile(path string, keep int, logger hclog.Logger, now func() time.Time) (*file, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make directory of the history: %w", err)
	}
	for setAside := false; ; setAside = true {
		h := &file{}
		h.setKeep(keep)
		err := h.open(path, logger, now)
		if err == nil {
			return h, nil
		}
		if errors.Is(err, ErrForeign) {
			h.abandon()
			return nil, foreign(path, err)
		}
		if !errors.Is(err, errDamaged) || setAside {
			h.abandon()
			return nil, fmt.Errorf("open history %s: %w", path, err)
		}
		aside, renameErr := moveAside(path, now())
		h.abandon() // gives up the lock, so after the rename
		if renameErr != nil {
			return nil, fmt.Errorf("open history %s: %w; set it aside: %w", path, err, renameErr)
		}
		logger.Warn("the history cannot be read and was set aside; a new one is begun", "path", path, "moved_to", aside, "reason", err)
	}
}

// foreign is the refusal of a file that is none of the host's to move or to
// write to.
func foreign(path string, err error) error {
	return sdk.Errorf(sdk.ErrCorrupt, "data_dir %s holds somebody else's %s: %w", filepath.Dir(path), filepath.Base(path), err).
		WithHint("give wring a data_dir of its own, or move that file elsewhere")
}

// open leaves h.f open and locked when it fails after taking the lock.
func (h *file) open(path string, logger hclog.Logger, now func() time.Time) (err error) {
	h.f, err = openLocked(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	info, err := h.f.Stat()
	if err != nil {
		return err
	}
	if err := checkIntact(h.f); err != nil {
		return err
	}
	err = h.guard(func() (err error) {
		h.db, err = openBolt(path, h.f, false)
		return err
	})
	if err != nil {
		return err
	}
	return h.guard(func() error {
		if err := h.db.View(checkRecords); err != nil {
			return err
		}
		if err := h.f.Chmod(0o600); err != nil { // only now: it is a history
			return err
		}
		return h.db.Update(func(tx *bolt.Tx) error {
			if err := makeBuckets(tx); err != nil {
				return err
			}
			if err := h.beginTotals(tx); err != nil {
				return err
			}
			if err := h.forget(tx, now().Add(-forgetAfter)); err != nil {
				return err
			}
			return h.completeRuns(tx, info.ModTime(), logger)
		})
	})
}

// openBolt hands f, which is locked, to bbolt.
func openBolt(path string, f *os.File, readOnly bool) (*bolt.DB, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{
		ReadOnly: readOnly,
		Timeout:  lockTimeout,
		OpenFile: func(string, int, os.FileMode) (*os.File, error) { return f, nil },
	})
	// Anything else, such as a full disk, is no fault of the file.
	for _, fault := range []error{berrors.ErrInvalid, berrors.ErrVersionMismatch, berrors.ErrChecksum} {
		if errors.Is(err, fault) {
			return nil, fmt.Errorf("%w: %w", errDamaged, err)
		}
	}
	return db, err
}

// abandon closes what is open of a database that cannot be used.
func (h *file) abandon() {
	if h.db != nil && !h.broken.Load() {
		_ = h.db.Close()
	}
	if h.f != nil {
		unlock(h.f)
		_ = h.f.Close()
	}
}

// moveAside renames path to a free name that says when.
func moveAside(path string, now time.Time) (string, error) {
	base := path + ".damaged-" + now.UTC().Format("20060102T150405Z")
	aside := base
	for n := 2; ; n++ {
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			return aside, os.Rename(path, aside)
		}
		aside = fmt.Sprintf("%s-%d", base, n)
	}
}

// guard runs f, which touches the mapped file, and turns the panics that
// broken pages cause, and faults where the file has become shorter, into
// errDamaged. After one the database is not touched again.
func (h *file) guard(f func() error) (err error) {
	if h.broken.Load() {
		return fmt.Errorf("%w: it went wrong before", errDamaged)
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			h.broken.Store(true)
			err = fmt.Errorf("%w: %v", errDamaged, p)
		}
	}()
	return f()
}

func (h *file) setKeep(keep int) {
	h.keep.Store(uint64(keep))
}

func (h *file) close() error {
	if h.broken.Load() {
		h.abandon()
		return nil
	}
	flushErr := h.flushSamples()
	if err := h.db.Close(); err != nil {
		return fmt.Errorf("close history: %w", err)
	}
	return flushErr
}

// readFile loads the whole history at path into memory.
func readFile(path string) (*memory, error) {
	f, err := openLocked(path, os.O_RDONLY, 0)
	switch {
	case errors.Is(err, errLocked):
		return nil, sdk.Errorf(sdk.ErrBusy, "read history %s: %w", path, err).
			WithHint("a host uses it; ask that host, or stop it first")
	case errors.Is(err, fs.ErrNotExist):
		return nil, sdk.Errorf(sdk.ErrNotFound, "read history: %w", err)
	case errors.Is(err, fs.ErrPermission):
		return nil, sdk.Errorf(sdk.ErrPermission, "read history: %w", err).
			WithHint("it belongs to the user that the host runs as")
	case err != nil:
		return nil, fmt.Errorf("read history: %w", err)
	}
	h := &file{f: f}
	defer h.abandon()
	m := newMemory(1 << 30) // the file holds no more than was kept
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	if info.Size() == 0 {
		return m, nil // a host has just made it
	}
	if err = checkIntact(f); err == nil {
		err = h.guard(func() (err error) {
			if h.db, err = openBolt(path, f, true); err != nil {
				return err
			}
			return h.db.View(func(tx *bolt.Tx) error { return load(tx, m, info.ModTime()) })
		})
	}
	if errors.Is(err, ErrForeign) {
		return nil, foreign(path, err)
	}
	if errors.Is(err, errDamaged) {
		return nil, sdk.Errorf(sdk.ErrCorrupt, "read history %s: %w", path, err).
			WithHint("a host that starts sets it aside and begins a new one")
	}
	if err != nil {
		return nil, fmt.Errorf("read history %s: %w", path, err)
	}
	return m, nil
}

// load copies everything into m and completes runs that were left open, in m.
func load(tx *bolt.Tx, m *memory, lastWrite time.Time) error {
	if err := checkRecords(tx); err != nil {
		return err
	}
	if tx.Bucket(bucketMeta) == nil {
		return nil
	}
	err := tx.Bucket(bucketRuns).ForEach(func(_, value []byte) error {
		var run Run
		err := decode(value, &run)
		m.allRuns = append(m.allRuns, run)
		return err
	})
	if err != nil {
		return err
	}
	results := tx.Bucket(bucketResults)
	err = results.ForEachBucket(func(store []byte) error {
		return results.Bucket(store).ForEach(func(_, value []byte) error {
			var r Result
			err := decode(value, &r)
			m.byStore[string(store)] = append(m.byStore[string(store)], r)
			return err
		})
	})
	if err != nil {
		return err
	}
	if m.allPasts, err = allPasts(tx); err != nil {
		return err
	}
	if m.allPauses, err = allPauses(tx); err != nil {
		return err
	}
	if m.allTotals, err = allTotals(tx); err != nil {
		return err
	}
	if m.allReclaimed, err = reclaimedBytes(tx); err != nil {
		return err
	}
	if err := loadSamples(tx, m); err != nil {
		return err
	}
	open, err := openRuns(tx)
	if err != nil {
		return err
	}
	for _, run := range open {
		begun := run
		begun.Results = slices.Clone(run.Results)
		m.open[run.ID] = &begun
		if err := m.addRun(interrupted(run, lastWrite)); err != nil {
			return err
		}
	}
	return nil
}

// checkRecords reads every page and record once. A database without buckets is
// one that is about to be made.
func checkRecords(tx *bolt.Tx) error {
	about := tx.Bucket(bucketMeta)
	if about == nil {
		if name, _ := tx.Cursor().First(); name != nil {
			return ErrForeign
		}
		return nil
	}
	version := string(about.Get(keySchema))
	if version == "" { // others have a bucket of that name too
		return ErrForeign
	}
	if version != schemaVersion {
		return fmt.Errorf("%w: it is of version %q and this program reads %q", errDamaged, version, schemaVersion)
	}
	for _, name := range [][]byte{bucketRuns, bucketResults, bucketPast, bucketOpen} {
		b := tx.Bucket(name)
		if b == nil {
			return fmt.Errorf("%w: it has no %s", errDamaged, name)
		}
		if err := checkBucket(b); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, name := range [][]byte{bucketNotices, bucketSamples, bucketTotals, bucketPauses} { // came later
		if b := tx.Bucket(name); b != nil {
			if err := checkBucket(b); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

func checkBucket(b *bolt.Bucket) error {
	return b.ForEach(func(key, value []byte) error {
		if value == nil {
			nested := b.Bucket(key)
			if nested == nil {
				return fmt.Errorf("%w: an empty record", errDamaged)
			}
			return checkBucket(nested)
		}
		if !json.Valid(value) {
			return fmt.Errorf("%w: a record is no JSON", errDamaged)
		}
		return nil
	})
}

func makeBuckets(tx *bolt.Tx) error {
	for _, name := range [][]byte{bucketMeta, bucketRuns, bucketResults, bucketPast, bucketOpen, bucketNotices, bucketSamples, bucketPauses} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	return tx.Bucket(bucketMeta).Put(keySchema, []byte(schemaVersion))
}

func sequenceKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func decode(value []byte, into any) error {
	if err := json.Unmarshal(value, into); err != nil {
		return fmt.Errorf("%w: decode record: %w", errDamaged, err)
	}
	return nil
}

func put(b *bolt.Bucket, key []byte, record any) error {
	value, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	return b.Put(key, value)
}
