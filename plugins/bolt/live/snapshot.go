package live

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// snapshot is a state of the store, the pages of which stay as they are until it
// is released. Its meta says where they lie; they are read through a mapping of
// our own, so that a snapshot which is lost does no harm but to us.
type snapshot struct {
	meta    page.Meta
	release func()
}

// metaTries is how often the metas of a snapshot are looked for in the file: two
// commits may come between its transaction and the look.
const metaTries = 100

// snapshot takes the state of now.
func (g *generation) snapshot(file *os.File) (*snapshot, error) {
	for range metaTries {
		tx, err := g.pin()
		if err != nil {
			return nil, err
		}
		s := &snapshot{release: sync.OnceFunc(func() { g.unpin(tx) })}
		meta, err := metaOf(file, tx, g.pageSize)
		if err != nil {
			s.release()
			return nil, err
		}
		if meta.TxID == uint64(tx.ID()) {
			s.meta = meta
			return s, nil
		}
		s.release()
	}
	return nil, fmt.Errorf("%s: no meta of %d read transactions was found: it changes faster than it can be looked at", file.Name(), metaTries)
}

// metaOf finds the meta of a transaction in the file: one of the two, unless it
// has been written over. Another one is returned then.
func metaOf(file *os.File, tx *bbolt.Tx, pageSize int) (page.Meta, error) {
	for id := range page.ID(2) {
		meta, ok, err := page.MetaAt(file, id, pageSize)
		if err != nil {
			return page.Meta{}, err
		}
		if ok && meta.TxID == uint64(tx.ID()) {
			return meta, nil
		}
	}
	return page.Meta{}, nil
}

// mappedBytes is how much of a file bbolt maps at least when it has to map size
// bytes: twice as much each time up to a GiB, and a GiB more from then on.
func mappedBytes(size int64) int64 {
	const least, step = 32 << 10, 1 << 30
	for mapped := int64(least); mapped <= step; mapped *= 2 {
		if size <= mapped {
			return mapped
		}
	}
	return (size + step - 1) / step * step
}

// pins are the snapshots that are held, for whoever has to give them up.
type pins struct {
	mu     sync.Mutex
	held   map[*snapshot]struct{}
	gaveUp bool
}

func (p *pins) add(s *snapshot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gaveUp {
		go s.release()
		return
	}
	if p.held == nil {
		p.held = map[*snapshot]struct{}{}
	}
	p.held[s] = struct{}{}
}

func (p *pins) drop(s *snapshot) {
	p.mu.Lock()
	delete(p.held, s)
	p.mu.Unlock()
	s.release()
}

func (p *pins) giveUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gaveUp = true
	for s := range p.held {
		// Each by itself: the end of one waits for whoever is about to begin a
		// transaction, who may wait for a writer, who waits for the other's end.
		go s.release()
	}
}

func (p *pins) lost() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gaveUp
}

// watcher gives the snapshots up before they hold anybody up. A writer that
// needs more of the file mapped waits until no snapshot is left, and all who come
// later, readers too, wait for the writer.
type watcher struct {
	g     *generation
	lost  func(why error)
	room  func() error // an error where there is none on the disk
	least int64        // bytes mapped at least
	from  int64        // high-water mark in the beginning, in bytes

	quit, done chan struct{}
	once       sync.Once // closes quit
	mu         sync.Mutex
	highest    int64 // high-water mark seen, in bytes
}

const (
	// watchEvery is how often the high-water mark is looked at.
	watchEvery = 5 * time.Millisecond
	// stalled is how long it takes at most to begin a read transaction where
	// nobody waits.
	stalled = 50 * time.Millisecond
	// leastHeadroom is how many bytes a file may come near to the end of what is
	// mapped. Half of what is left in the beginning is kept where that is less.
	leastHeadroom = 8 << 20
	// lookAtDisk is at which of so many looks the free space is looked at, too.
	lookAtDisk = 20
)

// watch calls lost, once, when snapshots of a generation must be given up.
func (g *generation) watch(size int64, room func() error, lost func(why error)) *watcher {
	w := &watcher{
		g: g, lost: lost, room: room, from: size, highest: size,
		least: max(g.mapped, mappedBytes(size+int64(g.pageSize))),
		quit:  make(chan struct{}), done: make(chan struct{}),
	}
	go w.run()
	return w
}

func (w *watcher) run() {
	defer close(w.done)
	headroom := min(leastHeadroom, (w.least-w.from)/2)
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for looks := 0; ; looks++ {
		select {
		case <-w.quit:
			return
		case <-ticker.C:
		}
		if looks%lookAtDisk == 0 {
			if err := w.room(); err != nil {
				w.lost(err)
				return
			}
		}
		size, ok := w.look()
		w.mu.Lock()
		w.highest = max(w.highest, size)
		w.mu.Unlock()
		switch {
		case !ok:
			w.lost(errHeldUp)
			return
		case w.least-size < headroom:
			w.lost(errHeadroom)
			return
		}
	}
}

// look returns the high-water mark of now; ok is false where a read transaction
// cannot be begun. It is begun by somebody else, who may have to wait.
func (w *watcher) look() (size int64, ok bool) {
	found := make(chan int64, 1)
	w.g.begins.Add(1) // nobody may spoil the file before it has begun
	go func() {
		defer close(found)
		tx, err := w.g.pin()
		w.g.leave()
		if err != nil {
			return
		}
		size := tx.Size()
		w.g.unpin(tx)
		found <- size
	}()
	late := time.NewTimer(stalled)
	defer late.Stop()
	select {
	case size, ok = <-found:
		return size, ok
	case <-late.C:
		return 0, false
	}
}

// A store that is about to outgrow what is mapped of it is better copied once it
// has: bbolt maps twice as much then.
const (
	outgrowWait = 5 * time.Second
	outgrowLook = 50 * time.Millisecond
)

// outgrown waits for that, for a while, after the snapshots had to be given up.
func (g *generation) outgrown(ctx context.Context, w *watcher) error {
	for end := time.Now().Add(outgrowWait); time.Now().Before(end); {
		if size, ok := w.look(); ok && size > w.least {
			return nil
		}
		select {
		case <-time.After(outgrowLook):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// stop returns by how many bytes the store has grown. It may be called again.
func (w *watcher) stop() int64 {
	w.once.Do(func() { close(w.quit) })
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.highest - w.from
}
