package writer

import (
	"fmt"
	"os"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt/internal/content"
)

// Batch sizes, in bytes of content, and what a bucket costs in memory beside
// its content.
const (
	MaxBatch       = 32 << 20
	bucketOverhead = 2 << 10
	keyOverhead    = 128

	// lockTimeout is for a file that nobody else should know.
	lockTimeout = time.Second
)

// boltWriter puts content into a file by way of bbolt itself, in transactions
// of bounded size. Keys arrive in order, so each transaction goes on at the
// right edge of the trees, and the pages that it frees there are used by the
// next.
type boltWriter struct {
	db      *bbolt.DB
	tx      *bbolt.Tx
	config  Config
	open    []openBucket // from the root down to the current one
	pending int64        // bytes of memory in tx
	content int64        // bytes of content in tx
}

type openBucket struct {
	name   []byte
	bucket *bbolt.Bucket
}

// NewBolt is New over bbolt's own transactions.
func NewBolt(f *os.File, c Config) (Writer, error) {
	if c.BatchBytes == 0 {
		c.BatchBytes = MaxBatch
	}
	db, err := bbolt.Open(f.Name(), 0, &bbolt.Options{
		PageSize: c.PageSize,
		// No freelist, no sync, no truncation in between: a file that is not
		// complete is of no use anyway.
		NoFreelistSync:  true,
		NoSync:          true,
		NoGrowSync:      true,
		NoStatistics:    true,
		FreelistType:    bbolt.FreelistMapType,
		InitialMmapSize: int(c.SizeHint + c.SizeHint/8),
		Timeout:         lockTimeout,
		OpenFile: func(path string, flag int, mode os.FileMode) (*os.File, error) {
			return os.OpenFile(path, flag&^os.O_CREATE, mode)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", f.Name(), err)
	}
	w := &boltWriter{db: db, config: c, open: make([]openBucket, 1)}
	if err := w.begin(); err != nil {
		w.Abort()
		return nil, err
	}
	return w, nil
}

// begin starts a transaction and finds the open buckets in it.
func (w *boltWriter) begin() error {
	tx, err := w.db.Begin(true)
	if err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	w.tx, w.pending, w.content = tx, 0, 0
	w.open[0].bucket = tx.Cursor().Bucket()
	for i := range w.open {
		if i > 0 {
			w.open[i].bucket = w.open[i-1].bucket.Bucket(w.open[i].name)
		}
		w.open[i].bucket.FillPercent = w.config.Fill
	}
	return nil
}

func (w *boltWriter) current() *bbolt.Bucket { return w.open[len(w.open)-1].bucket }

// Enter implements content.Visitor.
func (w *boltWriter) Enter(name []byte, sequence uint64) error {
	b, err := w.current().CreateBucket(name)
	if err != nil {
		return fmt.Errorf("create bucket %.64q: %w", name, err)
	}
	b.FillPercent = w.config.Fill
	if sequence != 0 {
		if err := b.SetSequence(sequence); err != nil {
			return fmt.Errorf("set sequence of bucket %.64q: %w", name, err)
		}
	}
	w.open = append(w.open, openBucket{slices.Clone(name), b})
	return w.added(int64(len(name)), bucketOverhead)
}

// Leave implements content.Visitor.
func (w *boltWriter) Leave() error {
	w.open = w.open[:len(w.open)-1]
	return nil
}

// Put implements content.Visitor.
func (w *boltWriter) Put(key, value []byte) error {
	if err := w.current().Put(key, value); err != nil {
		return fmt.Errorf("put key %.64q: %w", key, err)
	}
	return w.added(int64(len(key)+len(value)), keyOverhead)
}

func (w *boltWriter) added(content, overhead int64) error {
	w.content += content
	w.pending += content + overhead
	if w.pending < w.config.BatchBytes {
		return nil
	}
	if err := w.commit(); err != nil {
		return err
	}
	return w.begin()
}

func (w *boltWriter) commit() error {
	if err := w.tx.Commit(); err != nil {
		return fmt.Errorf("write batch: %w", err)
	}
	w.tx = nil
	if w.config.Wrote != nil {
		return w.config.Wrote(w.content)
	}
	return nil
}

// Finish implements Writer.
func (w *boltWriter) Finish() (int64, error) {
	if err := w.commit(); err != nil {
		return 0, err
	}
	if !w.config.NoFreelist {
		// A transaction of its own, for the list to lie on a page that the
		// others have freed.
		w.db.NoFreelistSync = false
		if err := w.begin(); err != nil {
			return 0, err
		}
		if err := w.commit(); err != nil {
			return 0, err
		}
	}
	var size int64
	if err := w.db.View(func(tx *bbolt.Tx) error {
		size = tx.Size()
		return nil
	}); err != nil {
		return 0, fmt.Errorf("read size: %w", err)
	}
	db := w.db
	w.db = nil
	if err := db.Close(); err != nil {
		return 0, fmt.Errorf("close: %w", err)
	}
	return size, nil
}

// Abort implements Writer.
func (w *boltWriter) Abort() {
	if w.tx != nil {
		_ = w.tx.Rollback()
		w.tx = nil
	}
	if w.db != nil {
		_ = w.db.Close()
		w.db = nil
	}
}

var (
	_ New             = NewBolt
	_ Writer          = (*boltWriter)(nil)
	_ content.Visitor = (*boltWriter)(nil)
)

// SparePages is how many pages a file of NewBolt has that are neither meta nor
// tree: one that an earlier transaction has freed, and the freelist or another
// such one. They are a few more where values are large.
const SparePages = 2
