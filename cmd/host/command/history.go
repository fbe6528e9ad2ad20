package command

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/wringdb/wring/core/api"
	"github.com/wringdb/wring/core/history"
	"github.com/wringdb/wring/sdk"
)

func newHistory(s *session) *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use:   "history [STORE]",
		Short: "Show the last runs, or the last results of one store",
		Long: `Show the last runs, newest first, or the last results of one store.

Without a running host the history is read from the data directory.`,
		Args:              args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: s.completeStores,
		RunE: func(c *cobra.Command, names []string) error {
			if limit < 1 {
				return usagef("--limit must be at least 1, not %d", limit)
			}
			past, err := s.openPast(c.Context())
			if err != nil {
				return err
			}
			defer past.close()
			if len(names) == 1 {
				return s.showResults(past, names[0], limit)
			}
			return s.showRuns(past, limit)
		},
	}
	c.Flags().IntVarP(&limit, "limit", "n", 20, "show at most so many")
	return c
}

// past is where runs and results are read from: a host, or its file.
type past struct {
	runs func(n int) ([]history.Run, error)
	// stores are the names for which there may be results.
	stores  func() ([]string, error)
	results func(store string, n int) ([]history.Result, error)
	close   func()
}

// openPast asks the running host, or opens the file of one that is not running.
func (s *session) openPast(ctx context.Context) (past, error) {
	c, err := s.loadConfig(ctx)
	if err != nil {
		return past{}, err
	}
	dir := c.DataDir
	client := api.NewClient(api.SocketPath(dir))
	_, err = client.Health(ctx)
	if err == nil {
		return past{
			runs: func(n int) ([]history.Run, error) { return client.Runs(ctx, n) },
			results: func(store string, n int) ([]history.Result, error) {
				results, err := client.Results(ctx, store, n)
				if errors.Is(err, sdk.ErrNotFound) {
					return nil, nil // knows says more of it
				}
				return results, err
			},
			stores: func() ([]string, error) {
				status, err := client.Status(ctx)
				return stores(status.Stores).names(), err
			},
			close: client.Close,
		}, nil
	}
	client.Close()
	if !errors.Is(err, api.ErrNoHost) {
		return past{}, err
	}
	db, err := history.OpenReadOnly(filepath.Join(dir, history.FileName))
	if errors.Is(err, sdk.ErrNotFound) {
		return past{}, sdk.Errorf(sdk.ErrNotFound, "no history in %s: no host has run with this data directory", dir).
			WithHint("start one with: wring run; or name its configuration with --config")
	}
	if err != nil {
		return past{}, err
	}
	return past{
		runs: db.Runs, results: db.Results,
		stores: func() ([]string, error) {
			pasts, err := db.Pasts()
			names := slices.Sorted(maps.Keys(pasts))
			for _, store := range c.Stores {
				names = append(names, store.Name)
			}
			return names, err
		},
		close: func() { _ = db.Close() },
	}, nil
}

// knows makes sure that a store without results is no slip of the pen.
func (p past) knows(store string) error {
	names, err := p.stores()
	if err != nil || slices.Contains(names, store) {
		return err
	}
	return sdk.Errorf(sdk.ErrNotFound, "%s: neither the host nor its history has a store of that name", store).
		WithHint("%s", meant(store, names, "see the stores that it has with: wring status, and what they had in it with: wring history"))
}

func (s *session) showRuns(p past, limit int) error {
	runs, err := p.runs(limit)
	if err != nil {
		return err
	}
	if s.json {
		return s.printJSON(struct {
			Runs []history.Run `json:"runs"`
		}{nonNil(runs)})
	}
	now := time.Now()
	t := newTable("RUN", "STARTED", "WHY", ">TOOK", "STORE", "OUTCOME", ">RECLAIMED", ">PAUSE", "REASON")
	for _, run := range runs {
		for i, result := range run.Results {
			id, started, why, took := run.ID, ago(run.StartedAt, now), string(run.Trigger), ""
			if !run.FinishedAt.IsZero() {
				took = span(run.FinishedAt.Sub(run.StartedAt))
			}
			if i > 0 {
				id, started, why, took = "", "", "", ""
			}
			t.add(id, started, why, took, result.Store, string(result.Outcome), signed(result.ReclaimedBytes), paused(result), result.Reason)
		}
	}
	t.print(s.Out)
	return nil
}

func (s *session) showResults(p past, store string, limit int) error {
	results, err := p.results(store, limit)
	if err == nil && len(results) == 0 {
		err = p.knows(store)
	}
	if err != nil {
		return err
	}
	if s.json {
		return s.printJSON(struct {
			Results []history.Result `json:"results"`
		}{nonNil(results)})
	}
	now := time.Now()
	t := newTable("FINISHED", "OUTCOME", ">BEFORE", ">AFTER", ">RECLAIMED", ">TOOK", ">PAUSE", "REASON")
	for _, r := range results {
		t.add(ago(r.FinishedAt, now), string(r.Outcome), size(r.TotalBytesBefore), size(r.TotalBytesAfter),
			signed(r.ReclaimedBytes), milliseconds(r.DurationMS), paused(r), r.Reason)
	}
	t.print(s.Out)
	return nil
}

// nonNil makes an empty list in JSON, where nil would be null.
func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
