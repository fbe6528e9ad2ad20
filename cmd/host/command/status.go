package command

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/wringdb/wring/core/api"
)

func newStatus(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the running host: its stores, their health, and its plugins",
		Args:  args(cobra.NoArgs),
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
	stores := newTable("STORE", "PLUGIN", "HEALTH", "LAST OUTCOME", "LAST SUCCESS", "NEXT", "NOW")
	for _, store := range status.Stores {
		stores.add(store.Store, orDash(store.Plugin), string(store.State), orDash(string(store.LastOutcome)),
			ago(store.LastSuccessAt, now), until(store.NextAt, now), activity(store))
	}
	stores.print(s.Out)
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

// activity says what is being done to a store.
func activity(store api.StoreStatus) string {
	p := store.Active
	switch {
	case p == nil:
		return "-"
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
