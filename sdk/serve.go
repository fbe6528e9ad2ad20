package sdk

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hashicorp/go-hclog"
)

// Serve is the main of a plugin: func main() { sdk.Serve(backend) }.
//
// Started by a host, it answers the host's calls until the host ends or says
// so. Started by a person:
//
//	PLUGIN describe            what it is, as JSON
//	PLUGIN -debug [PATH…]      listen without a host, to run under a debugger
//	PLUGIN -version
//	PLUGIN -h
//
// Before describe and -version there may be arguments of the program's own: a
// host gives it those that are configured as args in every call.
//
// The backend logs by hclog.FromContext(ctx); WRING_LOG_LEVEL sets the level.
// Serve returns when all went well, so that main can tidy up, and exits
// otherwise: 1 for a failure, 2 for wrong usage.
func Serve(b Backend) {
	p := &program{
		backend: guarded(b),
		name:    filepath.Base(os.Args[0]),
		stdout:  os.Stdout,
		stderr:  os.Stderr,
	}
	if code := p.run(os.Args[1:]); code != 0 {
		os.Exit(code)
	}
}

// program is a plugin's command line.
type program struct {
	backend        *guard
	name           string
	stdout, stderr io.Writer
}

func (p *program) run(args []string) (exitCode int) {
	if os.Getenv(HandshakeCookieKey) == HandshakeCookieValue {
		return servePlugin(p.backend, p.logger(true), termDrain)
	}
	first, last := "", ""
	if len(args) > 0 {
		first, last = strings.TrimLeft(args[0], "-"), strings.TrimLeft(args[len(args)-1], "-")
	}
	switch {
	case first == "debug":
		return p.debug(args[1:])
	case last == "describe":
		return p.describe()
	case last == "version":
		return p.version()
	case len(args) == 1 && (last == "h" || last == "help"):
		p.usage(p.stdout)
		return 0
	}
	p.usage(p.stderr)
	return 2
}

// logger writes to stderr: as JSON for a host, in words for a person.
func (p *program) logger(forHost bool) hclog.Logger {
	level := hclog.LevelFromString(os.Getenv(LogLevelEnv))
	if level == hclog.NoLevel {
		level = hclog.Info
	}
	return hclog.New(&hclog.LoggerOptions{Level: level, Output: p.stderr, JSONFormat: forHost})
}

func (p *program) usage(w io.Writer) {
	what := "a storage backend"
	if d, err := p.backend.Describe(context.Background()); err == nil {
		what = fmt.Sprintf("the %s backend", d.Engine)
	}
	fmt.Fprintf(w, `%[1]s is %[2]s of wring. The host starts it by itself:

  wring inspect PATH         how much a compaction would give back
  wring compact PATH         compact now
  wring run                  compact by schedule

By hand:

  %[1]s describe             print what it is and can do, as JSON
  %[1]s -debug [PATH…]       listen without a host, to run under a debugger
  %[1]s -version             print its version
`, p.name, what)
}

func (p *program) describe() (exitCode int) {
	d, err := p.backend.Describe(context.Background())
	if err != nil {
		return p.fail(err)
	}
	encoder := json.NewEncoder(p.stdout)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(d); err != nil {
		return p.fail(fmt.Errorf("print description: %w", err))
	}
	return 0
}

func (p *program) version() (exitCode int) {
	d, err := p.backend.Describe(context.Background())
	if err != nil {
		return p.fail(err)
	}
	fmt.Fprintf(p.stdout, "%s %s (engine %s, protocol %d)\n", d.Name, d.Version, d.Engine, d.ProtocolVersion)
	return 0
}

func (p *program) fail(err error) (exitCode int) {
	fmt.Fprintf(p.stderr, "%s: %v\n", p.name, err)
	if hint := HintOf(err); hint != "" {
		fmt.Fprintf(p.stderr, "  %s\n", hint)
	}
	return 1
}

