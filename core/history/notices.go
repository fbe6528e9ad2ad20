package history

import (
	"encoding/json"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// Notices returns all records that ChangeNotices has kept, by key.
func (db *DB) Notices() (map[string]json.RawMessage, error) { return db.records.notices() }

// ChangeNotices keeps records of core/notify, of which the history knows no more
// than that they are JSON, or removes those that are nil: all or none. What is
// kept when it returns survives the end of the host, however that comes.
func (db *DB) ChangeNotices(changes map[string]json.RawMessage) error {
	for key, record := range changes {
		if key == "" || record != nil && !json.Valid(record) {
			return fmt.Errorf("record notice %q: it has no key or is no JSON", key)
		}
	}
	return db.records.changeNotices(changes)
}

func (h *file) notices() (map[string]json.RawMessage, error) {
	kept := map[string]json.RawMessage{}
	err := h.view("notices", func(tx *bolt.Tx) error {
		return tx.Bucket(bucketNotices).ForEach(func(key, record []byte) error {
			kept[string(key)] = append(json.RawMessage{}, record...)
			return nil
		})
	})
	return kept, err
}

func (h *file) changeNotices(changes map[string]json.RawMessage) error {
	return h.update("notices", func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketNotices)
		for key, record := range changes {
			if record == nil {
				if err := b.Delete([]byte(key)); err != nil {
					return err
				}
				continue
			}
			if err := b.Put([]byte(key), record); err != nil {
				return err
			}
		}
		return nil
	})
}

func (m *memory) notices() (map[string]json.RawMessage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := make(map[string]json.RawMessage, len(m.kept))
	for key, record := range m.kept {
		kept[key] = record
	}
	return kept, nil
}

func (m *memory) changeNotices(changes map[string]json.RawMessage) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, record := range changes {
		if record == nil {
			delete(m.kept, key)
		} else {
			m.kept[key] = record
		}
	}
	return nil
}
