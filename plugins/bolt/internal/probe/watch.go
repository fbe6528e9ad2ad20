package probe

import (
	"context"
	"fmt"
	"io"

	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// watchEvery is after how many reads a watcher looks for a new meta. The end of
// the context it looks for before each: a disk may take 10 ms for one.
const watchEvery = 64

// watcher ends a walk early once it is in vain: when a transaction has been
// committed since, or nobody waits for the result.
type watcher struct {
	io.ReaderAt
	ctx   context.Context
	meta  page.Meta
	reads int
}

func (w *watcher) ReadAt(b []byte, off int64) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	if w.reads++; w.reads%watchEvery == 0 {
		if now, err := page.ReadMeta(w.ReaderAt); err == nil && now != w.meta {
			return 0, errMoved
		}
	}
	return w.ReaderAt.ReadAt(b, off)
}

// meter counts what is read through it.
type meter struct {
	io.ReaderAt
	bytes int64
}

func (m *meter) ReadAt(b []byte, off int64) (int, error) {
	n, err := m.ReaderAt.ReadAt(b, off)
	m.bytes += int64(n)
	return n, err
}

func truncated(size int64, meta page.Meta) string {
	return fmt.Sprintf("lies beyond the end of the file: it has %d bytes and needs %d", size, meta.Bytes())
}
