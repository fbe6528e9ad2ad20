package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wringdb/wring/sdk"
)

// FileName is what the history is called in a host's data directory.
const FileName = "history.db"

// defaultKeep is how many runs, and results of each store, are kept.
const defaultKeep = 20

// DB is the history. A run is written three times: with its stores when it
// begins, before each compaction and when a store's result is known, and whole
// when it ends. So a host that is killed leaves behind what it has done and was
// about to do. All methods are safe for concurrent use.
type DB struct {
	records records
	path    string
}

// records is where a DB keeps things: a file, or memory.
type records interface {
	beginRun(run Run) error
	beginCompaction(r Result) error
	addResult(r Result) error
	addRun(run Run) error

	runs(n int) ([]Run, error)
	results(store string, n int) ([]Result, error)
	past(store string) (Past, error)
	pasts() (map[string]Past, error)

	notices() (map[string]json.RawMessage, error)
	changeNotices(changes map[string]json.RawMessage) error
	addSample(s newSample) error
	samples(store string, n int) ([]Sample, error)
	totals() (map[string]Totals, error)
	reclaimed() (int64, error)
	setPauses(pauses map[string]Pause) error
	pauses() (map[string]Pause, error)
	forgetBefore(before time.Time) error

	setKeep(keep int)
	close() error
}

// Open opens the history at path, or begins one: a file of mode 0600, in a
// directory that is made with mode 0700 where there is none. It keeps the last
// keep runs, and as many results of each store; 0 means 20.
//
// A file that is damaged, or of another version, is set aside as
// PATH.damaged-TIME and a new one begun; a sound bbolt database that is not
// wring's is refused and stays as it is. If another process holds the file, the
// history is kept in memory and ends with the process. Both are logged as
// warnings. What a host that was killed has left open is completed: a store
// that was being compacted is Unknown, one whose turn had not come Cancelled.
func Open(path string, keep int, logger hclog.Logger) (*DB, error) {
	return open(path, keep, logger, time.Now)
}

func open(path string, keep int, logger hclog.Logger, now func() time.Time) (*DB, error) {
	if logger == nil {
		logger = hclog.NewNullLogger()
	}
	f, err := openFile(path, keepOrDefault(keep), logger, now)
	if errors.Is(err, errLocked) {
		logger.Warn("the history is held by another process; what this host does is remembered in memory only", "path", path)
		return NewMemory(keep), nil
	}
	if err != nil {
		return nil, err
	}
	return &DB{records: f, path: path}, nil
}

// OpenReadOnly reads the history of a host that does not run. It changes
// nothing and holds the file only while it reads. Its errors are of kind
// sdk.ErrNotFound (no history), sdk.ErrBusy (a host runs) and sdk.ErrCorrupt.
func OpenReadOnly(path string) (*DB, error) {
	m, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return &DB{records: m, path: path}, nil
}

// NewMemory begins a history that ends with the process.
func NewMemory(keep int) *DB {
	return &DB{records: newMemory(keepOrDefault(keep))}
}

func keepOrDefault(keep int) int {
	if keep <= 0 {
		return defaultKeep
	}
	return keep
}

// Path of the file; empty for a history in memory.
func (db *DB) Path() string { return db.path }

// SetKeep changes how many runs, and results of each store, are kept from now
// on; 0 means 20. What is too much goes when the next is added.
func (db *DB) SetKeep(keep int) { db.records.setKeep(keepOrDefault(keep)) }

// Close gives the file back.
func (db *DB) Close() error { return db.records.close() }

// BeginRun notes that a run has begun. The run's Results name the stores, in
// order, and have no outcome yet.
func (db *DB) BeginRun(run Run) error {
	if err := checkRun(run); err != nil {
		return err
	}
	return db.records.beginRun(run)
}

// BeginCompaction notes that Compact is about to be called on r.Store by a run
// that has begun. Should the host end before the result is added, the store is
// Unknown. StartedAt must be set.
func (db *DB) BeginCompaction(r Result) error {
	if err := checkResult(r, r.Run); err != nil {
		return err
	}
	return db.records.beginCompaction(r)
}

// AddResult notes what became of one store of a run that goes on, and with the
// last file of a pattern the sum of the pattern. It is for the caller to keep the
// results of one store in order; those of several may come at the same time.
func (db *DB) AddResult(r Result) error {
	if err := checkResult(r, r.Run); err != nil {
		return err
	}
	return db.records.addResult(r)
}

