package engine

import (
	pebbledb "github.com/cockroachdb/pebble/v2"
)

// NoteNoRoom is for people, about a table that cannot be forced.
const NoteNoRoom = "a table keeps versions that no snapshot needs any more: its comparer knows no key between those in it"

// freeKeyTries is between how many keys a place for one more is looked for.
const freeKeyTries = 64

// Force makes a region that is Forcible one that Pebble compacts. A table of the
// lowest level with nothing above it stays as it is, so a tombstone is put above it,
// for a key that is not there: no reader can tell, and what compacts the two drops it
// along with all that is dead. It is false where there is no such key.
//
// Nobody else may write to the store meanwhile, who might write that very key. The
// tombstone is flushed, and Pebble tries a flush that fails again for ever.
func (r Region) Force(db *pebbledb.DB, comparer *pebbledb.Comparer) (bool, error) {
	key, err := r.freeKey(db, comparer)
	if key == nil || err != nil {
		return false, err
	}
	if err := db.Delete(key, pebbledb.NoSync); err != nil {
		return false, err
	}
	return true, db.Flush()
}

// freeKey finds a key within the region that the store does not have.
func (r Region) freeKey(db *pebbledb.DB, comparer *pebbledb.Comparer) (key []byte, err error) {
	if comparer.ImmediateSuccessor == nil {
		return nil, nil
	}
	it, err := db.NewIter(nil)
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := it.Close(); err == nil {
			err = cerr
		}
	}()
	valid := it.SeekGE(r.Start)
	for range freeKeyTries {
		if !valid || comparer.Compare(it.Key(), r.End) >= 0 {
			break
		}
		prefix := it.Key()[:comparer.Split(it.Key())]
		next := comparer.ImmediateSuccessor(nil, prefix)
		if comparer.Compare(next, r.End) >= 0 {
			break
		}
		if valid = it.SeekGE(next); !valid || comparer.Compare(it.Key(), next) != 0 {
			return next, it.Error()
		}
	}
	return nil, it.Error()
}
