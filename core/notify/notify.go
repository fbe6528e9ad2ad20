// Package notify tells people of what happens to stores: it decides what is
// news, keeps it in a queue that survives the host, and delivers it to webhooks
// and commands.
//
// What is news follows from how a store is, held against what was told of it
// last (watch.go). Both that and the queue change in one transaction of the
// history, so that a host that is killed tells everything once: it notices later
// what it could not notice before. Each target has a goroutine and a queue of
// its own, in order, so that one that is slow or dead holds up nobody else.
//
// A notice is delivered at least once. It is delivered again, with the same ID,
// when the host is killed between the target's answer and the record of it, or
// the answer was lost.
package notify

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/sdk"
)

// Records keep what must survive the host; *history.DB does.
type Records interface {
	Notices() (map[string]json.RawMessage, error)
	// ChangeNotices keeps or, where they are nil, removes records: all or none.
	ChangeNotices(changes map[string]json.RawMessage) error
}

// Publisher takes events and never waits; *event.Bus does.
type Publisher interface {
	Publish(e event.Event)
}

// Config is what a Notifier is made of. Its zero value is fine but for Records.
type Config struct {
	Records Records
	Events  Publisher // nil means nobody follows
	Logger  hclog.Logger
	// Version of the host, which its requests bear.
	Version string
	// Host is the name of the machine; empty means the system's.
	Host string
	Now  func() time.Time // nil means time.Now

	// FirstDelay is how long after the first failure a delivery is tried again, on
	// average; 0 means 1 s. It doubles up to LastDelay; 0 means 15 min.
	FirstDelay, LastDelay time.Duration
	// Keep is how many notices may wait for one target; 0 means 1000.
	Keep int
	// Grace is how long deliveries under way may take when the Notifier stops; 0
	// means 3 s.
	Grace time.Duration
}