// AddRun notes a run that has ended. The results that were not added before
// enter the history and the past of their stores with it, all or none. A result
// with CodeAlreadyRunning belongs to the run alone. The files of one pattern
// are summed up, once, as one more result, of the store that they are Configured
// by, which is in the history of that store and not in the run.
func (db *DB) AddRun(run Run) error {
	if err := checkRun(run); err != nil {
		return err
	}
	return db.records.addRun(run)
}

// Runs returns the last n runs that have ended, newest first; all if n ≤ 0.
func (db *DB) Runs(n int) ([]Run, error) { return db.records.runs(n) }

// Run returns a run that has ended, or an error of kind sdk.ErrNotFound.
func (db *DB) Run(id string) (Run, error) {
	runs, err := db.records.runs(0)
	if err != nil {
		return Run{}, err
	}
	i := slices.IndexFunc(runs, func(run Run) bool { return run.ID == id })
	if i < 0 {
		return Run{}, sdk.Errorf(sdk.ErrNotFound, "there is no run %q in the history", id).
			WithHint("it holds the last %d runs", len(runs))
	}
	return runs[i], nil
}

// Results returns the last n results of a store, newest first; all if n ≤ 0.
func (db *DB) Results(store string, n int) ([]Result, error) { return db.records.results(store, n) }

// Past returns what is known of a store; the zero Past if nothing is.
func (db *DB) Past(store string) (Past, error) { return db.records.past(store) }

// Pasts returns what is known of all stores, by name.
func (db *DB) Pasts() (map[string]Past, error) { return db.records.pasts() }

// AddSample notes how large a store is, and what a compaction has given back
// since the sample before it; its own Reclaimed is not looked at. A store has at
// most MaxSamples: all of the newest, fewer and fewer of older ones, and one for
// each five minutes when they come faster.
func (db *DB) AddSample(store string, s Sample, reclaimed int64) error {
	if store == "" || len(store) > maxNameBytes {
		return fmt.Errorf("record sample: a store's name must have 1 to %d bytes, not %d", maxNameBytes, len(store))
	}
	return db.records.addSample(newSample{store: store, sample: s, reclaimed: reclaimed})
}

// Samples returns the last n samples of a store, oldest first; all if n ≤ 0.
func (db *DB) Samples(store string, n int) ([]Sample, error) { return db.records.samples(store, n) }

// Totals returns what is counted of each store, by name.
func (db *DB) Totals() (map[string]Totals, error) { return db.records.totals() }

// ReclaimedBytes is what all stores have ever given back, those that are
// forgotten included.
func (db *DB) ReclaimedBytes() (int64, error) { return db.records.reclaimed() }

// Forget removes stores that nobody has looked at for 400 days. Opening the
// history does so too.
func (db *DB) Forget(now time.Time) error { return db.records.forgetBefore(now.Add(-forgetAfter)) }

func checkRun(run Run) error {
	if run.ID == "" {
		return errors.New("record run: it has no ID")
	}
	for _, r := range run.Results {
		if err := checkResult(r, run.ID); err != nil {
			return err
		}
	}
	return nil
}

// maxNameBytes is the longest key that fits into a bucket of the file.
const maxNameBytes = 32 << 10

func checkResult(r Result, run string) error {
	switch {
	case r.Store == "" || len(r.Store) > maxNameBytes:
		return fmt.Errorf("record result: a store's name must have 1 to %d bytes, not %d", maxNameBytes, len(r.Store))
	case run == "" || r.Run != run:
		return fmt.Errorf("record result of store %s: it is of run %q, not %q", r.Store, r.Run, run)
	}
	return nil
}

// interrupted is what a run that nobody completed has come to; at is the last
// sign of life of its host.
func interrupted(run Run, at time.Time) Run {
	run.FinishedAt = later(run.StartedAt, at)
	run.ReclaimedBytes = 0
	for i := range run.Results {
		r := &run.Results[i]
		switch {
		case r.Outcome != "":
			run.ReclaimedBytes += r.ReclaimedBytes
			continue
		case r.StartedAt.IsZero():
			r.Outcome, r.Code = Cancelled, CodeNotReached
			r.Reason = "the host ended before the store's turn"
		default:
			r.Outcome, r.Code = Unknown, CodeLost
			r.Reason = "the host ended while the store was being compacted; the next run looks at it again"
			r.Hint = "see how it is now with: wring inspect " + r.Store
			r.TotalBytesAfter = 0 // nobody knows
		}
		r.FinishedAt = later(r.StartedAt, at)
	}
	return run
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
