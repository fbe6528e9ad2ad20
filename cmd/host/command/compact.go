package command

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/wringdb/wring/core/api"
	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/sdk"
)

type compactOptions struct {
	all    bool
	force  bool
	plugin string
	mode   string
}

func newCompact(s *session) *cobra.Command {
	var o compactOptions
	c := &cobra.Command{
		Use:   "compact STORE...|PATH...|--all",
		Short: "Compact now what is worth it",
		Long: `Compact now what is worth it, and show what came of it.

A STORE is compacted by the running host; a PATH needs no configuration and no
host. The policy decides as it does for a scheduled run, except that --force
passes over thresholds and windows (never over safety). Ctrl-C cancels: the
store loses nothing.

With --json one argument gives one result; several, or --all, give the run
with a list under "results".

Exit status: 0 done or rightly skipped, 1 something failed, 2 wrong usage (such
as a mode that a backend does not have: nothing is compacted then), 3 deferred
(locked, no space), 130 interrupted. A compaction that somebody else cancels, such
as a host that ends, is not done: 1.`,
		Example: `  wring compact app.db
  wring compact --force sessions
  wring compact --mode rewrite sessions
  wring compact --all --json`,
		ValidArgsFunction: s.completeStores,
		RunE: func(c *cobra.Command, arguments []string) error {
			if o.all == (len(arguments) > 0) {
				return usagef("name stores or paths, or give --all, and not both").WithHint("usage: %s", c.UseLine())
			}
			ctx, stop := terminate(c.Context())
			defer stop()
			run, err := s.compact(ctx, arguments, o)
			if err != nil {
				return err
			}
			return s.showRun(run, len(arguments) == 1, ctx.Err() != nil)
		},
	}
	c.Flags().BoolVar(&o.all, "all", false, "every store of the running host")
	c.Flags().BoolVarP(&o.force, "force", "f", false, "pass over thresholds and windows, never over safety")
	c.Flags().StringVar(&o.mode, "mode", "", "how to compact, instead of as configured: a `MODE` that wring plugin describe shows")
	c.Flags().StringVar(&o.plugin, "plugin", "", "the backend of a PATH, instead of recognising it")
	return c
}

func (s *session) compact(ctx context.Context, arguments []string, o compactOptions) (history.Run, error) {
	if o.all {
		host, err := s.client(ctx)
		if err != nil {
			return history.Run{}, err
		}
		defer host.Close()
		return s.compactByHost(ctx, host, api.CompactRequest{All: true, Force: o.force, Mode: o.mode})
	}
	t, err := s.resolve(ctx, arguments)
	if err != nil {
		return history.Run{}, err
	}
	defer t.close()
	if len(t.stores) > 0 {
		return s.compactByHost(ctx, t.host, api.CompactRequest{Stores: t.stores, Force: o.force, Mode: o.mode})
	}
	return s.compactHere(ctx, t.paths, o)
}

// compactByHost asks the host and draws the events of the stores meanwhile.
// Hanging up cancels the run; the answer then is looked up once the host has
// cleaned up.
func (s *session) compactByHost(ctx context.Context, host *api.Client, req api.CompactRequest) (history.Run, error) {
	began := time.Now()
	run, err := s.askHost(ctx, host, req)
	if err == nil || ctx.Err() == nil {
		return run, err
	}
	if ended, found := endedSince(host, began, req); found {
		return ended, nil
	}
	return run, err
}

// cleanUpTimeout is how long a cancelled run is waited for.
const cleanUpTimeout = 20 * time.Second

// endedSince waits for the end of the run that was asked for at a time.
func endedSince(host *api.Client, began time.Time, req api.CompactRequest) (history.Run, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), cleanUpTimeout)
	defer cancel()
	asked := time.Now()
	idle := false
	for {
		runs, err := host.Runs(ctx, 5)
		if err != nil {
			return history.Run{}, false
		}
		for _, run := range runs {
			if run.Trigger == history.Manual && !run.StartedAt.Before(began) && isOf(run, req) {
				return run, true
			}
		}
		status, err := host.Status(ctx)
		if err != nil || idle && len(status.Running) == 0 {
			return history.Run{}, false // it never began
		}
		idle = len(status.Running) == 0
		select {
		case <-ctx.Done():
			return history.Run{}, false
		case <-time.After(pollAfter(time.Since(asked))):
		}
	}
}