// debug serves as an owner does, on a socket of its own, until Ctrl-C.
func (p *program) debug(paths []string) (exitCode int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx = hclog.WithContext(ctx, p.logger(false))
	d, err := p.backend.Describe(ctx)
	if err != nil {
		return p.fail(err)
	}
	stores, err := debugStores(p.backend.backend, paths)
	if err != nil {
		return p.fail(err)
	}
	dir, err := os.MkdirTemp("", "wring-debug-")
	if err != nil {
		return p.fail(fmt.Errorf("make a directory for the socket: %w", err))
	}
	defer os.RemoveAll(dir)
	o, err := listen(ctx, filepath.Join(dir, "owner.sock"), stores)
	if err != nil {
		return p.fail(err)
	}
	fmt.Fprintf(p.stdout, "%s %s listens without a host, as process %d.\n\n", d.Name, d.Version, os.Getpid())
	fmt.Fprintf(p.stdout, "Attach a debugger:\n\n  dlv attach %d\n\n", os.Getpid())
	fmt.Fprintf(p.stdout, "Let a host attach, by its configuration:\n\n%s\nCtrl-C ends it.\n", stores.blocks(o.socket))
	if err := o.serve(ctx); err != nil {
		return p.fail(err)
	}
	fmt.Fprintf(p.stderr, "%s: ended\n", p.name)
	return 0
}

// namedStores is a backend whose stores are known by name, as an owner's are.
type namedStores struct {
	Backend
	stores []Store
}

// debugStores names each path by its last element; the host may also name any
// other store by its absolute path.
func debugStores(b Backend, paths []string) (*namedStores, error) {
	n := &namedStores{Backend: b}
	taken := make(map[string]string)
	for _, path := range paths {
		absolute, err := filepath.Abs(path)
		if err != nil {
			return nil, fmt.Errorf("resolve path %s: %w", path, err)
		}
		name := strings.TrimSuffix(filepath.Base(absolute), filepath.Ext(absolute))
		if other, ok := taken[name]; ok {
			return nil, Errorf(ErrInvalidOption, "%s and %s are both named %q", other, absolute, name).
				WithHint("give one of them at a time")
		}
		taken[name] = absolute
		n.stores = append(n.stores, Store{Name: name, Path: absolute})
	}
	return n, nil
}

// blocks is what a host's configuration needs to attach.
func (n *namedStores) blocks(socket string) string {
	stores := n.stores
	if len(stores) == 0 {
		stores = []Store{{Name: "/ABSOLUTE/PATH/OF/THE/STORE"}}
	}
	var b strings.Builder
	for _, store := range stores {
		fmt.Fprintf(&b, "  store %q {\n    owner = %q\n  }\n", store.Name, socket)
	}
	return b.String()
}

func (n *namedStores) resolve(store Store) (Store, error) {
	if store.Path != "" {
		return store, nil
	}
	for _, s := range n.stores {
		if s.Name == store.Name {
			return s, nil
		}
	}
	if filepath.IsAbs(store.Name) {
		return Store{Name: store.Name, Path: store.Name}, nil
	}
	return Store{}, Errorf(ErrNotFound, "there is no store %q here", store.Name).
		WithHint("give its path after -debug, or name the store by its absolute path")
}

// Sweep lets the backend sweep, where it does.
func (n *namedStores) Sweep(ctx context.Context, store Store) ([]string, error) {
	if sweeper, ok := n.Backend.(Sweeper); ok {
		return sweeper.Sweep(ctx, store)
	}
	return nil, nil
}

// Stores lists what was given on the command line.
func (n *namedStores) Stores(context.Context) ([]Store, error) {
	return n.stores, nil
}

var (
	_ Backend     = (*namedStores)(nil)
	_ Sweeper     = (*namedStores)(nil)
	_ StoreLister = (*namedStores)(nil)
	_ resolver    = (*namedStores)(nil)
)
