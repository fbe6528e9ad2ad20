package command

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wringdb/wring/core/api"
)

func newPause(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "pause [STORE...]",
		Short: "Pause the schedule of stores, or of all",
		Long: `Pause the schedule of stores, or of all.

Until wring resume, and over restarts of the host, they are not looked at by
themselves, and not overdue for that. What is under way goes on. A store can
still be compacted by hand. Pausing all holds for stores that are added later,
too.`,
		Example: `  wring pause              no store is looked at
  wring pause sessions     the others go on`,
		ValidArgsFunction: s.completeStores,
		RunE: func(c *cobra.Command, names []string) error {
			return s.changeSchedules(c.Context(), names, (*api.Client).Pause, "paused", "was paused before")
		},
	}
}

func newResume(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "resume [STORE...]",
		Short: "Let the schedule of stores, or of all, go on",
		Long: `Let the schedule of stores, or of all, go on. What has become due while it was
paused is due at once. Where all are paused, only all can go on.`,
		ValidArgsFunction: s.completeStores,
		RunE: func(c *cobra.Command, names []string) error {
			return s.changeSchedules(c.Context(), names, (*api.Client).Resume, "goes on", "was not paused")
		},
	}
}

// changeSchedules asks the host for each of names, or once for all, and says
// what has become of which store.
func (s *session) changeSchedules(
	ctx context.Context, names []string, change func(*api.Client, context.Context, string) ([]string, error), now, before string,
) error {
	client, err := s.client(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	all := len(names) == 0
	if all {
		names = []string{""}
	}
	changed := []string{}
	for _, name := range names {
		stores, err := change(client, ctx, name)
		if err != nil {
			return err
		}
		changed = append(changed, stores...)
		switch {
		case s.json:
		case len(stores) > 0:
			fmt.Fprintf(s.Out, "%s: %s\n", strings.Join(stores, ", "), now)
		case all:
			fmt.Fprintf(s.Out, "every store %s\n", before)
		default:
			fmt.Fprintf(s.Out, "%s %s\n", name, before)
		}
	}
	if s.json {
		return s.printJSON(api.Changed{Stores: changed})
	}
	return nil
}