// pollAfter is how long to wait before the host is asked again: most runs have
// ended within moments, and a status of many stores costs the host a while.
func pollAfter(waited time.Duration) time.Duration {
	if waited < time.Second {
		return 20 * time.Millisecond
	}
	return 200 * time.Millisecond
}

// isOf says whether a run is about the stores of a request.
func isOf(run history.Run, req api.CompactRequest) bool {
	for _, name := range req.Stores {
		if !slices.ContainsFunc(run.Results, func(r history.Result) bool { return r.Store == name || r.Configured == name }) {
			return false
		}
	}
	return true
}

func (s *session) askHost(ctx context.Context, host *api.Client, req api.CompactRequest) (history.Run, error) {
	if s.json {
		return host.Compact(ctx, req)
	}
	status, err := host.Status(ctx)
	if err != nil {
		return history.Run{}, err
	}
	following, stop := context.WithCancel(ctx)
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		d := s.newDisplay()
		defer d.close()
		// Bars are a service: losing them is not worth an error.
		_ = host.Events(following, status.LastEventID, func(e event.Event) error { d.show(e); return nil })
	}()
	run, err := host.Compact(ctx, req)
	stop()
	<-followed
	return run, err
}

// compactHere compacts paths in this process.
func (s *session) compactHere(ctx context.Context, paths []string, o compactOptions) (history.Run, error) {
	local, err := s.openLocal(ctx)
	if err != nil {
		return history.Run{}, err
	}
	defer local.close()
	stores := make([]config.Store, 0, len(paths))
	for _, path := range paths {
		store, err := local.store(ctx, o.plugin, path)
		if err != nil {
			return history.Run{}, err
		}
		stores = append(stores, store)
	}
	stopDrawing := local.draw(s.newDisplay())
	defer stopDrawing()
	return local.runner.Run(ctx, compaction.Request{Trigger: history.Manual, Stores: stores, Mode: o.mode, Manual: true, Force: o.force})
}

// showRun prints results and turns them into the exit status.
func (s *session) showRun(run history.Run, single, interrupted bool) error {
	switch {
	case s.json && single && len(run.Results) == 1:
		if err := s.printJSON(run.Results[0]); err != nil {
			return err
		}
	case s.json:
		run.Results = nonNil(run.Results)
		if err := s.printJSON(run); err != nil {
			return err
		}
	default:
		s.printRun(run)
	}
	if status := worst(run.Results, interrupted); status != exitDone {
		return outcomeError(status)
	}
	return nil
}

func (s *session) printRun(run history.Run) {
	t := newTable("STORE", "OUTCOME", "MODE", ">BEFORE", ">AFTER", ">RECLAIMED", ">TOOK", ">PAUSE", "VERIFIED")
	for _, r := range run.Results {
		t.add(r.Store, string(r.Outcome), orDash(r.Mode), size(r.TotalBytesBefore), size(r.TotalBytesAfter),
			signed(r.ReclaimedBytes), milliseconds(r.DurationMS), paused(r), verified(r))
	}
	t.print(s.Out)
	fmt.Fprintln(s.Out)
	for _, r := range run.Results {
		fmt.Fprintf(s.Out, "%s: %s\n", r.Store, r.Reason)
		s.printHint(r.Hint)
	}
	if len(run.Results) > 1 {
		fmt.Fprintf(s.Out, "\n%d stores in %s, %s given back\n", len(run.Results),
			span(run.FinishedAt.Sub(run.StartedAt).Round(time.Millisecond)), sdk.FormatBytes(run.ReclaimedBytes))
	}
}

// paused is how long writers of the store were held up, which says something
// of what was compacted only.
func paused(r history.Result) string {
	if r.Outcome != history.Compacted && r.PauseMS == 0 {
		return "-"
	}
	return milliseconds(r.PauseMS)
}

func verified(r history.Result) string {
	if !r.Verified {
		return "-"
	}
	return fmt.Sprintf("%d items", r.Items)
}

// worst is the exit status for several results: a failure says more than a
// deferral, and an interruption more than either. What was cancelled by others, such
// as an owner that ends, was not done.
func worst(results []history.Result, interrupted bool) int {
	status := exitDone
	for _, r := range results {
		switch r.Outcome {
		case history.Cancelled:
			if interrupted {
				return exitInterrupted
			}
			status = exitFailed
		case history.Failed, history.Unknown:
			status = exitFailed
		case history.Deferred:
			if status == exitDone {
				status = exitDeferred
			}
		case history.Compacted, history.Skipped, history.NoOp:
		}
	}
	return status
}
