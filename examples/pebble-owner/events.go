package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/cockroachdb/pebble/v2"
)

const (
	// names are changed one after the other, and then again.
	names = 8000
	// changesPerWrite is how many names a write changes.
	changesPerWrite = 16
	valueBytes      = 1 << 10
	// lastKey has the number of the last write.
	lastKey = "last"
)

// write is the n-th of all, from 1. What it does follows from that number alone,
// so that from the number of acknowledged writes it is known what the store has.
func write(db *pebble.DB, n uint64) error {
	batch := db.NewBatch()
	defer batch.Close()
	err := batch.Set([]byte(lastKey), binary.BigEndian.AppendUint64(nil, n), nil)
	for k := (n - 1) * changesPerWrite; k < n*changesPerWrite; k++ {
		err = errors.Join(err, change(batch, k))
	}
	return errors.Join(err, batch.Commit(pebble.Sync))
}

// change gives a name its value of the day, in place of an earlier one of that day,
// or removes the name. Of each name two days are kept.
func change(batch *pebble.Batch, k uint64) error {
	name, day := nameOf(k), dayOf(k)
	var err error
	if removes(k) {
		err = batch.Delete(versionKey(name, day), nil)
		if day >= 1 {
			err = errors.Join(err, batch.Delete(versionKey(name, day-1), nil))
		}
	} else {
		err = batch.Set(versionKey(name, day), value(k), nil)
	}
	if day >= 2 && dayOf(k-names) < day {
		err = errors.Join(err, batch.Delete(versionKey(name, day-2), nil))
	}
	return err
}

// nameOf goes through the names in no order; 7919 is prime to their number.
func nameOf(k uint64) string { return fmt.Sprintf("name-%04d", k*7919%names) }

// dayOf has each name changed three times a day.
func dayOf(k uint64) uint64 { return k / (3 * names) }

// removes is true for one change in eight, and for each name now and then.
func removes(k uint64) bool { return (k+k/names)%8 == 7 }

// value that change k sets, which does not compress.
func value(k uint64) []byte {
	random := rand.New(rand.NewPCG(k, 0))
	b := make([]byte, 0, valueBytes)
	for len(b) < valueBytes {
		b = binary.LittleEndian.AppendUint64(b, random.Uint64())
	}
	return b
}

// lastWrite is the number of the last write in the store, 0 if there is none.
func lastWrite(db *pebble.DB) (uint64, error) {
	number, closer, err := db.Get([]byte(lastKey))
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer closer.Close()
	return binary.BigEndian.Uint64(number), nil
}
