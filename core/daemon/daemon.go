// Package daemon is the host as a whole: it puts the parts together, keeps the
// timetable, answers the admin interface, and ends in an orderly way.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/hashicorp/go-hclog"

	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/discovery"
	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/core/metrics"
	"github.com/wringdb/wring/core/notify"
	"github.com/wringdb/wring/core/supervise"
)

// Config is what a host needs to know beyond its configuration file.
type Config struct {
	// File is the configuration.
	File string
	// Version of the host.
	Version string
	// SelfDir is the directory of the host's own program, where plugins are
	// looked for first.
	SelfDir string
	Logger  hclog.Logger
}

// stopTimeout is how long compactions get to reach a safe point, and plugins
// to end, when the host stops.
const stopTimeout = 20 * time.Second

// Run is the host's life: it returns when ctx has ended and all is cleaned up,
// or with the error that kept it from starting.
func Run(ctx context.Context, c Config) error {
	// From the first moment to the last: by default the signal kills.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)

	h, err := start(ctx, c)
	if err != nil {
		return err
	}
	defer h.close()

	var helpers sync.WaitGroup
	living, stop := context.WithCancel(ctx)
	defer helpers.Wait()
	defer stop()
	helpers.Go(func() { h.discovery.Run(living) })
	h.watchOwners(living)
	h.refresh()

	opened, err := h.openDoors()
	if err != nil {
		return err
	}
	served := opened.serve()

	watched := h.watch(living)
	helpers.Go(func() { h.figures.run(living, h.trackedNow) })
	helpers.Go(func() { h.reloadOn(living, hangup) })
	helpers.Go(func() { h.sweep(living) })
	helpers.Go(func() { h.feedWatchdog(living) })
	h.ready.Store(true)
	h.notify(systemd.SdNotifyReady)
	h.logger.Info("looking after stores", "stores", len(h.config().Stores), "config", h.cfg.File, "data_dir", h.dataDir, "pid", os.Getpid())

	looped := make(chan struct{})
	go func() { defer close(looped); h.loop(living) }()
	select {
	case <-ctx.Done():
	case err = <-served:
		err = fmt.Errorf("serve the admin interface: %w", err)
	}
	h.ready.Store(false)
	h.notify(systemd.SdNotifyStopping)
	h.logger.Info("stopping: compactions under way are cancelled and clean up")
	stop()
	<-looped
	h.stopRuns()
	helpers.Wait()
	h.bus.Close() // listeners still get what has happened so far, then the end
	watched()
	opened.hangUp()
	return err
}

// answerTimeout is how long those who wait for an answer get to hear what has
// become of it when the host stops.
const answerTimeout = 2 * time.Second

func hangUp(server *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		_ = server.Close()
	}
}

