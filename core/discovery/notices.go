package discovery

import (
	"path/filepath"

	"github.com/fsnotify/fsnotify"
	"github.com/hashicorp/go-hclog"
)

// notices are what the system says of directories. Where it says nothing, the
// rescan has to do.
type notices struct {
	watcher *fsnotify.Watcher // nil where there is none
	heard   <-chan struct{}   // something has happened
	logger  hclog.Logger
	// followed are the paths that the watcher has now, or had at some time.
	followed map[string]bool
	stopped  chan struct{}
}

func (w *Watcher) newNotices() *notices {
	n := &notices{logger: w.cfg.Logger, followed: make(map[string]bool), stopped: make(chan struct{})}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		n.logger.Warn("owners are noticed by looking for them only", "every", w.cfg.Rescan, "error", err)
		close(n.stopped)
		return n
	}
	n.watcher = watcher
	heard := make(chan struct{}, 1)
	n.heard = heard
	go func() {
		defer close(n.stopped)
		for {
			select {
			case e, ok := <-watcher.Events:
				if !ok {
					return
				}
				if e.Op != fsnotify.Write { // which no socket is
					wake(heard)
				}
			case err, ok := <-watcher.Errors:
				if !ok {
					return
				}
				n.logger.Warn("notices of owners that come and go may be lost", "error", err)
				wake(heard)
			}
		}
	}()
	return n
}

// drop forgets what was heard.
func (n *notices) drop() {
	select {
	case <-n.heard:
	default:
	}
}

// follow has the system tell of what happens in directories, and, of those that
// are not there, in the one above, where they may appear. A directory that was
// replaced by another has to be added anew, so it is done each time.
func (n *notices) follow(dirs []string) {
	if n.watcher == nil {
		return
	}
	follow := make(map[string]bool)
	for _, dir := range dirs {
		if n.watcher.Add(dir) == nil {
			follow[dir] = true
			continue
		}
		above := filepath.Dir(dir)
		if n.watcher.Add(above) == nil {
			follow[above] = true
		}
		// It may have been made since it was looked for.
		if n.watcher.Add(dir) == nil {
			follow[dir] = true
		}
	}
	for path := range n.followed {
		if !follow[path] {
			_ = n.watcher.Remove(path) // it may be gone already
		}
	}
	n.followed = follow
}

func (n *notices) close() {
	if n.watcher != nil {
		_ = n.watcher.Close() // nothing can be done about it
	}
	<-n.stopped
}
