// Package catalog knows which plugins there are: where their programs lie,
// whether they may be run, what they say of themselves, and which of them
// recognises a path.
package catalog

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/sdk"
)

// ProgramPrefix is what the program of a plugin NAME begins with.
const ProgramPrefix = "wring-plugin-"

// Why a plugin cannot be used. Test with errors.Is; the error around each says
// which program is meant and what to do.
var (
	// ErrMissing: there is no program.
	ErrMissing = errors.New("program is missing")
	// ErrNotExecutable: there is something, but the host cannot execute it.
	ErrNotExecutable = errors.New("not an executable program")
	// ErrUnsafe: somebody else could have put the program there, or change it.
	ErrUnsafe = errors.New("unsafe to run")
	// ErrChecksum: the program is not the one that was pinned.
	ErrChecksum = errors.New("checksum differs")
	// ErrNotPlugin: the program does not describe itself as a plugin does.
	ErrNotPlugin = errors.New("does not describe itself")
)

// Config is what a catalog is made of. The zero value knows no plugins beyond
// those with an explicit command.
type Config struct {
	// SelfDir is the directory of the host's own program, the first in which
	// wring-plugin-NAME is looked for.
	SelfDir string
	// Dirs are looked into after SelfDir, in this order.
	Dirs []string
	// Plugins are the configured ones.
	Plugins []config.Plugin
	// HostVersion is for messages to people about plugins of another age.
	HostVersion string
	// DescribeTimeout bounds one `PROGRAM describe`; 0 means 10 s.
	DescribeTimeout time.Duration
	// LookupEnv reads the host's environment; nil means os.LookupEnv.
	LookupEnv func(name string) (string, bool)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Logger is told about plugins that are passed over; nil means silence.
	Logger hclog.Logger
}

// Catalog answers which plugins there are. It is safe for concurrent use, and
// looks at the file system anew for each answer; only checksums and
// descriptions of unchanged programs are remembered.
type Catalog struct {
	cfg Config

	mu           sync.Mutex
	sums         map[string]sum // by path
	descriptions map[string]sdk.Description
}

// New makes a catalog. It starts nothing and reads nothing.
func New(cfg Config) *Catalog {
	if cfg.DescribeTimeout <= 0 {
		cfg.DescribeTimeout = 10 * time.Second
	}
	if cfg.LookupEnv == nil {
		cfg.LookupEnv = os.LookupEnv
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	return &Catalog{
		cfg:          cfg,
		sums:         make(map[string]sum),
		descriptions: make(map[string]sdk.Description),
	}
}

// Plugins returns the configured plugins.
func (c *Catalog) Plugins() []config.Plugin { return slices.Clone(c.cfg.Plugins) }

// Plugin returns the configured plugin of that name, or one with nothing but
// the name, whose program is looked for in the usual places.
func (c *Catalog) Plugin(name string) config.Plugin {
	i := slices.IndexFunc(c.cfg.Plugins, func(p config.Plugin) bool { return p.Name == name })
	if i < 0 {
		return config.Plugin{Name: name}
	}
	return c.cfg.Plugins[i]
}

// place is a directory in which programs are looked for.
type place struct {
	dir string
	// what says for people why it is looked into.
	what string
}

func (c *Catalog) places() []place {
	var places []place
	add := func(dir, what string) {
		if dir == "" || slices.ContainsFunc(places, func(p place) bool { return p.dir == filepath.Clean(dir) }) {
			return
		}
		places = append(places, place{filepath.Clean(dir), what})
	}
	add(c.cfg.SelfDir, "beside wring")
	for _, dir := range c.cfg.Dirs {
		add(dir, "plugin_dirs")
	}
	return places
}

func (c *Catalog) placesText() string {
	places := c.places()
	if len(places) == 0 {
		return "no directory is configured to look in"
	}
	texts := make([]string, len(places))
	for i, p := range places {
		texts[i] = p.dir + " (" + p.what + ")"
	}
	return "looked in " + strings.Join(texts, ", ")
}
