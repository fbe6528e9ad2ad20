// Package discovery finds the applications that own stores: those whose sockets
// lie in directories that it watches, and those at sockets that it is told of. It
// asks each which stores it has, and goes on asking, since applications come and
// go, open stores and close them.
package discovery

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/core/supervise"
	"github.com/wringdb/wring/sdk"
)

// Prober asks owners; *supervise.Supervisor does, and tells the world when one
// comes or goes.
type Prober interface {
	// Probe returns the stores of an owner; lists is false for one that cannot
	// say which it has. It returns soon after ctx ends.
	Probe(ctx context.Context, socket string) (stores []sdk.Store, lists bool, err error)
	// Lose is told that an owner that was probed is gone, or refused now, and
	// why. It must not wait, nor call the Watcher.
	Lose(socket string, err error)
}

// Publisher takes events and never waits; *event.Bus does.
type Publisher interface {
	Publish(e event.Event)
}

// Config is what a Watcher is made of. Only Prober is required.
type Config struct {
	Prober Prober
	// Changed is called after what Owners returns has changed, from one goroutine
	// at a time. It must not wait for the Watcher.
	Changed func()
	Events  Publisher // nil means nobody
	Logger  hclog.Logger
	// Rescan is how often directories are read and owners asked even though
	// nothing is heard of them: notifications get lost, and an owner that was
	// killed leaves its socket as it was. 0 means 10 s.
	Rescan time.Duration
	// Patience bounds a Probe that does not bound itself; 0 means 10 s.
	Patience time.Duration
	Now      func() time.Time // nil means time.Now
}

