package live

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// envOpen makes the test binary another process that tries to open a store.
const envOpen = "PEBBLE_LIVE_TEST_OPEN"

func TestMain(m *testing.M) {
	path := os.Getenv(envOpen)
	if path == "" {
		goleak.VerifyTestMain(m)
		return
	}
	db, err := pebbledb.Open(path, &pebbledb.Options{ErrorIfNotExists: true, FormatMajorVersion: pebbledb.FormatNewest, Logger: quiet{}})
	if err == nil {
		err = db.Close()
	}
	w := bufio.NewWriter(os.Stdout)
	fmt.Fprint(w, err)
	_ = w.Flush()
	os.Exit(0)
}

// openElsewhere says what another process gets that opens the store.
func openElsewhere(t *testing.T, path string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), envOpen+"="+path)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// opened is a store as its application has it.
type opened struct {
	db      *pebbledb.DB
	options *pebbledb.Options
	path    string
}

// open makes a store of a shape and opens it; adjust may be nil.
func open(t *testing.T, spec pebbletest.Spec, adjust func(*pebbledb.Options)) *opened {
	t.Helper()
	o := &opened{options: options(), path: filepath.Join(t.TempDir(), "store")}
	if err := pebbletest.Generate(o.path, spec); err != nil {
		t.Fatal(err)
	}
	if adjust != nil {
		adjust(o.options)
	}
	o.open(t)
	return o
}

// openInMemory opens a new store that is on no disk.
func openInMemory(t *testing.T, adjust func(*pebbledb.Options)) *opened {
	t.Helper()
	o := &opened{options: options(), path: "db"}
	o.options.FS = vfs.NewMem()
	if adjust != nil {
		adjust(o.options)
	}
	o.open(t)
	return o
}

func (o *opened) open(t *testing.T) {
	t.Helper()
	db, err := pebbledb.Open(o.path, o.options)
	if err != nil {
		t.Fatal(err)
	}
	o.db = db
	t.Cleanup(func() { o.close(t) })
}

// close does nothing the second time.
func (o *opened) close(t *testing.T) {
	t.Helper()
	if o.db == nil {
		return
	}
	db := o.db
	o.db = nil
	if err := db.Close(); err != nil {
		t.Errorf("close the store: %v", err)
	}
}

// backend serves the store, guarded as it is behind a socket.
func (o *opened) backend(t *testing.T) sdk.Backend {
	t.Helper()
	b, err := New(Store{Name: "events", DB: o.db, Options: o.options})
	if err != nil {
		t.Fatal(err)
	}
	return sdk.Guard(b)
}

func (o *opened) set(t *testing.T, from, to int, value string) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := o.db.Set(pebbletest.Key(i), []byte(value), pebbledb.NoSync); err != nil {
			t.Fatal(err)
		}
	}
}

var events = sdk.Store{Name: "events"}

func compact(t *testing.T, b sdk.Backend) sdk.CompactResult {
	t.Helper()
	result, err := b.Compact(t.Context(), sdk.CompactRequest{Store: events}, func(sdk.Progress) {})
	if err != nil {
		t.Fatalf("compact: %v (hint %q)", err, sdk.HintOf(err))
	}
	return result
}

func measure(t *testing.T, b sdk.Backend, depth sdk.Depth) sdk.Fragmentation {
	t.Helper()
	f, err := b.Fragmentation(t.Context(), sdk.FragmentationRequest{Store: events, Depth: depth})
	if err != nil {
		t.Fatalf("measure, %s: %v", depth, err)
	}
	return f
}

func wantKind(t *testing.T, what string, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%s: error %v, want %v", what, err, kind)
	}
}

func measureStore(ctx context.Context, b sdk.Backend, s sdk.Store) error {
	_, err := b.Fragmentation(ctx, sdk.FragmentationRequest{Store: s})
	return err
}

func compactStore(ctx context.Context, b sdk.Backend, s sdk.Store) error {
	_, err := b.Compact(ctx, sdk.CompactRequest{Store: s}, func(sdk.Progress) {})
	return err
}

// quiet keeps Pebble's chatter out of tests.
type quiet struct{}

func (quiet) Infof(string, ...any)           {}
func (quiet) Errorf(string, ...any)          {}
func (quiet) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }
