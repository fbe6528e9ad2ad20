package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/wringdb/wring/plugins/bolt/live"
)

// maxValue is the size in bytes that a value may have.
const maxValue = 1 << 20

// service answers HTTP from a store. Nothing in here knows of compactions, but
// for what it tells of them in stats.
type service struct {
	db            *live.DB
	reads, writes meter
	last          atomic.Pointer[stats] // what watch has seen
}

func newService(db *live.DB) *service {
	s := &service{db: db}
	s.last.Store(&stats{})
	return s
}

func (s *service) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /kv/{bucket}/{key}", s.get)
	mux.HandleFunc("PUT /kv/{bucket}/{key}", s.put)
	mux.HandleFunc("DELETE /kv/{bucket}/{key}", s.remove)
	mux.HandleFunc("GET /stats", s.stats)
	return mux
}

func (s *service) get(w http.ResponseWriter, r *http.Request) {
	defer s.reads.since(time.Now())
	var value []byte
	err := s.db.View(func(tx *bbolt.Tx) error {
		if bucket := tx.Bucket(name(r, "bucket")); bucket != nil {
			value = bytes.Clone(bucket.Get(name(r, "key")))
		}
		return nil
	})
	switch {
	case err != nil:
		fail(w, r, err)
	case value == nil:
		http.Error(w, "no such key", http.StatusNotFound)
	default:
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(value)
	}
}

func (s *service) put(w http.ResponseWriter, r *http.Request) {
	value, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxValue))
	if err != nil {
		fail(w, r, err)
		return
	}
	s.write(w, r, func(tx *bbolt.Tx) error {
		bucket, err := tx.CreateBucketIfNotExists(name(r, "bucket"))
		if err != nil {
			return err
		}
		return put(bucket, name(r, "key"), value)
	})
}

func (s *service) remove(w http.ResponseWriter, r *http.Request) {
	s.write(w, r, func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(name(r, "bucket"))
		if bucket == nil {
			return nil
		}
		return remove(bucket, name(r, "key"))
	})
}

// write answers when the transaction is on the disk.
func (s *service) write(w http.ResponseWriter, r *http.Request, change func(*bbolt.Tx) error) {
	defer s.writes.since(time.Now())
	if err := s.db.Update(change); err != nil {
		fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// put and remove keep the number of a bucket's keys in its sequence, so that
// nobody has to count them.
func put(bucket *bbolt.Bucket, key, value []byte) error {
	if bucket.Get(key) == nil {
		if err := bucket.SetSequence(bucket.Sequence() + 1); err != nil {
			return err
		}
	}
	return bucket.Put(key, value)
}

func remove(bucket *bbolt.Bucket, key []byte) error {
	if bucket.Get(key) == nil {
		return nil
	}
	if err := bucket.SetSequence(bucket.Sequence() - 1); err != nil {
		return err
	}
	return bucket.Delete(key)
}

func name(r *http.Request, part string) []byte { return []byte(r.PathValue(part)) }

// fail answers with the status that an error calls for.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusInternalServerError
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		status = http.StatusRequestEntityTooLarge
	case errors.Is(err, berrors.ErrKeyTooLarge), errors.Is(err, berrors.ErrKeyRequired):
		status = http.StatusBadRequest
	default:
		log.Printf("%s %s: %v", r.Method, r.URL, err)
	}
	http.Error(w, err.Error(), status)
}

// stats of the service, of which all but Keys is as of the last full second.
type stats struct {
	Keys      uint64 `json:"keys"`
	FileBytes int64  `json:"file_bytes"`
	// Generations counts the files that the store has been in: a compaction by
	// rewriting puts it into a new one. Two within a second count as one.
	Generations int     `json:"generations"`
	Reads       latency `json:"reads"`
	Writes      latency `json:"writes"`
}

func (s *service) stats(w http.ResponseWriter, r *http.Request) {
	now := *s.last.Load()
	err := s.db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(_ []byte, bucket *bbolt.Bucket) error {
			now.Keys += bucket.Sequence()
			return nil
		})
	})
	if err != nil {
		fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(now)
}

// watch looks every second until ctx ends.
func (s *service) watch(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	var generations int
	var last os.FileInfo
	for {
		file, err := os.Stat(s.db.Path())
		switch {
		case err != nil: // between Close and the end of ctx
			return
		case last == nil || !os.SameFile(file, last):
			generations++
		}
		last = file
		s.last.Store(&stats{FileBytes: file.Size(), Generations: generations, Reads: s.reads.take(), Writes: s.writes.take()})
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
