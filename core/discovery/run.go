package discovery

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/wringdb/wring/core/event"
)

// Run watches until ctx ends, and returns when nobody is asked any more.
func (w *Watcher) Run(ctx context.Context) {
	n := w.newNotices()
	defer n.close()
	var probes sync.WaitGroup
	defer probes.Wait()

	changed := make(chan struct{}, 1)
	var telling sync.WaitGroup
	defer telling.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	telling.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
				w.cfg.Changed()
			}
		}
	})
	r := &round{Watcher: w, ctx: ctx, probes: &probes, changed: changed}
	rescan := time.NewTicker(w.cfg.Rescan)
	defer rescan.Stop()
	for {
		n.follow(w.paths())
		r.look()
		select {
		case <-ctx.Done():
			return
		case <-rescan.C:
			r.askAll(false)
		case <-w.kick:
		case <-w.ask:
			r.askAll(true)
		case <-n.heard:
			// More of the same is about to come.
			select {
			case <-ctx.Done():
				return
			case <-time.After(settle):
			}
			n.drop()
		}
	}
}

func (w *Watcher) paths() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	paths := make([]string, 0, len(w.dirs))
	for dir := range w.dirs {
		paths = append(paths, dir)
	}
	return paths
}

// round is what the goroutine of Run works with.
type round struct {
	*Watcher
	ctx     context.Context //nolint:containedctx // that of Run, for its probes
	probes  *sync.WaitGroup
	changed chan struct{}
}

func (r *round) tell() { wake(r.changed) }

// look reads all directories, and asks whoever is new.
func (r *round) look() {
	for _, dir := range r.paths() {
		found, err := r.scan(dir)
		r.mu.Lock()
		if d := r.dirs[dir]; d != nil {
			r.update(dir, d, found, err)
		}
		r.mu.Unlock()
	}
	r.mu.Lock()
	r.tellSettled()
	r.mu.Unlock()
}

func (r *round) scan(dir string) (map[string]candidate, error) {
	r.mu.Lock()
	var named []string
	if d := r.dirs[dir]; d != nil {
		named = d.named
	}
	r.mu.Unlock()
	if named != nil {
		return scanNamed(named), nil
	}
	return scan(dir)
}

// update takes over what was found in a directory; the mutex is held.
func (r *round) update(dir string, d *directory, found map[string]candidate, refused error) {
	d.scanned = true
	if was := d.refused; !sameText(was, refused) {
		d.refused = refused
		r.tell()
		if refused != nil {
			r.refuse(dir, refused)
		}
	}
	for path := range d.sockets {
		if _, there := found[path]; !there {
			delete(d.sockets, path)
			r.cfg.Prober.Lose(path, cmp.Or(refused, goneError(path)))
			r.tell()
		}
	}
	for path, c := range found {
		s := d.sockets[path]
		if s != nil && s.id == c.id && sameText(refusalOf(s.owner), c.refused) {
			continue
		}
		fresh := &socket{owner: Owner{Name: nameOf(path), Socket: path}, id: c.id}
		if s != nil {
			fresh.busy, fresh.again = s.busy, s.again
		}
		if r.cfg.Now().Sub(c.id.made).Abs() < young {
			fresh.eager = eager
		}
		d.sockets[path] = fresh
		r.tell()
		if c.refused != nil {
			fresh.owner.State, fresh.owner.Err = Refused, c.refused
			r.refuse(path, c.refused)
			r.cfg.Prober.Lose(path, c.refused)
			continue
		}
		r.ask(d, path)
	}
}

func refusalOf(o Owner) error {
	if o.State == Refused {
		return o.Err
	}
	return nil
}

func sameText(a, b error) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return a.Error() == b.Error()
}

// refuse tells of a socket, or of a directory, that nobody will be asked at.
func (r *round) refuse(path string, err error) {
	r.cfg.Logger.Warn("not attaching to owner", "socket", path, "error", err)
	r.cfg.Events.Publish(event.Event{Name: event.PluginDown, Plugin: path, Message: err.Error()})
}

// askAll asks every owner again, but for those that have failed unless these too.
func (r *round) askAll(theseToo bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.dirs {
		for path, s := range d.sockets {
			if s.owner.State != Refused && !s.busy && (theseToo || !r.cfg.Now().Before(s.rests)) {
				r.ask(d, path)
			}
		}
	}
}

// ask begins to ask an owner, unless that is under way: then it is done again
// after that. The mutex is held.
func (r *round) ask(d *directory, path string) {
	s := d.sockets[path]
	if s.busy {
		s.again = true
		return
	}
	s.busy = true
	r.probes.Go(func() {
		for r.askOnce(d, path) {
		}
	})
}

// askOnce asks and notes the answer. It returns whether to ask again.
func (r *round) askOnce(d *directory, path string) (again bool) {
	ctx, cancel := context.WithTimeout(r.ctx, r.cfg.Patience)
	defer cancel()
	began := r.cfg.Now()
	stores, lists, err := r.cfg.Prober.Probe(ctx, path)
	ended := r.cfg.Now()

	r.mu.Lock()
	defer r.mu.Unlock()
	s := d.sockets[path]
	if s == nil {
		if err == nil && r.ctx.Err() == nil {
			r.cfg.Prober.Lose(path, goneError(path)) // it had a last word
		}
		return false
	}
	if s.again && r.ctx.Err() == nil {
		s.again = false
		return true
	}
	if err != nil && s.eager > 0 && ended.Sub(began) < slow && r.ctx.Err() == nil && s.owner.State != Refused {
		s.eager--
		r.mu.Unlock()
		defer r.mu.Lock()
		select {
		case <-r.ctx.Done():
		case <-time.After(eagerAfter):
		}
		return true
	}
	s.busy = false
	if r.ctx.Err() != nil {
		return false // that it failed tells nothing
	}
	if s.owner.State == Refused {
		r.cfg.Prober.Lose(path, s.owner.Err)
		return false
	}
	before := s.owner
	o := &s.owner
	if err != nil {
		o.State, o.Err, o.Since = Away, err, time.Time{}
		s.hangs = ended.Sub(began) >= slow
		s.rests = ended.Add(r.cfg.Rescan << s.failures)
		s.failures = min(s.failures+1, maxShift)
	} else {
		s.hangs, s.failures, s.rests = false, 0, time.Time{}
		var left []string
		o.Lists = lists && (len(stores) != 1 || stores[0].Name != "")
		o.Stores = nil
		if o.Lists {
			o.Stores, left = names(stores)
		}
		if !slices.Equal(left, s.left) && len(left) > 0 {
			r.cfg.Logger.Warn("stores of an owner are left alone: their names are taken or cannot be shown, or they are too many",
				"socket", path, "stores", left)
		}
		s.left = left
		if o.State != Up {
			o.State, o.Err, o.Since = Up, nil, r.cfg.Now()
		}
	}
	if before.State != o.State || before.Lists != o.Lists || !slices.Equal(before.Stores, o.Stores) {
		r.tell()
	}
	r.tellSettled()
	return false
}

// tellSettled is called with the mutex held.
func (r *round) tellSettled() {
	if r.looked != nil && r.settled() {
		close(r.looked)
		r.looked = nil
	}
}
