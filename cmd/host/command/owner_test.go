package command_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/wringdb/wring/sdk"
)

// serveOwner is an application that owns stores and serves them until it gets
// SIGTERM. Its stores are files as those of the plugin that misbehaves, and
// what is done to them is directed by files beside them:
//
//	FILE.hold   while it is there a compaction goes on
//	FILE.clean  while it is there a cancelled compaction cleans up
//	FILE.deaf   while it is there a measurement does not answer
//	FILE.log    has a line for each beginning and end of a compaction, and one
//	            that says "twice" if two run at once
//
// Unlisted, it has one store and does not say how it is called.
//
//	tool owner [-unlisted] SOCKET [STORE=]FILE...
func serveOwner(args []string) error {
	flags := flag.NewFlagSet("owner", flag.ExitOnError)
	unlisted := flags.Bool("unlisted", false, "do not list the stores")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	app := &application{files: make(map[string]string)}
	for _, store := range flags.Args()[1:] {
		name, file, named := strings.Cut(store, "=")
		if !named {
			name, file = "", store
		}
		app.files[name] = file
	}
	var backend sdk.Backend = app
	if !*unlisted {
		backend = listing{app}
	}
	return sdk.ListenAndServe(ctx, flags.Arg(0), backend)
}

// mute listens on a socket, accepts, and never says a word.
//
//	tool mute SOCKET
func mute(args []string) error {
	listener, err := net.Listen("unix", args[0])
	if err != nil {
		return err
	}
	var open []net.Conn // or they would be closed as garbage
	for {
		conn, err := listener.Accept()
		if err != nil {
			return fmt.Errorf("after %d connections: %w", len(open), err)
		}
		open = append(open, conn)
	}
}

// deadSocket leaves a socket behind, as a process that was killed does.
//
//	tool deadsocket SOCKET
func deadSocket(args []string) error {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: args[0], Net: "unix"})
	if err != nil {
		return err
	}
	listener.SetUnlinkOnClose(false)
	return listener.Close()
}

type application struct {
	files map[string]string // by the name of the store

	mu   sync.Mutex
	busy int // compactions under way
}

// listing is an application that says which stores it has.
type listing struct{ *application }

var (
	_ sdk.Backend     = (*application)(nil)
	_ sdk.StoreLister = listing{}
)

// Stores are without paths: the application alone knows where they are.
func (l listing) Stores(context.Context) ([]sdk.Store, error) {
	var stores []sdk.Store
	for name := range l.files {
		stores = append(stores, sdk.Store{Name: name})
	}
	slices.SortFunc(stores, func(a, b sdk.Store) int { return strings.Compare(a.Name, b.Name) })
	return stores, nil
}

func (a *application) file(store sdk.Store) (string, error) {
	file, ok := a.files[store.Name]
	if !ok {
		file, ok = a.files[""]
	}
	if !ok {
		return "", sdk.Errorf(sdk.ErrNotFound, "the application has no store %q", store.Name)
	}
	return file, nil
}

// Describe is the same whatever the stores.
func (a *application) Describe(context.Context) (sdk.Description, error) {
	return sdk.Description{
		Name: "shop", Version: "2.1.0", Engine: "badstore",
		Capabilities: sdk.Capabilities{Modes: []string{"live"}},
	}, nil
}

// Fragmentation says that 8 of 10 MiB are free until the store was compacted.
func (a *application) Fragmentation(ctx context.Context, req sdk.FragmentationRequest) (sdk.Fragmentation, error) {
	file, err := a.file(req.Store)
	if err != nil {
		return sdk.Fragmentation{}, err
	}
	if err := whileThere(ctx, file+".deaf", func() {}); err != nil {
		return sdk.Fragmentation{}, err
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return sdk.Fragmentation{}, err
	}
	if bytes.HasSuffix(content, []byte("compacted\n")) {
		return sdk.Fragmentation{TotalBytes: 2 << 20, AllocatedBytes: 2 << 20, LiveBytes: 2 << 20}, nil
	}
	return sdk.Fragmentation{TotalBytes: 10 << 20, AllocatedBytes: 10 << 20, LiveBytes: 2 << 20, ReclaimableBytes: 8 << 20}, nil
}

// Compact takes as long as the script wants.
func (a *application) Compact(ctx context.Context, req sdk.CompactRequest, report func(sdk.Progress)) (sdk.CompactResult, error) {
	file, err := a.file(req.Store)
	if err != nil {
		return sdk.CompactResult{}, err
	}
	defer a.enter(file)()
	if err := whileThere(ctx, file+".hold", func() { report(sdk.Progress{Phase: "catch_up", Done: 1, Total: 4, Unit: "rounds"}) }); err != nil {
		// That the context has ended is no reason to leave things lying about.
		_ = whileThere(context.WithoutCancel(ctx), file+".clean", func() {})
		return sdk.CompactResult{}, err
	}
	if err := os.WriteFile(file, []byte("BADSTORE compacted\n"), 0o600); err != nil {
		return sdk.CompactResult{}, err
	}
	return sdk.CompactResult{
		Before:         sdk.Size{TotalBytes: 10 << 20, AllocatedBytes: 10 << 20},
		After:          sdk.Size{TotalBytes: 2 << 20, AllocatedBytes: 2 << 20},
		ReclaimedBytes: 8 << 20, Duration: 1500 * time.Millisecond, Pause: 2300 * time.Microsecond,
	}, nil
}

// enter notes in FILE.log that a compaction begins, and with leave that it ends.
func (a *application) enter(file string) (leave func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.busy++
	a.note(file, "begin")
	if a.busy > len(a.files) {
		a.note(file, "twice")
	}
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.busy--
		a.note(file, "end")
	}
}

func (a *application) note(file, what string) {
	log, err := os.OpenFile(file+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer log.Close()
	fmt.Fprintf(log, "%s in %d\n", what, os.Getpid())
}

// whileThere returns when a file is not there, or with the error of ctx.
func whileThere(ctx context.Context, file string, f func()) error {
	for {
		if _, err := os.Lstat(file); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		f()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}