func (c Config) withDefaults() Config {
	if c.Events == nil {
		c.Events = nobody{}
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.Host == "" {
		c.Host, _ = os.Hostname()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.FirstDelay = cmp.Or(c.FirstDelay, time.Second)
	c.LastDelay = cmp.Or(c.LastDelay, 15*time.Minute)
	c.Keep = cmp.Or(c.Keep, 1000)
	c.Grace = cmp.Or(c.Grace, 3*time.Second)
	return c
}

// How long notices wait for a target that takes none.
const (
	// tryFor is how long a delivery is tried while a host runs.
	tryFor = 24 * time.Hour
	// keepFor is how old a notice may be to be of interest to anybody, even if no
	// host ran that could deliver it.
	keepFor = 7 * 24 * time.Hour
)

// Notifier decides what to tell, and tells it. All methods are safe for
// concurrent use.
type Notifier struct {
	cfg       Config
	startedAt time.Time
	client    *http.Client

	// living ends when deliveries under way are not waited for any longer.
	living   context.Context //nolint:containedctx // the life of the Notifier, not of a call
	kill     context.CancelFunc
	stopping chan struct{} // closed when none begins any more
	stop     sync.Once
	workers  sync.WaitGroup

	// changing is held by who changes what was told, or adds to the queues.
	changing  sync.Mutex
	told      map[string]told      // by store
	toldDisks map[string]*toldDisk // by mount
	sequence  uint64               // of the notice that was queued last
	unsaved   bool                 // the last record could not be kept

	mu      sync.Mutex
	targets []*target
}

// The keys of records. A queued notice has its target and its number behind the
// first.
const (
	keyQueue = "queue/"
	keyStore = "store/"
	keyDisk  = "disk/"
)

// New makes a Notifier for the targets of a configuration, with what an earlier
// host has left in the queues.
func New(c Config, targets []config.Notify) *Notifier {
	n := &Notifier{
		cfg: c.withDefaults(), stopping: make(chan struct{}),
		told: map[string]told{}, toldDisks: map[string]*toldDisk{},
	}
	n.startedAt = n.cfg.Now()
	n.client = newClient()
	n.living, n.kill = context.WithCancel(context.Background())
	n.reconfigure(targets, n.load())
	return n
}

// load reads what an earlier host has left, and returns the queues by target.
func (n *Notifier) load() map[string][]entry {
	records, err := n.cfg.Records.Notices()
	if err != nil {
		n.cfg.Logger.Warn("what was told before cannot be read; it may be told again", "error", err)
	}
	queues := map[string][]entry{}
	for _, key := range slices.Sorted(maps.Keys(records)) { // numbers of one length: in order
		kind, name, _ := strings.Cut(key, "/")
		switch kind + "/" {
		case keyStore:
			var t told
			if err = json.Unmarshal(records[key], &t); err == nil {
				n.told[name] = t
			}
		case keyDisk:
			var t toldDisk
			if err = json.Unmarshal(records[key], &t); err == nil {
				n.toldDisks[name] = &t
			}
		case keyQueue:
			var e entry
			if e, err = decodeEntry(key, records[key]); err == nil {
				target, _, _ := strings.Cut(name, "/")
				queues[target] = append(queues[target], e)
				n.sequence = max(n.sequence, e.sequence)
			}
		}
		if err != nil {
			n.cfg.Logger.Warn("a record of what was told is damaged, and passed over", "record", key, "error", err)
		}
	}
	return queues
}

// Reconfigure takes the targets of a new configuration. What waits for one that
// is gone is dropped; those that stay are tried again at once.
func (n *Notifier) Reconfigure(targets []config.Notify) { n.reconfigure(targets, nil) }

func (n *Notifier) reconfigure(targets []config.Notify, queues map[string][]entry) {
	n.changing.Lock()
	defer n.changing.Unlock()
	n.mu.Lock()
	old := map[string]*target{}
	for _, t := range n.targets {
		old[t.settings.Name] = t
	}
	n.targets = nil
	for _, settings := range targets {
		t := old[settings.Name]
		if t == nil {
			t = n.newTarget(settings, queues[settings.Name])
			n.workers.Go(t.run)
		} else {
			t.renew(settings)
		}
		delete(old, settings.Name)
		delete(queues, settings.Name)
		n.targets = append(n.targets, t)
	}
	for name, t := range old {
		t.end()
		queues = orNew(queues)
		queues[name] = slices.Clone(t.queue)
	}
	n.mu.Unlock()

	gone := map[string]json.RawMessage{}
	for name, queue := range queues {
		if len(queue) > 0 {
			n.cfg.Logger.Warn("notices are dropped: their target is not configured any more", "target", name, "dropped", len(queue))
		}
		for _, e := range queue {
			gone[e.key] = nil
		}
	}
	if len(gone) > 0 {
		n.save(gone)
	}
}

func orNew(queues map[string][]entry) map[string][]entry {
	if queues == nil {
		return map[string][]entry{}
	}
	return queues
}

// accept adds notices to the queues of those who want them, together with other
// changes of the records. N.changing is held. When it returns they survive the
// host, unless the disk does not take them: then they are kept in memory.
func (n *Notifier) accept(changes map[string]json.RawMessage, notices []Notice) {
	added := map[*target][]entry{}
	n.mu.Lock()
	for _, notice := range notices {
		level := hclog.Warn
		if notice.Event == Recovered {
			level = hclog.Info
		}
		n.cfg.Logger.Log(level, "to be told", "event", notice.Event, "message", notice.Message, "id", notice.ID)
		for _, t := range n.targets {
			if !wants(t.settings, notice) {
				continue
			}
			n.sequence++
			e := newEntry(t.settings.Name, n.sequence, notice)
			added[t] = append(added[t], e)
			changes[e.key] = encode(e.record())
		}
	}
	n.mu.Unlock()
	n.save(changes)

	dropped := map[string]json.RawMessage{}
	n.mu.Lock()
	for t, entries := range added {
		for _, key := range t.add(entries) {
			dropped[key] = nil
		}
	}
	n.mu.Unlock()
	if len(dropped) > 0 {
		n.save(dropped)
	}
	for _, notice := range notices {
		n.publish(notice)
	}
}

// wants says whether a target wants a notice: that of a disk if it wants those of
// any store on it.
func wants(settings config.Notify, notice Notice) bool {
	if notice.Disk == nil {
		return settings.Wants(string(notice.Event), notice.Store, notice.Configured)
	}
	for i, store := range notice.Disk.Stores {
		configured := ""
		if i < len(notice.Disk.Configured) {
			configured = notice.Disk.Configured[i]
		}
		if settings.Wants(string(notice.Event), store, configured) {
			return true
		}
	}
	return false
}

// save changes the records. What cannot be kept is logged once.
func (n *Notifier) save(changes map[string]json.RawMessage) {
	err := n.cfg.Records.ChangeNotices(changes)
	if err != nil && !n.unsaved {
		n.cfg.Logger.Warn("notices are kept in memory only: what is not delivered when the host ends is lost", "error", err)
	}
	n.unsaved = err != nil
}

// ErrNoTarget says that there is no target of that name, or none at all.
var ErrNoTarget = errors.New("no such target")

// Test sends a notice at once, past the queue, to the target of that name, or to
// all when it is empty.
func (n *Notifier) Test(ctx context.Context, name string) ([]Answer, error) {
	var chosen []config.Notify
	n.mu.Lock()
	for _, t := range n.targets {
		if name == "" || t.settings.Name == name {
			chosen = append(chosen, t.settings)
		}
	}
	n.mu.Unlock()
	if len(chosen) == 0 {
		err := sdk.Errorf(ErrNoTarget, "the configuration in force has no notify %q", name)
		if name == "" {
			err = sdk.Errorf(ErrNoTarget, "the configuration in force has no notify block")
		}
		return nil, err.WithHint("add one, and let the host read it: wring reload")
	}
	notice := n.complete(Notice{Event: Test}, n.cfg.Now())
	answers := make([]Answer, len(chosen))
	var asked sync.WaitGroup
	for i, settings := range chosen {
		asked.Go(func() { answers[i] = n.deliver(ctx, settings, notice) })
	}
	asked.Wait()
	return answers, nil
}

// Stop ends deliveries: none begins any more, and those under way get a little
// time. What is not delivered stays queued.
func (n *Notifier) Stop() {
	n.stop.Do(func() { close(n.stopping) })
	ended := make(chan struct{})
	go func() { n.workers.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(n.cfg.Grace):
	}
	n.kill()
	<-ended
	n.client.CloseIdleConnections()
}

func encode(v any) json.RawMessage {
	record, err := json.Marshal(v)
	if err != nil {
		panic(err) // of the types here, which all can be
	}
	return record
}

type nobody struct{}

func (nobody) Publish(event.Event) {}

var (
	_ Records   = (*history.DB)(nil)
	_ Publisher = (*event.Bus)(nil)
)
