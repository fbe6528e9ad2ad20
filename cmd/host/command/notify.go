package command

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/wringdb/wring/core/notify"
)

func newNotify(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:   "notify",
		Short: "See whether notifications arrive",
		Args:  aVerb,
		RunE:  s.help,
	}
	c.AddCommand(&cobra.Command{
		Use:   "test [NAME]",
		Short: "Send a test event to a notify block's target, or to all, and show the answer",
		Long: `Send an event "test" to the target of a notify block, or to all of them, and
show what they answer. It goes past the queue, and is not tried again.

The running host sends it, as it does with all events, by the configuration that
is in force in it.`,
		Args:              args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: s.completeNotify,
		RunE: func(c *cobra.Command, names []string) error {
			client, err := s.client(c.Context())
			if err != nil {
				return err
			}
			defer client.Close()
			answers, err := client.TestNotify(c.Context(), append(names, "")[0])
			if err != nil {
				return err
			}
			return s.printAnswers(answers)
		},
	})
	return c
}

// completeNotify offers the names of notify blocks.
func (s *session) completeNotify(c *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	loaded, err := s.loadConfig(c.Context())
	if err != nil || len(given) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, n := range loaded.Notify {
		names = append(names, n.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (s *session) printAnswers(answers []notify.Answer) error {
	failed := slices.ContainsFunc(answers, func(a notify.Answer) bool { return !a.OK })
	if s.json {
		err := s.printJSON(struct {
			Answers []notify.Answer `json:"answers"`
		}{answers})
		if err != nil {
			return err
		}
	} else {
		t := newTable("TARGET", "KIND", "TOLD", ">TOOK", "ANSWER")
		for _, a := range answers {
			told, text := "yes", orDash(a.Text)
			if !a.OK {
				told, text = "no", a.Error
			}
			t.add(a.Target, string(a.Kind), told, milliseconds(a.DurationMS), text)
		}
		t.print(s.Out)
		for _, a := range answers {
			s.printAnswer(a)
		}
	}
	if failed {
		return outcomeError(exitFailed)
	}
	return nil
}

// printAnswer shows what the table has no room for.
func (s *session) printAnswer(a notify.Answer) {
	if a.OK || a.Text == "" && a.Hint == "" {
		return
	}
	fmt.Fprintf(s.Out, "\n%s: %s\n", a.Target, cmp.Or(a.Text, a.Error))
	s.printHint(a.Hint)
}

// printUntold names the targets whose queue does not drain.
func (s *session) printUntold(targets []notify.Status, now time.Time) {
	for _, t := range targets {
		if t.Problem == "" {
			continue
		}
		next := "tried again " + until(t.NextTryAt, now)
		switch {
		case t.Stopped:
			next = "stopped until the configuration is read again"
		case t.Queued == 0:
			next = "nothing waits"
		}
		fmt.Fprintf(s.Out, "\nnotify %s: %s, %s; failing for %s: %s\n",
			t.Name, counted(t.Queued, "event")+waiting(t, now), next, span(now.Sub(t.FailingSince)), t.Problem)
		if t.Dropped > 0 {
			fmt.Fprintf(s.Out, "  %s dropped undelivered since the host started; its log says which\n", counted(int(min(t.Dropped, 1<<30)), "event"))
		}
		s.printHint("see what it answers with: wring notify test " + t.Name)
	}
}

func waiting(t notify.Status, now time.Time) string {
	if t.Queued == 0 {
		return " waiting"
	}
	return " waiting for up to " + span(now.Sub(t.OldestAt))
}
