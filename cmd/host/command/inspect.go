package command

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wringdb/wring/core/compaction"
	"github.com/wringdb/wring/sdk"
)

func newInspect(s *session) *cobra.Command {
	var depth, plugin, mode string
	c := &cobra.Command{
		Use:   "inspect PATH|STORE...",
		Short: "Measure how much compaction would give back",
		Long: `Measure how much compaction would give back, without changing a byte, and
without the lock where the engine allows it.

A PATH needs no configuration and no host: the engine is recognised from the
file. With --json one argument gives one document; several give a list under
"stores".`,
		Args:              args(cobra.MinimumNArgs(1)),
		ValidArgsFunction: s.completeStores,
		RunE: func(c *cobra.Command, arguments []string) error {
			if !slices.Contains(depths, depth) {
				return usagef("--depth must be one of %s, not %q", strings.Join(depths, ", "), depth)
			}
			inspections, err := s.inspect(c.Context(), arguments, plugin, sdk.Depth(depth), mode)
			if err != nil {
				return err
			}
			return s.showInspections(inspections)
		},
	}
	c.Flags().StringVar(&depth, "depth", string(sdk.DepthSampled), "how closely to look: "+strings.Join(depths, ", "))
	c.Flags().StringVar(&plugin, "plugin", "", "the backend of a PATH, instead of recognising it")
	c.Flags().StringVar(&mode, "mode", "", "what a compaction in that `MODE` would give back, instead of one as configured")
	must(c.RegisterFlagCompletionFunc("depth", cobra.FixedCompletions(depths, cobra.ShellCompDirectiveNoFileComp)))
	return c
}

var depths = []string{string(sdk.DepthQuick), string(sdk.DepthSampled), string(sdk.DepthExact)}

// inspect measures each argument. What cannot be measured is an error when it
// is the only one, and among several an entry that says so.
func (s *session) inspect(ctx context.Context, arguments []string, plugin string, depth sdk.Depth, mode string) ([]compaction.Inspection, error) {
	t, err := s.resolve(ctx, arguments)
	if err != nil {
		return nil, err
	}
	defer t.close()
	measure := func(name string) (compaction.Inspection, error) { return t.host.Inspect(ctx, name, depth, mode) }
	if len(t.paths) > 0 {
		local, err := s.openLocal(ctx)
		if err != nil {
			return nil, err
		}
		defer local.close()
		measure = func(path string) (compaction.Inspection, error) {
			store, err := local.store(ctx, plugin, path)
			if err != nil {
				return compaction.Inspection{}, err
			}
			store.Mode = mode
			return local.runner.Inspect(ctx, store, depth)
		}
	}
	targets := append(t.stores, t.paths...)
	inspections := make([]compaction.Inspection, 0, len(targets))
	for _, target := range targets {
		inspection, err := measure(target)
		if err != nil && (len(targets) == 1 || ctx.Err() != nil) {
			return nil, err
		}
		if err != nil {
			inspection = compaction.Inspection{Store: target, Error: err.Error(), Hint: sdk.HintOf(err)}
		}
		inspections = append(inspections, inspection)
	}
	return inspections, nil
}

func (s *session) showInspections(inspections []compaction.Inspection) error {
	switch {
	case s.json && len(inspections) == 1:
		return s.printJSON(inspections[0])
	case s.json:
		document := struct {
			Stores []compaction.Inspection `json:"stores"`
		}{inspections}
		if err := s.printJSON(document); err != nil {
			return err
		}
		return inspected(inspections)
	}
	for i, inspection := range inspections {
		if i > 0 {
			fmt.Fprintln(s.Out)
		}
		if inspection.Error != "" {
			fmt.Fprintf(s.Out, "%s: %s\n", inspection.Store, strings.TrimPrefix(inspection.Error, inspection.Store+": "))
			s.printHint(inspection.Hint)
			continue
		}
		printInspection(s.Out, inspection, s.Width)
	}
	return inspected(inspections)
}

// inspected is the exit status: a store that cannot be measured is a failure.
func inspected(inspections []compaction.Inspection) error {
	for _, inspection := range inspections {
		if inspection.Error != "" {
			return outcomeError(exitFailed)
		}
	}
	return nil
}

func printInspection(w io.Writer, i compaction.Inspection, width int) {
	fmt.Fprintf(w, "%s (%s)\n", i.Path, i.Engine)
	fmt.Fprintf(w, "  total        %s\n", sdk.FormatBytes(i.TotalBytes))
	fmt.Fprintf(w, "  allocated    %s\n", sdk.FormatBytes(i.AllocatedBytes))
	fmt.Fprintf(w, "  live         %s\n", sdk.FormatBytes(i.LiveBytes))
	fmt.Fprintf(w, "  reclaimable  %s, %s of what is allocated (%s)\n",
		sdk.FormatBytes(i.ReclaimableBytes), percent(i.Ratio), i.Method)
	if i.Mode != "" || i.Note != "" {
		fmt.Fprintf(w, "  compaction   %s\n", modeAndWhy(i.Mode, i.Note))
	}
	if o := i.Obstacle; o != nil {
		fmt.Fprintf(w, "  obstacle     %s\n", o.Error)
		if o.Hint != "" {
			fmt.Fprintf(w, "  hint         %s\n", o.Hint)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(i.Metrics)) {
		fmt.Fprintf(w, "  %-24s %s\n", name, metric(name, i.Metrics[name]))
	}
	if len(i.Layers) > 0 {
		printLayers(w, i.Layers, width)
	} else {
		printMap(w, i.Map, width)
	}
}

// metric writes a figure by the unit that its name begins or ends with.
func metric(name string, value float64) string {
	switch {
	case strings.HasPrefix(name, "bytes_"), strings.HasSuffix(name, "bytes"):
		return sdk.FormatBytes(int64(value))
	case strings.HasSuffix(name, "_ratio"):
		return percent(value)
	}
	return strconv.FormatFloat(value, 'f', -1, 64)
}
