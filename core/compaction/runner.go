// Package compaction makes runs: it takes stores in turn, measures each, asks
// the policy, compacts what is worth it, and records what came of it.
//
// What happens after a failed attempt, as far as the store's Retry allows and
// with the policy asked anew each time:
//
//   - an error that may pass, or a stall that ended when it was cancelled, is
//     followed by another attempt after the delay;
//   - a lock held by others, a full disk and an owner that is away defer the
//     store to its next schedule;
//   - after a lost connection the outcome is unknown. A plugin whose process
//     died is acquired anew after the delay, and the store swept and measured:
//     only if that succeeds is Compact called again. Should the first
//     compaction still run after all, it holds the store's lock, and the
//     outcome stays unknown. The store of an owner, which may well go on
//     without us, is looked at by the next run;
//   - a call that does not end in time after it was cancelled is given up, its
//     outcome unknown, and the store left alone until the call does end;
//   - so is, without more ado, a call of a backend that does not answer beside
//     it any more, such as an owner that was stopped. Before Compact has begun
//     that defers the store, as for an owner that is away.
package compaction

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/sdk"
)

// Clients gives access to the backends of stores.
type Clients interface {
	// Acquire returns when the backend is ready to be called, or with an error
	// when ctx ends.
	Acquire(ctx context.Context, store config.Store) (Lease, error)
}

// Lease is the right to call a backend until it is released.
type Lease interface {
	// Backend may be an sdk.Sweeper and an sdk.StoreLister too.
	Backend() sdk.Backend
	Description() sdk.Description
	// Release or Discard is called, once.
	Release()
	// Discard is Release for a backend with a call that was given up and may
	// still be under way: nobody should get it again. Reason completes the
	// sentence "plugin x is down: …".
	Discard(reason string)
}

// Answering is a Lease that tells whether its backend is there while calls of it
// are under way. Progress may be rare; whoever answers lives.
type Answering interface {
	// Answers asks the backend. It returns false when that does not answer
	// within some seconds, and when ctx ends; whatever it answers is true.
	Answers(ctx context.Context) bool
}

// History remembers runs; *history.DB does.
type History interface {
	BeginRun(run history.Run) error
	BeginCompaction(r history.Result) error
	AddResult(r history.Result) error
	AddRun(run history.Run) error
	Past(store string) (history.Past, error)
	// AddSample notes a measurement, and what was given back just before it.
	AddSample(store string, s history.Sample, reclaimed int64) error
}

// Publisher takes events and never waits; *event.Bus does.
type Publisher interface {
	Publish(e event.Event)
}

// Config is what a Runner is made of. Only Clients is required.
type Config struct {
	Clients Clients
	History History   // nil means one that ends with the Runner
	Bus     Publisher // nil means nobody listens
	Logger  hclog.Logger
	Clock   Clock // nil means the system's

	// MaxParallel is how many stores are worked on at the same time; 0 means one.
	MaxParallel int
	Groups      []config.Group
	// CancelGrace is how long a cancelled call may take to clean up before it is
	// given up; 0 means 15 s.
	CancelGrace time.Duration
}

const defaultCancelGrace = 15 * time.Second

// Request asks for a run.
type Request struct {
	// Trigger is why; empty means Manual if a person asked, else Scheduled.
	Trigger history.Trigger
	// Stores in the order in which they are worked on.
	Stores []config.Store
	// Mode to compact in, instead of those of the stores; may be empty. A run in
	// which any backend has no such mode does not begin.
	Mode string
	// Manual and Force are for the policy.
	Manual, Force bool
	// Paused, which may be nil, is asked when the turn of a store has come, by its
	// name and that of what found it, which may be the same: the turn ends as one
	// that was not reached when it says so.
	Paused func(names ...string) bool
	// Ended, which may be nil, is called once for each of Stores, by its name,
	// when its result is final and other runs may have the store: for a pattern
	// when that is so for its last file. The calls come from several goroutines
	// at once and no lock is held; Run returns after the last of them. The
	// history has the result by then, and the run when Run returns.
	Ended func(configured string)
	// Begun, which may be nil, is called with the run as soon as it is one, with
	// no lock held.
	Begun func(run history.Run)
}

// Runner makes runs, several at a time if need be: they share its limits, and
// no store is in two of them. All methods are safe for concurrent use.
type Runner struct {
	clients Clients
	history History
	bus     Publisher
	logger  hclog.Logger
	clock   Clock
	grace   time.Duration

	slots  *slots
	active *registry
	// adjusting guards adjusted, what Adjust was given last, and keeps an older
	// one from being given to a turn after it.
	adjusting sync.Mutex
	adjusted  []config.Store
	sequence  atomic.Uint64 // of run IDs
}

