package supervise

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/sdk"
)

// A process has the I/O priority of the store that it is leased for, also when
// it had another for the one before.
func TestLeaseHasThePriorityOfItsStore(t *testing.T) {
	r := newRig(t, nil)
	lease := func(priority sdk.IOPriority) *Lease {
		l, err := r.Acquire(t.Context(), config.Store{Name: "s", Plugin: "a", IOPriority: priority})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := lease(sdk.IOIdle)
	l.SetIOPriority(sdk.IONormal)
	l.SetIOPriority(sdk.IOIdle)
	l.Release()
	lease(sdk.IONormal).Release()
	first, second := lease(sdk.IOIdle), lease(sdk.IONormal)
	defer first.Release()
	defer second.Release()
	want := []sdk.IOPriority{sdk.IOIdle, sdk.IONormal, sdk.IOIdle, sdk.IONormal, sdk.IOIdle}
	if got := r.process(first).ranks(); !slices.Equal(got, want) {
		t.Errorf("the process that was used again: %q", got)
	}
	if got := r.process(second).ranks(); !slices.Equal(got, []sdk.IOPriority{sdk.IONormal}) {
		t.Errorf("the one beside it: %q", got)
	}
}

// A system that refuses is worth one line, and no more.
func TestPriorityThatIsRefused(t *testing.T) {
	var log strings.Builder
	r := newRig(t, func(c *Config) {
		c.Logger = hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Debug, DisableTime: true})
	})
	warm := r.acquire("a")
	p := r.process(warm)
	warm.Release()
	p.mu.Lock()
	p.refuses = errors.New("operation not permitted")
	p.mu.Unlock()
	log.Reset()
	l, err := r.Acquire(t.Context(), config.Store{Name: "s", Plugin: "a", IOPriority: sdk.IOIdle})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	const line = `[DEBUG] the plugin keeps its I/O priority: plugin=a pid=1000 wanted=idle error="operation not permitted"`
	if strings.TrimSpace(log.String()) != line {
		t.Errorf("the log says:\n%s", log.String())
	}
}