// start makes the parts, in the order in which they need each other.
func start(ctx context.Context, c Config) (_ *host, err error) {
	loaded, plugins, err := loadLenient(ctx, c)
	if err != nil {
		return nil, err
	}
	lock, err := lockDataDir(loaded.DataDir)
	if err != nil {
		return nil, err
	}
	if absolute, err := filepath.Abs(c.File); err == nil {
		c.File = absolute // as others will look for it, who are in other directories
	}
	h := &host{ // no result of that name: it would be nil when it is to be closed
		cfg: c, logger: c.Logger, dataDir: loaded.DataDir, lock: lock,
		current: loaded, startedAt: time.Now(), reloadedAt: time.Now(),
		next: map[string]time.Time{}, busy: map[string]bool{}, seen: map[string]bool{},
		wake: make(chan struct{}, 1), ping: make(chan struct{}),
		look: make(chan struct{}, 1), lookAtDisks: make(chan struct{}, 1),
	}
	h.living, h.cancelRuns = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	h.history, err = openHistory(filepath.Join(loaded.DataDir, history.FileName), loaded.KeepHistory, c.Logger.Named("history"))
	if err != nil {
		return nil, err
	}
	if h.pauses, err = h.history.Pauses(); err != nil {
		return nil, err
	}
	h.figures = newFigures(h.history, c.Logger)
	h.growth = h.figures.full
	h.recent = newRecent(h.history)
	h.metrics = metrics.New(h.snapshot, c.Logger)
	// The time in milliseconds is above all that an earlier host has come to, which
	// has fewer than a thousand events each second.
	h.bus = event.NewBus(event.BusConfig{After: uint64(h.startedAt.UnixMilli())})
	h.notifier = notify.New(notify.Config{
		Records: h.history, Events: h.bus, Logger: c.Logger.Named("notify"), Version: c.Version,
	}, loaded.Notify)
	h.supervisor = supervise.New(supervise.Config{
		Catalog: plugins, Logger: c.Logger, Events: h.bus, HostVersion: c.Version,
		RuntimeDir: filepath.Join(loaded.DataDir, runDirName),
	})
	h.runner = compaction.New(compaction.Config{
		Clients: trusting{Clients{h.supervisor}, h}, History: recording{h.history, h}, Bus: h.bus, Logger: c.Logger,
		MaxParallel: loaded.MaxParallel, Groups: loaded.Groups,
	})
	h.discovery = discovery.New(discovery.Config{
		Prober: h.supervisor, Events: h.bus, Logger: c.Logger, Changed: h.refresh,
	})
	return h, nil
}

// openHistory opens the history, or begins one in memory: that a disk is full, or
// something is in the way, is no reason to leave all stores alone. That the file is
// somebody else's is: the directory is then, too.
func openHistory(path string, keep int, logger hclog.Logger) (*history.DB, error) {
	db, err := history.Open(path, keep, logger)
	if err != nil && !errors.Is(err, history.ErrForeign) {
		logger.Warn("the history cannot be opened; what this host does is remembered in memory only", "error", err)
		return history.NewMemory(keep), nil
	}
	return db, err
}

// listen makes the admin socket. A file that a dead host left is replaced: the
// lock of the data directory says that no other host lives.
func listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove the socket of an earlier host: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for the admin interface: %w", err)
	}
	// The directory is closed to others, so nobody came in between.
	if err := os.Chmod(path, 0o600); err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("close the socket to others: %w", err)
	}
	return listener, nil
}

// reloadOn reloads the configuration at each signal.
func (h *host) reloadOn(ctx context.Context, hangup <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			// Whatever is wrong has been logged.
			_ = h.Reload(ctx)
		}
	}
}

// trusting are Clients that call no discovered owner which is not there, or not
// to be believed, by what was found out last, and none that hangs.
type trusting struct {
	Clients
	host *host
}

// Acquire implements compaction.Clients.
func (c trusting) Acquire(ctx context.Context, store config.Store) (lease compaction.Lease, err error) {
	switch {
	case store.FoundBy != "":
		err = c.host.discovery.Trusts(store.Owner)
	case store.Owner != "":
		err = c.host.discovery.Hangs(store.Owner)
	}
	if err == nil {
		lease, err = c.Clients.Acquire(ctx, store)
	}
	if errors.Is(err, supervise.ErrOwnerAway) {
		c.host.discovery.Rescan() // it may be back for the next who comes
	}
	return lease, err
}

// Clients hands the leases of a supervisor to a runner.
type Clients struct{ *supervise.Supervisor }

var (
	_ compaction.Clients     = Clients{}
	_ compaction.Prioritizer = (*supervise.Lease)(nil)
	_ compaction.Answering   = (*supervise.Lease)(nil)
	_ discovery.Prober       = (*supervise.Supervisor)(nil)
)

// Acquire implements compaction.Clients.
func (c Clients) Acquire(ctx context.Context, store config.Store) (compaction.Lease, error) {
	lease, err := c.Supervisor.Acquire(ctx, store)
	if err != nil {
		return nil, err
	}
	return lease, nil
}