// New makes a Runner.
func New(c Config) *Runner {
	if c.History == nil {
		c.History = history.NewMemory(0)
	}
	if c.Bus == nil {
		c.Bus = nobody{}
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.Clock == nil {
		c.Clock = systemClock{}
	}
	if c.CancelGrace <= 0 {
		c.CancelGrace = defaultCancelGrace
	}
	return &Runner{
		clients: c.Clients, history: c.History, bus: c.Bus, logger: c.Logger, clock: c.Clock, grace: c.CancelGrace,
		slots:  newSlots(c.Clock, c.MaxParallel, c.Groups),
		active: newRegistry(),
	}
}

// Reconfigure changes the limits for what begins from now on.
func (r *Runner) Reconfigure(maxParallel int, groups []config.Group) {
	r.slots.reconfigure(maxParallel, groups)
}

// Run works on the stores of a request and returns when all have a result. The
// end of ctx cancels what is under way, and the stores after it; so the error
// is nil even then, and only set when there is nothing to work on, or the
// request is wrong (sdk.ErrInvalidOption).
func (r *Runner) Run(ctx context.Context, req Request) (history.Run, error) {
	if len(req.Stores) == 0 {
		return history.Run{}, errors.New("make a run: no stores are named")
	}
	if req.Mode != "" {
		if err := r.checkMode(ctx, req.Stores, req.Mode); err != nil {
			return history.Run{}, err
		}
		req.Stores = InMode(req.Stores, req.Mode)
	}
	run := history.Run{ID: r.newID(), Trigger: req.trigger(), StartedAt: r.clock.Now()}
	turns := r.admit(ctx, run.ID, req)
	r.begin(run, turns)
	if req.Begun != nil {
		req.Begun(run)
	}

	var working sync.WaitGroup
	for _, t := range turns {
		working.Go(t.take)
	}
	working.Wait()

	run.FinishedAt = r.clock.Now()
	for _, t := range turns {
		run.Results = append(run.Results, t.result)
		run.ReclaimedBytes += t.result.ReclaimedBytes
	}
	r.record("a run", func() error { return r.history.AddRun(run) })
	summary := run
	summary.Results = []history.Result{}
	r.bus.Publish(event.Event{Name: event.RunComplete, Run: run.ID, Message: summarize(run), Summary: &summary})
	return run, nil
}

func (req Request) trigger() history.Trigger {
	switch {
	case req.Trigger != "":
		return req.Trigger
	case req.Manual:
		return history.Manual
	}
	return history.Scheduled
}

// newID sorts by time, as far as the clock is right.
func (r *Runner) newID() string {
	return fmt.Sprintf("%s-%d", r.clock.Now().UTC().Format("20060102T150405.000Z"), r.sequence.Add(1))
}

// admit makes the turns of a run: one for each store, patterns resolved into
// what matches now. A store that is named twice has one turn.
func (r *Runner) admit(ctx context.Context, run string, req Request) []*turn {
	var turns []*turn
	seen := map[string]*turn{}
	asked := map[string]*requested{}
	for _, configured := range req.Stores {
		if asked[configured.Name] == nil {
			asked[configured.Name] = &requested{name: configured.Name}
		}
		stores, err := Expand(configured)
		switch {
		case err != nil:
			stores = []config.Store{configured}
		case len(stores) == 0:
			stores, err = []config.Store{configured}, errNoFiles
		}
		for _, store := range stores {
			t := seen[store.Name]
			if t == nil {
				t = r.newTurn(ctx, run, req, configured, store, err)
				seen[store.Name] = t
				turns = append(turns, t)
			}
			t.belongsTo(asked[configured.Name])
		}
	}
	return turns
}

// begin tells the world about a run.
func (r *Runner) begin(run history.Run, turns []*turn) {
	for _, t := range turns {
		run.Results = append(run.Results, t.result)
	}
	r.record("the beginning of a run", func() error { return r.history.BeginRun(run) })
	r.bus.Publish(event.Event{
		Name: event.RunStarted, Run: run.ID,
		Message: fmt.Sprintf("%s, trigger %s", plural(len(turns), "store"), run.Trigger),
	})
}

// record writes to the history. A run is worth more than its record, so what
// goes wrong is logged.
func (r *Runner) record(what string, write func() error) {
	if err := protect(write); err != nil {
		r.logger.Warn("the history does not have "+what, "error", err)
	}
}

// Cancel stops the work on a store, or on all stores when it is empty, and
// waits until the backends have cleaned up. It returns how many turns ended as
// cancelled. A pattern stands for all its files.
func (r *Runner) Cancel(ctx context.Context, store string) (int, error) {
	turns := r.active.find(store)
	for _, t := range turns {
		t.cancel(errAsked)
	}
	cancelled := 0
	for _, t := range turns {
		select {
		case <-t.done:
			if t.result.Outcome == history.Cancelled {
				cancelled++
			}
		case <-ctx.Done():
			return cancelled, fmt.Errorf("wait for %s to reach a safe point: %w", t.store.Name, ctx.Err())
		}
	}
	return cancelled, nil
}

// Active returns the progress of every compaction under way by the name of its
// store, and for a file also by that of its pattern.
func (r *Runner) Active() map[string]event.Progress { return r.active.progress() }

// Running returns the IDs of the runs under way, oldest first.
func (r *Runner) Running() []string { return r.active.runs() }

// summarize is "3 stores: 1 compacted, 2 skipped; 1.0 MiB given back".
func summarize(run history.Run) string {
	counts := map[history.Outcome]int{}
	for _, result := range run.Results {
		counts[result.Outcome]++
	}
	text := plural(len(run.Results), "store")
	separator := ": "
	for _, outcome := range slices.Sorted(maps.Keys(counts)) {
		text += fmt.Sprintf("%s%d %s", separator, counts[outcome], outcome)
		separator = ", "
	}
	if run.ReclaimedBytes != 0 {
		text += fmt.Sprintf("; %s given back", sdk.FormatBytes(run.ReclaimedBytes))
	}
	return text
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

type nobody struct{}

func (nobody) Publish(event.Event) {}

var (
	_ History   = (*history.DB)(nil)
	_ Publisher = (*event.Bus)(nil)
)
