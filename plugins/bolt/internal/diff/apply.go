package diff

import (
	"go.etcd.io/bbolt"
)

// Applier makes changes in a write transaction. It is a Visitor.
type Applier struct {
	tx   *bbolt.Tx
	open []bucket
}

// bucket is opened when the first change in it comes.
type bucket struct {
	name []byte
	b    *bbolt.Bucket
}

// Begin takes the transaction that what follows goes into. Between two changes
// it may be another than before.
func (a *Applier) Begin(tx *bbolt.Tx) {
	a.tx = tx
	for i := range a.open {
		a.open[i].b = nil
	}
}

// at returns the bucket at a depth, where 0 is the root.
func (a *Applier) at(depth int) *bbolt.Bucket {
	if depth == 0 {
		return a.tx.Cursor().Bucket()
	}
	o := &a.open[depth-1]
	if o.b == nil {
		o.b = a.at(depth - 1).Bucket(o.name)
	}
	return o.b
}

func (a *Applier) current() *bbolt.Bucket { return a.at(len(a.open)) }

// Put implements Visitor.
func (a *Applier) Put(key, value []byte) error { return a.current().Put(key, value) }

// Delete implements Visitor.
func (a *Applier) Delete(key []byte) error { return a.current().Delete(key) }

// Create implements Visitor.
func (a *Applier) Create(name []byte, sequence uint64) error {
	b, err := a.current().CreateBucket(name)
	if err != nil {
		return err
	}
	a.open = append(a.open, bucket{name, b})
	return b.SetSequence(sequence)
}

// DeleteBucket implements Visitor.
func (a *Applier) DeleteBucket(name []byte) error { return a.current().DeleteBucket(name) }

// Enter implements Visitor.
func (a *Applier) Enter(name []byte, sequence *uint64) error {
	a.open = append(a.open, bucket{name: name})
	if sequence == nil {
		return nil
	}
	return a.current().SetSequence(*sequence)
}

// Leave implements Visitor.
func (a *Applier) Leave() error {
	a.open = a.open[:len(a.open)-1]
	return nil
}

var _ Visitor = (*Applier)(nil)
