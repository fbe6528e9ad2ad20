package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wringdb/wring/core/api"
	"github.com/wringdb/wring/core/catalog"
	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/discovery"
	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/core/metrics"
	"github.com/wringdb/wring/core/notify"
	"github.com/wringdb/wring/core/supervise"
	"github.com/wringdb/wring/sdk"
)

// host is a running host; the admin interface talks to it.
type host struct {
	cfg       Config
	logger    hclog.Logger
	dataDir   string
	startedAt time.Time

	lock       *os.File
	history    *history.DB
	bus        *event.Bus
	supervisor *supervise.Supervisor
	runner     *compaction.Runner
	discovery  *discovery.Watcher
	notifier   *notify.Notifier
	figures    *figures
	recent     *recent
	metrics    *metrics.Exporter

	// living ends when runs are to stop; runs counts those under way.
	living     context.Context //nolint:containedctx // the life of the host, not of a call
	cancelRuns context.CancelFunc
	runs       sync.WaitGroup

	ready atomic.Bool // neither starting nor stopping

	wake chan struct{} // the timetable has changed
	ping chan struct{} // taken by the loop as a sign of life

	look, lookAtDisks chan struct{} // stores, or disks, are to be looked at for news
	// growth says when the file system of a store, or of one file of a pattern, will
	// be full if the stores there go on growing as they do, where that is known; nil
	// means that nobody measures it.
	growth func(store, file string) (fullAt time.Time, ok bool)

	reloading sync.Mutex // one reload at a time

	refreshing sync.Mutex      // one refresh at a time
	seen       map[string]bool // sockets of owners that were discovered; guarded by refreshing

	mu      sync.Mutex
	current *config.Config
	tracked []tracked            // by the configuration, and the owners that are there
	next    map[string]time.Time // when stores are due
	busy    map[string]bool      // in a scheduled run

	pausing sync.Mutex               // one change of pauses at a time
	pauses  map[string]history.Pause // as the history has them; guarded by mu

	// reloadedAt is when current was put into force, reloadFailed that it is not
	// what the file has; guarded by mu.
	reloadedAt   time.Time
	reloadFailed bool
}

var _ api.Host = (*host)(nil)

// LoadConfig reads a configuration, with the options of its plugins checked,
// and makes the catalog that belongs to it. Version is the host's, for messages.
func LoadConfig(ctx context.Context, file, selfDir, version string, logger hclog.Logger) (*config.Config, *catalog.Catalog, error) {
	return load(ctx, Config{File: file, SelfDir: selfDir, Version: version, Logger: logger}, func(c *catalog.Catalog) config.Describer { return c })
}

func load(ctx context.Context, cfg Config, ask func(*catalog.Catalog) config.Describer) (*config.Config, *catalog.Catalog, error) {
	var plugins *catalog.Catalog
	loaded, err := config.Load(ctx, cfg.File, func(c *config.Config) config.Describer {
		plugins = catalog.New(catalog.Config{
			SelfDir: cfg.SelfDir, Dirs: c.PluginDirs, Plugins: c.Plugins, HostVersion: cfg.Version, Logger: cfg.Logger,
		})
		return ask(plugins)
	})
	if err != nil {
		return nil, nil, err
	}
	return loaded, plugins, nil
}

// loadLenient reads a configuration as a host does that is to live with it.
func loadLenient(ctx context.Context, c Config) (*config.Config, *catalog.Catalog, error) {
	return load(ctx, c, func(p *catalog.Catalog) config.Describer {
		return lenient{p, c.Logger}
	})
}

// lenient keeps one plugin that crashes from keeping the host, and with it the
// stores of all others, from starting. A program that is missing or not the
// pinned one stays a mistake of the configuration.
type lenient struct {
	*catalog.Catalog
	logger hclog.Logger
}

