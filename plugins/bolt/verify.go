package bolt

import (
	"errors"
	"fmt"
	"os"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt/internal/content"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/sdk"
)

// meteredVisitor accounts for content as it passes. What is read is written by
// the writer, which accounts for that itself.
type meteredVisitor struct{ meter *meter }

// Enter implements content.Visitor.
func (v meteredVisitor) Enter(name []byte, _ uint64) error { return v.add(len(name)) }

// Leave implements content.Visitor.
func (v meteredVisitor) Leave() error { return nil }

// Put implements content.Visitor.
func (v meteredVisitor) Put(key, value []byte) error { return v.add(len(key) + len(value)) }

func (v meteredVisitor) add(n int) error { return v.meter.add(int64(n), int64(n), 0) }

// verify reads the new file back and holds it against the old one: the digest,
// the number of items, and bbolt's own check of the structure.
func (c *compaction) verify(temp *replace.Temp) error {
	info, err := temp.File.Stat()
	if err != nil {
		return err
	}
	c.packed = sizeOf(info)
	if c.packed.AllocatedBytes > c.source.size.AllocatedBytes-int64(c.found.Meta.PageSize) {
		return errNotSmaller
	}
	dropCache(temp.File)
	c.meter.begin(phaseVerify, "bytes", c.found.ContentBytes)
	db, err := openNew(temp)
	if err != nil {
		return fmt.Errorf("open the new file: %w", err)
	}
	tx, err := db.Begin(false)
	if err != nil {
		return errors.Join(err, db.Close())
	}
	if err := c.compare(tx); err != nil {
		return errors.Join(err, tx.Rollback(), db.Close())
	}
	// Check cannot be interrupted: on a cancel it ends by itself, on a file
	// that has no name any more.
	if err := c.meter.await(func() error {
		return errors.Join(structure(tx), tx.Rollback(), db.Close())
	}); err != nil {
		return err
	}
	c.meter.end()
	c.meter.begin(phaseReplace, "files", 1)
	return nil
}

func openNew(temp *replace.Temp) (db *bbolt.DB, err error) {
	err = contain("verify "+temp.Path, func() error {
		db, err = bbolt.Open(temp.Path, 0, &bbolt.Options{
			ReadOnly:     true,
			NoStatistics: true,
			FreelistType: bbolt.FreelistMapType,
			Timeout:      lockNew,
			OpenFile:     func(path string, _ int, _ os.FileMode) (*os.File, error) { return os.Open(path) },
		})
		return err
	})
	return db, err
}

// compare digests the new file.
func (c *compaction) compare(tx *bbolt.Tx) error {
	c.after = content.NewDigest()
	v := content.Tee{c.after, meteredVisitor{c.meter}}
	if err := contain("verify", func() error { return content.Walk(tx, v) }); err != nil {
		return err
	}
	if c.before.Sum() == c.after.Sum() && c.before.Items == c.after.Items && c.before.Bytes == c.after.Bytes {
		return nil
	}
	return sdk.Errorf(sdk.ErrInternal, "compact %s: the new file differs: %s with %d items and %d bytes before, %s with %d items and %d bytes after",
		c.source.path, c.before.Sum(), c.before.Items, c.before.Bytes, c.after.Sum(), c.after.Items, c.after.Bytes).
		WithHint("the store is as it was; please report this, with the output of `bbolt check FILE`")
}

// structure is bbolt's check. It reads all that it is told.
func structure(tx *bbolt.Tx) error {
	var first error
	for err := range tx.Check() {
		if first == nil {
			first = sdk.Errorf(sdk.ErrInternal, "the new file is not sound: %w", err).
				WithHint("the store is as it was; please report this, with the output of `bbolt check FILE`")
		}
	}
	return first
}
