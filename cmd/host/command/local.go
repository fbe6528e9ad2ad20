package command

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wringdb/wring/core/catalog"
	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/daemon"
	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/core/supervise"
)

// local does in this process, for the length of one command, what a host does
// for years: no configuration, no history.
type local struct {
	catalog    *catalog.Catalog
	supervisor *supervise.Supervisor
	bus        *event.Bus
	runner     *compaction.Runner
}

// drainTimeout is how long plugins get to end by themselves.
const drainTimeout = 5 * time.Second

// openLocal makes the parts; no plugin is started yet. A configuration is not
// needed, but where there is one its plugins count, and one that is wrong is not
// passed over: it may pin the checksum of the program that would be started.
func (s *session) openLocal(ctx context.Context) (*local, error) {
	loaded, err := s.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	logger := s.logger()
	l := &local{catalog: s.newCatalog(loaded), bus: event.NewBus(event.BusConfig{})}
	l.supervisor = supervise.New(supervise.Config{
		Catalog: l.catalog, Logger: logger, Events: l.bus, HostVersion: s.version,
		// The user's own, for all such commands: what one that was killed has
		// left in it is removed by the next.
		RuntimeDir: "",
	})
	l.runner = compaction.New(compaction.Config{Clients: daemon.Clients{Supervisor: l.supervisor}, Bus: l.bus, Logger: logger})
	return l, nil
}

func (l *local) close() {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	l.supervisor.Stop(ctx)
}

// store makes a store of a path, recognising its engine unless plugin names it.
func (l *local) store(ctx context.Context, plugin, path string) (config.Store, error) {
	if plugin == "" {
		recognised, err := l.catalog.Recognise(ctx, path)
		if err != nil {
			return config.Store{}, err
		}
		plugin = recognised
	} else if _, err := l.catalog.Resolve(l.catalog.Plugin(plugin)); err != nil {
		if other := otherMeant(err, plugin, l.catalog); other != nil {
			return config.Store{}, other
		}
	}
	return config.Adhoc(plugin, path), nil
}

// draw shows events on d until the returned function is called.
func (l *local) draw(d *display) (stop func()) {
	subscription := l.bus.Subscribe(256, 0)
	var drawn sync.WaitGroup
	drawn.Go(func() {
		defer d.close()
		for e := range subscription.C {
			d.show(e)
		}
	})
	return func() {
		subscription.Close()
		drawn.Wait()
	}
}

// newCatalog looks for plugins beside this program and where c says.
func (s *session) newCatalog(c *config.Config) *catalog.Catalog {
	return catalog.New(catalog.Config{Dirs: c.PluginDirs, SelfDir: selfDir(), Plugins: c.Plugins, HostVersion: s.version, Logger: s.logger()})
}

// selfDir is the directory of this program, symbolic links resolved.
func selfDir() string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	if resolved, err := filepath.EvalSymlinks(self); err == nil {
		self = resolved
	}
	return filepath.Dir(self)
}

// logger writes to standard error: everything with --verbose, else only what
// is wrong.
func (s *session) logger() hclog.Logger {
	level := hclog.Error
	if s.verbose {
		level = hclog.Debug
	}
	return hclog.New(&hclog.LoggerOptions{Name: "wring", Level: level, Output: s.Err})
}
