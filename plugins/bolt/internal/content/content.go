// Package content is what a bbolt file holds for its users, apart from its
// layout: buckets within buckets, their sequences, keys and values, in the
// order of the keys. It hands them to visitors and digests them.
package content

import (
	"fmt"

	"go.etcd.io/bbolt"
)

// Visitor receives content in order. The slices are valid until the
// transaction that they come from ends, and must not be changed.
type Visitor interface {
	// Enter begins a bucket within the current one.
	Enter(name []byte, sequence uint64) error
	// Leave ends the current bucket.
	Leave() error
	// Put is a key with its value in the current bucket. The value may be empty.
	Put(key, value []byte) error
}

// Walk hands all content of a read transaction to v. The root bucket is
// neither entered nor left.
func Walk(tx *bbolt.Tx, v Visitor) error {
	return walk(tx.Cursor(), v)
}

func walk(c *bbolt.Cursor, v Visitor) error {
	for key, value := c.First(); key != nil; key, value = c.Next() {
		if value != nil {
			if err := v.Put(key, value); err != nil {
				return err
			}
			continue
		}
		b := c.Bucket().Bucket(key)
		if b == nil {
			return fmt.Errorf("bucket %q: listed but not found", key)
		}
		if err := v.Enter(key, b.Sequence()); err != nil {
			return err
		}
		if err := walk(b.Cursor(), v); err != nil {
			return err
		}
		if err := v.Leave(); err != nil {
			return err
		}
	}
	return nil
}

// Tee hands content to several visitors, in the order given.
type Tee []Visitor

// Enter implements Visitor.
func (t Tee) Enter(name []byte, sequence uint64) error {
	for _, v := range t {
		if err := v.Enter(name, sequence); err != nil {
			return err
		}
	}
	return nil
}

// Leave implements Visitor.
func (t Tee) Leave() error {
	for _, v := range t {
		if err := v.Leave(); err != nil {
			return err
		}
	}
	return nil
}

// Put implements Visitor.
func (t Tee) Put(key, value []byte) error {
	for _, v := range t {
		if err := v.Put(key, value); err != nil {
			return err
		}
	}
	return nil
}

var _ Visitor = Tee(nil)