// Describe implements config.Describer.
func (l lenient) Describe(ctx context.Context, p config.Plugin) (sdk.Description, error) {
	d, err := l.Catalog.Describe(ctx, p)
	if errors.Is(err, catalog.ErrNotPlugin) {
		l.logger.Error("starting without a plugin's answer: its stores fail until it gives one", "plugin", p.Name, "error", err, "hint", sdk.HintOf(err))
		return sdk.Description{}, fmt.Errorf("%w: %w", config.ErrUnchecked, err)
	}
	return d, err
}

func (h *host) config() *config.Config {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.current
}

// stopRuns cancels what is under way and waits until it has cleaned up.
func (h *host) stopRuns() {
	h.mu.Lock()
	h.cancelRuns() // from here on no run begins
	h.mu.Unlock()
	ended := make(chan struct{})
	go func() { h.runs.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(stopTimeout):
		h.logger.Error("a compaction did not reach a safe point in time; its plugin is ended", "waited", stopTimeout)
	}
}

// close gives back what start took. Parts that were not made are nil.
func (h *host) close() {
	h.cancelRuns()
	if h.supervisor != nil {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		h.supervisor.Stop(ctx)
		cancel()
	}
	if h.bus != nil {
		h.bus.Close()
	}
	if h.notifier != nil {
		h.notifier.Stop()
	}
	if h.history != nil {
		if err := h.history.Close(); err != nil {
			h.logger.Warn("closing the history", "error", err)
		}
	}
	_ = h.lock.Close()
}

// Reload reads the configuration again; when it is wrong the old one stays.
func (h *host) Reload(ctx context.Context) error {
	h.reloading.Lock()
	defer h.reloading.Unlock()
	h.notifyReload()
	defer h.notify("READY=1")
	loaded, plugins, err := loadLenient(ctx, h.cfg)
	if err == nil && loaded.DataDir != h.dataDir {
		err = sdk.Errorf(sdk.ErrInvalidOption, "data_dir has changed from %s to %s", h.dataDir, loaded.DataDir).
			WithHint("a new data_dir needs a restart of the host")
	}
	if err == nil && !reflect.DeepEqual(loaded.Listen, h.config().Listen) {
		err = sdk.Errorf(sdk.ErrInvalidOption, "the listen block has changed").
			WithHint("a new listen block needs a restart of the host; new tokens and renewed certificates do not")
	}
	h.mu.Lock()
	h.reloadFailed = err != nil
	h.mu.Unlock()
	if err != nil {
		about := []any{"error", err}
		if hint := sdk.HintOf(err); hint != "" { // a mistake in the file says itself what to do
			about = append(about, "hint", hint)
		}
		h.logger.Error("the configuration is not reloaded, the old one stays in force", about...)
		return err
	}
	h.adopt(ctx, loaded, plugins)
	h.logger.Info("configuration reloaded", "stores", len(loaded.Stores), "plugins", len(loaded.Plugins))
	return nil
}

// adopt puts a configuration into force. Runs under way end under the old one,
// but for what Adjust gives them.
func (h *host) adopt(ctx context.Context, loaded *config.Config, plugins *catalog.Catalog) {
	h.supervisor.Reconfigure(plugins)
	h.runner.Reconfigure(loaded.MaxParallel, loaded.Groups)
	h.runner.Adjust(loaded.Stores)
	h.history.SetKeep(loaded.KeepHistory)
	h.mu.Lock()
	h.current, h.reloadedAt = loaded, time.Now()
	h.mu.Unlock()
	h.notifier.Reconfigure(loaded.Notify)
	h.forgetTold()
	h.watchOwners(ctx)
	h.refresh()
	poke(h.look)
	poke(h.lookAtDisks)
}

// Ready says whether the host looks after its stores, and whether it has a run.
func (h *host) Ready() (ready, busy bool) {
	return h.ready.Load(), len(h.runner.Running()) > 0
}