func (c *Config) ensureDefaults() {
	if c.Changed == nil {
		c.Changed = func() {}
	}
	if c.Events == nil {
		c.Events = nobody{}
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.Rescan <= 0 {
		c.Rescan = 10 * time.Second
	}
	if c.Patience <= 0 {
		c.Patience = 10 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}

const (
	// settle is how long notifications are gathered before directories are read:
	// a socket that appears is a burst of them.
	settle = 20 * time.Millisecond
	// maxOwners and maxStores bound what one directory and one owner can make the
	// host do.
	maxOwners = 1000
	maxStores = 1000
	// young is a socket that was made so long ago, and eager how often it is asked
	// again, after a while each time: between the two steps of making a socket and
	// listening on it it refuses whoever asks.
	young      = time.Second
	eager      = 10
	eagerAfter = 50 * time.Millisecond
	// slow is how long an owner takes to fail that hangs.
	slow = 200 * time.Millisecond
	// maxShift bounds how rarely an owner is asked that has failed: each time it is
	// left alone twice as long, up to the rescan shifted by so much. What it was
	// asked may still wait in it, and its log may tell of each time. A process that
	// takes its place is asked at once.
	maxShift = 4
)

// State is what is known of an owner.
type State int

const (
	// Asking: it has not answered yet, nor failed to.
	Asking State = iota
	// Up: it answered when it was last asked.
	Up
	// Away: its socket is there, but it did not answer.
	Away
	// Refused: it is not asked, since somebody else may have put the socket there.
	Refused
)

// Owner is an application with a socket in a directory.
type Owner struct {
	// Name is the file name of the socket without ".sock"; in a directory there
	// is one of each name at most. Empty for a directory that is refused itself.
	Name string
	// Socket is its path; of a directory that is refused, that.
	Socket string
	State  State
	// Since is when it came Up.
	Since time.Time
	// Stores are the names that the owner has for its stores, sorted, when it was
	// last Up. Lists is false for an owner that has a single one without a name.
	Stores []string
	Lists  bool
	// Err says why it is Refused or Away.
	Err error
}

// Watcher watches directories until its Run ends.
type Watcher struct {
	cfg  Config
	kick chan struct{} // look at once
	ask  chan struct{} // ask at once

	mu     sync.Mutex
	dirs   map[string]*directory // by path
	looked chan struct{}         // closed when every socket has been asked once; nil while nobody waits
}

// directory is a directory that is watched.
type directory struct {
	// named are the only sockets in it that matter, by their paths, and that are
	// believed whoever has put them there; nil for all that may be believed.
	named   []string
	refused error // why nothing in it is believed; nil while it is, or is not there
	sockets map[string]*socket
	scanned bool
}

// socket is what lies in a directory, or did until a moment ago.
type socket struct {
	owner    Owner
	id       identity  // of the file, to know another one by
	left     []string  // its stores that are left alone
	failures int       // in a row
	hangs    bool      // it was slow to fail
	eager    int       // how often it is asked again at once when it fails
	rests    time.Time // until when a rescan leaves it alone
	busy     bool      // being asked
	again    bool      // to be asked once more after that
}

// New makes a Watcher without directories. It does nothing until Run.
func New(c Config) *Watcher {
	c.ensureDefaults()
	return &Watcher{cfg: c, kick: make(chan struct{}, 1), ask: make(chan struct{}, 1), dirs: make(map[string]*directory)}
}

// Watch says which directories are watched from now on, and which sockets
// outside of them, all by absolute and clean paths. They need not be there.
func (w *Watcher) Watch(dirs, sockets []string) {
	named := make(map[string][]string)
	for _, dir := range dirs {
		named[dir] = nil
	}
	for _, path := range sockets {
		dir := filepath.Dir(path)
		if !slices.Contains(dirs, dir) && !slices.Contains(named[dir], path) {
			named[dir] = append(named[dir], path)
		}
	}
	w.mu.Lock()
	for dir, d := range w.dirs {
		if only, wanted := named[dir]; !wanted || (only == nil) != (d.named == nil) {
			delete(w.dirs, dir)
		}
	}
	for dir, only := range named {
		if w.dirs[dir] == nil {
			w.dirs[dir] = &directory{sockets: make(map[string]*socket)}
		}
		w.dirs[dir].named, w.dirs[dir].scanned = only, false
	}
	w.mu.Unlock()
	wake(w.kick)
}

// Rescan has everybody asked soon, those that have failed among them, for someone who
// would have used an owner that is away.
func (w *Watcher) Rescan() { wake(w.ask) }

// Owners are those in a directory, sorted by name.
func (w *Watcher) Owners(dir string) []Owner {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.dirs[dir]
	if d == nil {
		return nil
	}
	var owners []Owner
	if d.refused != nil {
		owners = append(owners, Owner{Socket: dir, State: Refused, Err: d.refused})
	}
	for _, path := range slices.Sorted(maps.Keys(d.sockets)) {
		o := d.sockets[path].owner
		o.Stores = slices.Clone(o.Stores)
		owners = append(owners, o)
	}
	return owners
}

// Hangs is the error of an owner that took long to give no answer when it was
// last asked; nil for all others.
func (w *Watcher) Hangs(socketPath string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if d := w.dirs[filepath.Dir(socketPath)]; d != nil {
		if s := d.sockets[socketPath]; s != nil && s.hangs {
			return s.owner.Err
		}
	}
	return nil
}

// Trusts says whether an owner may be called: nil when it answered when it was
// last asked, else why not. One that is gone is sdk.ErrNotFound.
func (w *Watcher) Trusts(socketPath string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.dirs[filepath.Dir(socketPath)]
	if d == nil {
		return goneError(socketPath)
	}
	s := d.sockets[socketPath]
	switch {
	case s == nil && d.refused != nil:
		return d.refused
	case s == nil:
		return goneError(socketPath)
	case s.owner.State == Asking:
		return sdk.Errorf(sdk.ErrConnection, "%w: %s: it has not answered yet", supervise.ErrOwnerAway, socketPath)
	}
	return s.owner.Err
}

func goneError(socketPath string) error {
	return sdk.Errorf(sdk.ErrNotFound, "%w: %s: there is no such socket any more", supervise.ErrOwnerAway, socketPath).
		WithHint("start the application that owns the store")
}

// Settled returns when every directory has been read and every owner in it has
// answered or failed to, or when ctx ends.
func (w *Watcher) Settled(ctx context.Context) {
	for {
		w.mu.Lock()
		if w.settled() {
			w.mu.Unlock()
			return
		}
		if w.looked == nil {
			w.looked = make(chan struct{})
		}
		looked := w.looked
		w.mu.Unlock()
		select {
		case <-looked:
		case <-ctx.Done():
			return
		}
	}
}

// settled is called with the mutex held.
func (w *Watcher) settled() bool {
	for _, d := range w.dirs {
		if !d.scanned {
			return false
		}
		for _, s := range d.sockets {
			if s.owner.State == Asking {
				return false
			}
		}
	}
	return true
}

func wake(who chan<- struct{}) {
	select {
	case who <- struct{}{}:
	default: // one is enough
	}
}

// nameOf is the name of the owner behind a socket.
func nameOf(path string) string { return strings.TrimSuffix(filepath.Base(path), ".sock") }

type nobody struct{}

func (nobody) Publish(event.Event) {}
