package command

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/wringdb/wring/core/api"
	"github.com/wringdb/wring/core/event"
	"github.com/wringdb/wring/sdk"
)

func newStatus(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the running host: its stores, their health and sizes, and its plugins",
		Long: `Show the running host: its stores, their health and sizes, and its plugins.

SIZE is what the file system held for a store when it was last measured, GROWTH
how fast it grows between compactions, and DISK FULL when the disk will be full
if all stores on it grow on like that and nothing is given back.`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := s.client(c.Context())
			if err != nil {
				return err
			}
			defer client.Close()
			status, err := client.Status(c.Context())
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(status)
			}
			s.printStatus(status, time.Now())
			return nil
		},
	}
}

func (s *session) printStatus(status api.Status, now time.Time) {
	fmt.Fprintf(s.Out, "wring %s, process %d, up %s, configuration %s\n\n",
		status.Version, status.PID, span(now.Sub(status.StartedAt)), orDash(status.ConfigFile))
	stores := newTable("STORE", "PLUGIN", "HEALTH", "LAST OUTCOME", "LAST SUCCESS", "NEXT")
	for _, store := range status.Stores {
		stores.add(store.Store, orDash(store.Plugin), string(store.State), orDash(string(store.LastOutcome)),
			ago(store.LastSuccessAt, now), next(store, now))
	}
	stores.print(s.Out)
	for _, store := range status.Stores {
		if store.Active != nil {
			fmt.Fprintf(s.Out, "\n%s: %s\n", store.Store, activity(*store.Active))
		}
	}
	s.printFigures(status, now)
	for _, store := range status.Stores {
		if store.Problem != "" {
			fmt.Fprintf(s.Out, "\n%s: %s\n", store.Store, store.Problem)
			s.printHint(store.Hint)
		}
	}
	s.printUntold(status.Notify, now)
	if len(status.Plugins) > 0 {
		fmt.Fprintln(s.Out)
		s.printPlugins(status.Plugins, now)
	}
}

// printFigures shows how large the stores are that were measured, in a table of
// its own: one would be too wide.
func (s *session) printFigures(status api.Status, now time.Time) {
	figures := newTable("STORE", ">SIZE", ">RECLAIMABLE", ">GROWTH/DAY", ">DISK FREE", "DISK FULL")
	for _, store := range status.Stores {
		if store.AllocatedBytes == nil {
			continue
		}
		figures.add(store.Store, sdk.FormatBytes(*store.AllocatedBytes), bytesOrDash(store.ReclaimableBytes),
			bytesOrDash(store.GrowthBytesPerDay), bytesOrDash(store.DiskFreeBytes), until(store.FullAt, now))
	}
	if len(figures.rows) > 0 {
		fmt.Fprintln(s.Out)
		figures.print(s.Out)
	}
	if status.ReclaimedBytesTotal > 0 {
		fmt.Fprintf(s.Out, "\n%s given back so far\n", sdk.FormatBytes(status.ReclaimedBytesTotal))
	}
}

func bytesOrDash(n *int64) string {
	if n == nil {
		return "-"
	}
	return sdk.FormatBytes(*n)
}

// next says when a store is due.
func next(store api.StoreStatus, now time.Time) string {
	if !store.PausedAt.IsZero() {
		return "paused"
	}
	return until(store.NextAt, now)
}

// activity says what is being done to a store.
func activity(p event.Progress) string {
	switch {
	case p.Total > 0 && p.Left() != "":
		return fmt.Sprintf("%s %d %%, %s", p.Phase, p.Done*100/p.Total, p.Left())
	case p.Total > 0:
		return fmt.Sprintf("%s %d %%", p.Phase, p.Done*100/p.Total)
	case p.Phase == "":
		return "starting"
	}
	return p.Phase
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
