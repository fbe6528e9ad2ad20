package history

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// bucketSamples is store → bucket: number → storedSample.
var bucketSamples = []byte("samples")

// Samples are not worth a sync of the disk each: they wait for the next
// transaction, whatever it is for, until so many wait or somebody reads them.
// A host that is killed loses those that wait. When nothing can be written the
// oldest are given up.
const (
	samplesWait    = 100
	samplesWaitMax = 1000
)

func (h *file) addSample(s newSample) error {
	h.sampling.Lock()
	h.waiting = append(h.waiting, s)
	h.waiting = slices.Delete(h.waiting, 0, max(0, len(h.waiting)-samplesWaitMax))
	full := len(h.waiting) >= samplesWait
	h.sampling.Unlock()
	if full {
		return h.flushSamples()
	}
	return nil
}

func (h *file) flushSamples() error {
	h.sampling.Lock()
	waiting := len(h.waiting)
	h.sampling.Unlock()
	if waiting == 0 {
		return nil
	}
	return h.update("samples", func(*bolt.Tx) error { return nil })
}

// writeSamples writes those that wait. The caller holds h.sampling until the
// transaction has ended.
func (h *file) writeSamples(tx *bolt.Tx) error {
	for _, s := range h.waiting {
		b, err := tx.Bucket(bucketSamples).CreateBucketIfNotExists([]byte(s.store))
		if err != nil {
			return err
		}
		if err := appendSample(b, s); err != nil {
			return err
		}
	}
	return nil
}

func appendSample(b *bolt.Bucket, s newSample) error {
	sample := s.sample
	c := b.Cursor()
	key, value := c.Last()
	if key != nil {
		newest, err := decodeSample(value)
		if err != nil {
			return err
		}
		sample.Reclaimed = newest.Reclaimed + s.reclaimed
		number := bytes.Clone(key)
		if key, value := c.Prev(); key != nil {
			before, err := decodeSample(value)
			if err != nil {
				return err
			}
			if replacesSample(before, newest, s.reclaimed) {
				return put(b, number, sample.stored())
			}
		}
	}
	number, err := b.NextSequence()
	if err != nil {
		return err
	}
	if err := put(b, sequenceKey(number), sample.stored()); err != nil {
		return err
	}
	// Each sample is looked at when it comes to where fewer are kept.
	for level := range sampleLevels + 1 {
		if distance := uint64(denseSamples) << level; distance < number && !keepsSample(number, number-distance) {
			if err := b.Delete(sequenceKey(number - distance)); err != nil {
				return err
			}
		}
	}
	return nil
}

func decodeSample(value []byte) (Sample, error) {
	var s storedSample
	err := decode(value, &s)
	return s.sample(), err
}

func (h *file) samples(store string, n int) (samples []Sample, err error) {
	// What cannot be written waits on, and what is there can be read.
	_ = h.flushSamples()
	err = h.view("samples of "+store, func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketSamples).Bucket([]byte(store))
		if b == nil {
			return nil
		}
		c := b.Cursor()
		for key, value := c.Last(); key != nil && (n <= 0 || len(samples) < n); key, value = c.Prev() {
			sample, err := decodeSample(value)
			if err != nil {
				return err
			}
			samples = append(samples, sample)
		}
		return nil
	})
	slices.Reverse(samples)
	return samples, err
}

// loadSamples copies all samples into m.
func loadSamples(tx *bolt.Tx, m *memory) error {
	all := tx.Bucket(bucketSamples)
	if all == nil {
		return nil // of a host that kept none
	}
	return all.ForEachBucket(func(store []byte) error {
		s := &series{}
		m.bySample[string(store)] = s
		return all.Bucket(store).ForEach(func(key, value []byte) error {
			sample, err := decodeSample(value)
			s.numbers = append(s.numbers, binary.BigEndian.Uint64(key))
			s.samples = append(s.samples, sample)
			return err
		})
	})
}

// forgetSamples removes those of stores that were last measured before a time.
func forgetSamples(tx *bolt.Tx, before time.Time) error {
	all := tx.Bucket(bucketSamples)
	var old [][]byte
	err := all.ForEachBucket(func(store []byte) error {
		_, value := all.Bucket(store).Cursor().Last()
		if value == nil {
			return nil
		}
		newest, err := decodeSample(value)
		if err == nil && newest.At.Before(before) {
			old = append(old, bytes.Clone(store))
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, store := range old {
		if err := all.DeleteBucket(store); err != nil {
			return err
		}
	}
	return nil
}
