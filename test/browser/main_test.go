package browser

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// What all tests share: the programs, and one browser.
var (
	programs string // the directory of wring and its plugins
	stores   string // the directory of the stores that generate has made
	browser  context.Context
)

// pictures is where screenshots go.
const pictures = "../../bench/out/screenshots"

func TestMain(m *testing.M) {
	status, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "browser tests:", err)
		status = 1
	}
	os.Exit(status)
}

func run(m *testing.M) (status int, err error) {
	if err := os.MkdirAll(pictures, 0o750); err != nil {
		return 0, err
	}
	programs, err = os.MkdirTemp("", "wring-browser")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(programs) }()
	for name, pkg := range map[string]string{
		"wring": "./cmd/host", "wring-plugin-bolt": "./plugins/bolt/cmd/wring-plugin-bolt",
		"wring-plugin-pebble": "./plugins/pebble/cmd/wring-plugin-pebble",
	} {
		// As make build does, so that little is compiled twice.
		build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", filepath.Join(programs, name), pkg)
		build.Dir = "../.."
		if said, err := build.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("build %s: %w\n%s", name, err, said)
		}
	}

	stores, err = os.MkdirTemp("", "wring-browser-stores")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(stores) }()
	if err := generate(stores); err != nil {
		return 0, err
	}

	profile, err := os.MkdirTemp("", "wring-browser-profile")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(profile) }()
	allocator, stop := chromedp.NewExecAllocator(context.Background(), browserOptions(profile)...)
	defer stop()
	// Chromium says much about the machine that it runs on.
	quiet := func(string, ...any) {}
	opened, closeBrowser := chromedp.NewContext(allocator, chromedp.WithLogf(quiet), chromedp.WithErrorf(quiet))
	defer closeBrowser()
	if err := chromedp.Do(opened); err != nil {
		return 0, fmt.Errorf("start chromium (apt-get install chromium): %w", err)
	}
	browser = opened //nolint:fatcontext // it is opened once, and there is no loop
	return m.Run(), nil
}

func browserOptions(profile string) []chromedp.ExecAllocatorOption {
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.UserDataDir(profile),
		chromedp.Flag("headless", "new"),
		chromedp.Flag("no-sandbox", os.Getuid() == 0),
		chromedp.Flag("disable-gpu", true),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.WindowSize(1280, 800),
	)
	if path, err := exec.LookPath("chromium"); err == nil {
		options = append(options, chromedp.ExecPath(path))
	}
	return options
}

// eventually waits until condition holds, and fails with what it is when it
// does not in time.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		time.Sleep(20 * time.Millisecond) // between looks, not instead of them
	}
}

// slug is a name as a file has it.
func slug(name string) string {
	return strings.ToLower(strings.NewReplacer(" ", "-", "/", "-").Replace(name))
}
