package history

import (
	"errors"
	"maps"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Pause says that the schedule of a store is paused, or was.
type Pause struct {
	// PausedAt is zero when the schedule goes on.
	PausedAt time.Time `json:"paused_at,omitzero"`
	// ResumedAt is when it last went on.
	ResumedAt time.Time `json:"resumed_at,omitzero"`
}

// bucketPauses is name → Pause. A name is that of a store, or what the host
// takes for all of them.
var bucketPauses = []byte("pauses")

func (h *file) setPauses(pauses map[string]Pause) error {
	return h.update("a pause", func(tx *bolt.Tx) error {
		for name, p := range pauses {
			if err := put(tx.Bucket(bucketPauses), []byte(name), p); err != nil {
				return err
			}
		}
		return nil
	})
}

func (h *file) pauses() (pauses map[string]Pause, err error) {
	err = h.view("pauses", func(tx *bolt.Tx) error {
		pauses, err = allPauses(tx)
		return err
	})
	return pauses, err
}

func allPauses(tx *bolt.Tx) (map[string]Pause, error) {
	pauses := map[string]Pause{}
	all := tx.Bucket(bucketPauses)
	if all == nil {
		return pauses, nil // of a host that knew none
	}
	err := all.ForEach(func(name, value []byte) error {
		var p Pause
		err := decode(value, &p)
		pauses[string(name)] = p
		return err
	})
	return pauses, err
}

// SetPauses notes which schedules are paused, or go on.
func (db *DB) SetPauses(pauses map[string]Pause) error {
	for name := range pauses {
		if name == "" {
			return errors.New("record a pause: a store has no name")
		}
	}
	return db.records.setPauses(maps.Clone(pauses))
}

// Pauses returns what SetPauses has noted, by name.
func (db *DB) Pauses() (map[string]Pause, error) { return db.records.pauses() }
