package command

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/wringdb/wring/core/api"
	"github.com/wringdb/wring/sdk"
)

func newReload(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Let the running host read its configuration again",
		Long: `Let the running host read its configuration again, and say what is wrong with it.
Then the old one stays in force. What is being compacted goes on.

A new data_dir or listen block needs a restart of the host.`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := s.client(c.Context())
			if err != nil {
				return err
			}
			defer client.Close()
			if err := client.Reload(c.Context()); err != nil {
				if errors.Is(err, api.ErrNoHost) {
					return sdk.Errorf(api.ErrNoHost, "%w", err).
						WithHint("start one with: wring run; one that runs with another data_dir needs a restart to take this one")
				}
				return err
			}
			status, err := client.Status(c.Context())
			if err != nil {
				return err
			}
			return s.printReloaded(status)
		},
	}
}

// reloaded is the JSON document of reload.
type reloaded struct {
	File   string `json:"file"`
	Stores int    `json:"stores"`
}

func (s *session) printReloaded(status api.Status) error {
	configured := map[string]bool{} // a store that was discovered is one of another's
	for _, store := range status.Stores {
		configured[cmp.Or(store.Configured, store.Store)] = true
	}
	r := reloaded{File: status.ConfigFile, Stores: len(configured)}
	if s.json {
		return s.printJSON(r)
	}
	fmt.Fprintf(s.Out, "%s is in force: %s\n", r.File, counted(r.Stores, "store"))
	return nil
}