// Compact makes a run that ends with ctx or with the host, and when it is detached
// with the host alone.
func (h *host) Compact(ctx context.Context, req api.CompactRequest) (history.Run, error) {
	if req.All == (len(req.Stores) > 0) {
		return history.Run{}, sdk.Errorf(sdk.ErrInvalidOption, "name stores, or ask for all of them, and not both").
			WithHint(`send {"stores": ["NAME"]} or {"all": true}`)
	}
	stores, err := h.stores(req.Stores)
	if err != nil {
		return history.Run{}, err
	}
	done, err := h.beginRun()
	if err != nil {
		return history.Run{}, err
	}
	run := compaction.Request{Trigger: history.Manual, Stores: stores, Mode: req.Mode, Manual: true, Force: req.Force}
	if !req.Detach {
		defer done()
		return h.run(ctx, run)
	}
	type begun struct {
		run history.Run
		err error
	}
	first := make(chan begun, 2) // that it has begun, and that it has ended
	run.Begun = func(r history.Run) {
		r.Results = []history.Result{}
		first <- begun{run: r}
	}
	go func() {
		defer done()
		ended, err := h.run(context.WithoutCancel(ctx), run)
		first <- begun{ended, err}
	}()
	answer := <-first
	return answer.run, answer.err
}

// run makes a run that ends with ctx or with the host.
func (h *host) run(ctx context.Context, req compaction.Request) (history.Run, error) {
	ctx, cancel := h.whileLiving(ctx)
	defer cancel()
	run, err := h.runner.Run(ctx, req)
	h.refreshAfter(run)
	return run, err
}

// beginRun counts one more run, unless the host is stopping.
func (h *host) beginRun() (done func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.living.Err() != nil {
		return nil, sdk.Errorf(sdk.ErrCancelled, "the host is stopping")
	}
	h.runs.Add(1)
	return h.runs.Done, nil
}

// whileLiving returns a context that ends with ctx, and with the host.
func (h *host) whileLiving(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(h.living, cancel)
	return ctx, func() { stop(); cancel() }
}

// Cancel stops what runs on a store, or on all.
func (h *host) Cancel(ctx context.Context, store string) (int, error) {
	if store != "" {
		if _, err := h.store(store); err != nil {
			return 0, err
		}
	}
	return h.runner.Cancel(ctx, store)
}

// Plan says what the next run would do.
func (h *host) Plan(ctx context.Context, names []string) ([]compaction.Plan, error) {
	stores, err := h.stores(names)
	if err != nil {
		return nil, err
	}
	plans, err := h.runner.Plan(ctx, stores)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	paused := h.pausedStores()
	for i, plan := range plans {
		if paused[plan.Configured] {
			plans[i].Warnings = append(plan.Warnings, "its schedule is paused: see wring resume")
			continue
		}
		plans[i].NextAt = h.next[plan.Configured]
	}
	return plans, nil
}

// Inspect measures one store.
func (h *host) Inspect(ctx context.Context, name string, depth sdk.Depth, mode string) (compaction.Inspection, error) {
	store, err := h.store(name)
	if err != nil {
		return compaction.Inspection{}, err
	}
	return h.runner.Inspect(ctx, compaction.InMode([]config.Store{store}, mode)[0], depth)
}

// Runs returns the last n runs, newest first.
func (h *host) Runs(n int) ([]history.Run, error) { return h.history.Runs(n) }

// Results returns the last n results of a store, newest first.
func (h *host) Results(store string, n int) ([]history.Result, error) {
	results, err := h.history.Results(store, n)
	if err != nil {
		return nil, fmt.Errorf("read the history of %s: %w", store, err)
	}
	if len(results) == 0 {
		_, err = h.store(store) // or it is one that nobody knows
	}
	return results, err
}

// Subscribe follows events.
func (h *host) Subscribe(buffer int, since uint64) *event.Subscription {
	return h.bus.Subscribe(buffer, since)
}
