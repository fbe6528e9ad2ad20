package command

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/policy"
	"github.com/wringdb/wring/sdk"
)

func newPlan(s *session) *cobra.Command {
	var plugin, mode string
	c := &cobra.Command{
		Use:   "plan [PATH|STORE...]",
		Short: "Show what the next run would do to each store, and why",
		Long: `Show what the next run would do to each store, and why. Nothing is changed.

Without arguments every store of the running host is measured.

Exit status: 0 all could be measured, 1 some could not.`,
		ValidArgsFunction: s.completeStores,
		RunE: func(c *cobra.Command, arguments []string) error {
			plans, err := s.plan(c.Context(), arguments, plugin, mode)
			if err != nil {
				return err
			}
			return s.showPlans(plans)
		},
	}
	c.Flags().StringVar(&plugin, "plugin", "", "the backend of a PATH, instead of recognising it")
	c.Flags().StringVar(&mode, "mode", "", "what a compaction of a PATH in that `MODE` would do, instead of the usual one")
	return c
}

func (s *session) plan(ctx context.Context, arguments []string, plugin, mode string) ([]compaction.Plan, error) {
	ofStores := func() error {
		if mode == "" {
			return nil
		}
		return usagef("the next run compacts a STORE in its own mode: `wring inspect --mode %s` says what another one would give back", mode)
	}
	if len(arguments) == 0 {
		if err := ofStores(); err != nil {
			return nil, err
		}
		host, err := s.client(ctx)
		if err != nil {
			return nil, err
		}
		defer host.Close()
		return host.Plan(ctx, nil)
	}
	t, err := s.resolve(ctx, arguments)
	if err != nil {
		return nil, err
	}
	defer t.close()
	if len(t.stores) > 0 {
		if err := ofStores(); err != nil {
			return nil, err
		}
		return t.host.Plan(ctx, t.stores)
	}
	local, err := s.openLocal(ctx)
	if err != nil {
		return nil, err
	}
	defer local.close()
	stores := make([]config.Store, 0, len(t.paths))
	for _, path := range t.paths {
		store, err := local.store(ctx, plugin, path)
		if err != nil {
			return nil, err
		}
		store.Mode = mode
		stores = append(stores, store)
	}
	return local.runner.Plan(ctx, stores)
}

func (s *session) showPlans(plans []compaction.Plan) error {
	if s.json {
		document := struct {
			Stores []compaction.Plan `json:"stores"`
		}{nonNil(plans)}
		if err := s.printJSON(document); err != nil {
			return err
		}
		return planned(plans)
	}
	now := time.Now()
	t := newTable("STORE", "ACTION", "MODE", ">ALLOCATED", ">RECLAIMABLE", ">RATIO", "DUE", "WHY")
	for _, p := range plans {
		mode := "-"
		if p.Action == string(policy.Compact) {
			mode = orDash(p.Mode)
		}
		t.add(p.Store, p.Action, mode, sdk.FormatBytes(p.AllocatedBytes), sdk.FormatBytes(p.PredictedBytes),
			percent(p.Ratio), until(p.NextAt, now), p.Reason)
	}
	t.print(s.Out)
	for _, p := range plans {
		if p.ModeReason != "" && p.Action == string(policy.Compact) {
			fmt.Fprintf(s.Out, "%s: %s\n", p.Store, modeAndWhy(p.Mode, p.ModeReason))
		}
		for _, warning := range p.Warnings {
			fmt.Fprintf(s.Out, "%s: warning: %s\n", p.Store, warning)
		}
		if p.Hint != "" {
			fmt.Fprintf(s.Out, "%s: hint: %s\n", p.Store, p.Hint)
		}
	}
	return planned(plans)
}

// modeAndWhy is "mode punch: there is no room for a rewrite", or what is known
// of it.
func modeAndWhy(mode, reason string) string {
	switch {
	case mode == "":
		return reason
	case reason == "":
		return "mode " + mode
	}
	return fmt.Sprintf("mode %s: %s", mode, reason)
}

// planned is the exit status: a store that cannot be measured is a failure.
func planned(plans []compaction.Plan) error {
	for _, p := range plans {
		if p.Action == "error" {
			return outcomeError(exitFailed)
		}
	}
	return nil
}
