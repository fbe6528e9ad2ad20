package supervise

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wringdb/wring/core/catalog"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/sdk"
)

// TestMain lets the test binary stand in for plugins, by the name under which
// it is run, and for a host and an owner, by its first argument.
func TestMain(m *testing.M) {
	if behaviour, ok := strings.CutPrefix(filepath.Base(os.Args[0]), catalog.ProgramPrefix); ok {
		beAPlugin(behaviour)
		return
	}
	if len(os.Args) == 4 {
		switch os.Args[1] {
		case "be-a-host":
			beAHost(os.Args[2], os.Args[3])
			return
		case "be-an-owner":
			if err := sdk.ListenAndServe(context.Background(), os.Args[2], testBackend{name: os.Args[3]}); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	goleak.VerifyTestMain(m)
}

// beAPlugin serves, or misbehaves as its name says.
func beAPlugin(behaviour string) {
	switch behaviour {
	case "crash-at-start":
		for i := range 30 {
			fmt.Fprintln(os.Stderr, "line", i)
		}
		fmt.Fprintln(os.Stderr, "panic: cannot find my shoes")
		os.Exit(2)
	case "hang":
		time.Sleep(time.Hour)
	case "rubbish":
		fmt.Println("Welcome to ACME shell 3.0")
		time.Sleep(time.Hour)
	case "wrong-protocol":
		fmt.Println("1|99|unix|/nowhere|grpc|")
		time.Sleep(time.Hour)
	case "noisy":
		fmt.Fprintln(os.Stderr, `{"@level":3}`)
		fmt.Fprintln(os.Stderr, `{"@level":"info","@message":"opened","@module":"x","path":"/a"}`)
		fmt.Fprintln(os.Stderr, `{"@level":"warn","@message":"slow"}`)
		fmt.Fprintln(os.Stderr, strings.Repeat("long ", 100_000))
		fmt.Fprintln(os.Stderr, "ready")
	}
	sdk.Serve(testBackend{name: behaviour})
}

// testBackend crashes, hangs or tells of itself in its calls when the store's
// name says so.
type testBackend struct{ name string }

func (b testBackend) Describe(context.Context) (sdk.Description, error) {
	return sdk.Description{
		Name: b.name, Version: "1.0", Engine: "Test",
		Capabilities: sdk.Capabilities{Modes: []string{"copy"}},
	}, nil
}

func (b testBackend) Fragmentation(_ context.Context, req sdk.FragmentationRequest) (sdk.Fragmentation, error) {
	total := int64(3)
	switch req.Store.Name {
	case "environment":
		return sdk.Fragmentation{}, sdk.Errorf(sdk.ErrUnsupported, "%s", strings.Join(os.Environ(), "\n"))
	case "pid":
		total = int64(os.Getpid())
	}
	return sdk.Fragmentation{TotalBytes: total, AllocatedBytes: 2, LiveBytes: 1, ReclaimableBytes: 1, Method: sdk.MethodExact}, nil
}

func (b testBackend) Compact(ctx context.Context, req sdk.CompactRequest, report func(sdk.Progress)) (sdk.CompactResult, error) {
	report(sdk.Progress{Phase: "copy", Done: 1, Total: 2, Unit: "keys"})
	switch req.Store.Name {
	case "crash":
		go func() { panic("in the middle") }()
		<-ctx.Done()
	case "wait":
		<-ctx.Done()
		return sdk.CompactResult{}, ctx.Err()
	case "gate": // until there is a file
		for tick := time.NewTicker(2 * time.Millisecond); ; {
			if _, err := os.Stat(req.Store.Path); err == nil {
				break
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return sdk.CompactResult{}, ctx.Err()
			}
		}
	}
	return sdk.CompactResult{Before: sdk.Size{TotalBytes: 3, AllocatedBytes: 2}, After: sdk.Size{TotalBytes: 1, AllocatedBytes: 1}, ReclaimedBytes: 1}, nil
}

// beAHost starts a plugin, prints its pid, and stays until it is killed.
func beAHost(plugins, runtime string) {
	s := New(Config{Catalog: catalog.New(catalog.Config{SelfDir: plugins}), RuntimeDir: runtime})
	l, err := s.Acquire(context.Background(), config.Store{Name: "s", Plugin: "good"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go func() {
		_, err := l.Backend().Compact(context.Background(), sdk.CompactRequest{Store: sdk.Store{Name: "wait", Path: runtime + "/x"}}, func(sdk.Progress) {
			fmt.Println(s.Status()[0].PID)
		})
		fmt.Fprintln(os.Stderr, err)
	}()
	time.Sleep(time.Hour)
}
