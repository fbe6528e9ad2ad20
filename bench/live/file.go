package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
)

// deleted is the part of all that was written to the file that was deleted again.
// As that leaves pages half empty and others free, about half of the file can be
// given back.
const deleted = 0.2

// original is the file that each round has a copy of.
type original struct {
	path   string
	bytes  int64
	bucket []byte
	keys   keys
}

// openOriginal finds the file in dir, or makes it there, and reads its keys. What
// is half made has another name, and is removed.
func openOriginal(progress io.Writer, dir string, live int64, seed uint64) (*original, error) {
	o := &original{path: filepath.Join(dir, fmt.Sprintf("live-%dk-seed%d.db", live>>10, seed))}
	if _, err := os.Stat(o.path); errors.Is(err, os.ErrNotExist) {
		fmt.Fprintf(progress, "making %s\n", filepath.Base(o.path))
		temp := o.path + ".part"
		if err := os.RemoveAll(temp); err != nil {
			return nil, err
		}
		defer os.RemoveAll(temp)
		spec := bolttest.Spec{Seed: seed, LiveBytes: live, GarbageRatio: deleted, Shape: bolttest.ShapeRandom}
		if err := bolttest.Generate(temp, spec); err != nil {
			return nil, err
		}
		if err := os.Rename(temp, o.path); err != nil {
			return nil, err
		}
	}
	info, err := os.Stat(o.path)
	if err != nil {
		return nil, err
	}
	o.bytes = info.Size()
	return o, o.readKeys()
}

func (o *original) readKeys() error {
	db, err := bbolt.Open(o.path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			o.bucket = append([]byte(nil), name...)
			return b.ForEach(func(key, _ []byte) error {
				o.keys.add(key)
				return nil
			})
		})
	})
	if err == nil && o.keys.count() == 0 {
		err = fmt.Errorf("%s has no keys", o.path)
	}
	return errors.Join(err, db.Close())
}

// copyTo makes a copy that shares nothing with the original, of which everything
// is on the disk and in memory.
func (o *original) copyTo(path string) (err error) {
	from, err := os.Open(o.path)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	// By way of a buffer: a file system may let two files share their blocks
	// otherwise, and copy each when it is written to.
	if _, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, 1<<20)); err != nil {
		return err
	}
	return to.Sync()
}

// keys are many, in little memory and nothing that a garbage collector looks at.
type keys struct {
	bytes []byte
	ends  []uint32
}

func (k *keys) add(key []byte) {
	k.bytes = append(k.bytes, key...)
	k.ends = append(k.ends, uint32(len(k.bytes)))
}

func (k *keys) count() int { return len(k.ends) }

// at returns the key of a number from 0 to below count. It must not be changed.
func (k *keys) at(i int) []byte {
	from := uint32(0)
	if i > 0 {
		from = k.ends[i-1]
	}
	return k.bytes[from:k.ends[i]:k.ends[i]]
}
