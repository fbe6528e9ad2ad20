package command

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/wringdb/wring/core/event"
)

func newEvents(s *session) *cobra.Command {
	var recent bool
	c := &cobra.Command{
		Use:   "events",
		Short: "Follow what happens in the running host",
		Long: `Follow what happens in the running host, until Ctrl-C.

With --json each event is one line with one JSON document.`,
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
			since := status.LastEventID
			if recent {
				since = 0
			}
			err = client.Events(c.Context(), since, s.printEvent)
			s.json = false // from here on a document would be taken for an event
			if c.Context().Err() != nil {
				return nil // Ctrl-C is how one stops following
			}
			if err != nil {
				return err
			}
			return errors.New("the host has stopped")
		},
	}
	c.Flags().BoolVar(&recent, "recent", false, "begin with the events that the host still remembers")
	return c
}

func (s *session) printEvent(e event.Event) error {
	if s.json {
		return json.NewEncoder(s.Out).Encode(e)
	}
	_, err := fmt.Fprintln(s.Out, e)
	return err
}
