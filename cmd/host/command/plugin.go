package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wringdb/wring/core/catalog"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/supervise"
	"github.com/wringdb/wring/sdk"
)

func newPlugin(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:   "plugin",
		Short: "Look at plugins, and pin their checksums",
		Args:  aVerb,
		RunE:  s.help,
	}
	c.AddCommand(newPluginList(s), newPluginDescribe(s), newPluginPin(s), newPluginVerify(s))
	return c
}

func newPluginList(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the plugins that are configured or found, and the owners that the host knows",
		Long: `List the plugins that are configured or found, and the applications that own
their stores, as far as the running host knows them.`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			plugins, err := s.plugins(c.Context())
			if err != nil {
				return err
			}
			list, owners := plugins.List(), s.owners(c.Context())
			if s.json {
				return s.printJSON(struct {
					Plugins []catalog.Found    `json:"plugins"`
					Owners  []supervise.Status `json:"owners"`
				}{nonNil(list), nonNil(owners)})
			}
			t := newTable("PLUGIN", "STATE", "CONFIGURED", "PINNED", "PROGRAM")
			for _, p := range list {
				t.add(p.Name, string(p.State), yesNo(p.Configured), yesNo(p.Pinned), orDash(p.Path))
			}
			t.print(s.Out)
			for _, p := range list {
				if p.Error != "" {
					fmt.Fprintf(s.Out, "\n%s: %s\n", p.Name, p.Error)
					s.printHint(p.Hint)
				}
			}
			if len(owners) > 0 {
				fmt.Fprintln(s.Out)
				s.printOwners(owners)
			}
			return nil
		},
	}
}

// owners are the applications that the running host knows; none without a host.
func (s *session) owners(ctx context.Context) []supervise.Status {
	host, err := s.client(ctx)
	if err != nil {
		return nil
	}
	defer host.Close()
	backends, err := host.Plugins(ctx)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(backends, func(b supervise.Status) bool { return b.Kind != supervise.KindOwner })
}

func (s *session) printOwners(owners []supervise.Status) {
	t := newTable("OWNER", "STATE", "BACKEND", "LAST ERROR")
	for _, o := range owners {
		backend := ""
		if o.Engine != "" {
			backend = fmt.Sprintf("%s (%s)", strings.TrimSpace(o.Backend+" "+o.Version), o.Engine)
		}
		t.add(o.Name, string(o.State), orDash(backend), orDash(o.LastError))
	}
	t.print(s.Out)
	for _, o := range owners {
		if o.LastError != "" && o.LastHint != "" {
			fmt.Fprintf(s.Out, "\n%s:\n", o.Name)
			s.printHint(o.LastHint)
		}
	}
}

func newPluginDescribe(s *session) *cobra.Command {
	return &cobra.Command{
		Use:               "describe PLUGIN",
		Short:             "Say what a plugin can do and which options it takes",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: s.completePlugins,
		RunE: func(c *cobra.Command, names []string) error {
			plugins, err := s.plugins(c.Context())
			if err != nil {
				return err
			}
			d, err := plugins.Describe(c.Context(), plugins.Plugin(names[0]))
			if err != nil {
				return cmp.Or(otherMeant(err, names[0], plugins), err)
			}
			if s.json {
				return s.printJSON(d)
			}
			s.printDescription(d)
			return nil
		},
	}
}

// otherMeant is the error of a plugin that is not there with the name of the one
// that was perhaps meant; nil where there is none.
func otherMeant(err error, name string, plugins *catalog.Catalog) error {
	var missing *sdk.Error
	if !errors.Is(err, catalog.ErrMissing) || !errors.As(err, &missing) {
		return nil
	}
	near := config.Nearest(name, pluginNames(plugins))
	if near == "" || near == name { // a configured one may be missing itself
		return nil
	}
	return missing.WithHint("did you mean %s?", near)
}

func (s *session) printDescription(d sdk.Description) {
	fmt.Fprintf(s.Out, "%s %s, for %s (protocol %d)\n", d.Name, d.Version, d.Engine, d.ProtocolVersion)
	fmt.Fprintf(s.Out, "  modes                  %s\n", strings.Join(d.Capabilities.Modes, ", "))
	fmt.Fprintf(s.Out, "  verifies content       %s\n", yesNo(d.Capabilities.Verifies))
	fmt.Fprintf(s.Out, "  measures without lock  %s\n", yesNo(d.Capabilities.MeasuresWithoutLock))
	fmt.Fprintf(s.Out, "  limits its rate        %s\n", yesNo(d.Capabilities.LimitsRate))
	if len(d.Options) == 0 {
		fmt.Fprintln(s.Out, "  takes no options")
		return
	}
	fmt.Fprintln(s.Out, "\noptions:")
	t := newTable("  NAME", "TYPE", "DEFAULT", "WHAT IT DOES")
	for _, o := range d.Options {
		value := "-"
		if o.Default != nil {
			value = fmt.Sprint(o.Default)
		}
		t.add("  "+o.Name, optionType(o), value, optionHelp(o))
	}
	t.print(s.Out)
}

func optionType(o sdk.Option) string {
	if o.Whole {
		return "whole number"
	}
	return string(o.Type)
}

// optionHelp is what an option does, and what it may be.
func optionHelp(o sdk.Option) string {
	help := o.Help
	if len(o.OneOf) > 0 {
		help += " One of " + strings.Join(o.OneOf, ", ") + "."
	}
	bound := func(v float64) string {
		switch o.Type {
		case sdk.TypeSize:
			return sdk.FormatBytes(int64(v))
		case sdk.TypeDuration:
			return time.Duration(v * float64(time.Second)).String()
		default:
			return fmt.Sprintf("%g", v)
		}
	}
	switch {
	case o.Min != nil && o.Max != nil:
		help += fmt.Sprintf(" From %s to %s.", bound(*o.Min), bound(*o.Max))
	case o.Min != nil:
		help += fmt.Sprintf(" At least %s.", bound(*o.Min))
	case o.Max != nil:
		help += fmt.Sprintf(" At most %s.", bound(*o.Max))
	}
	if len(o.Modes) > 0 {
		help += " For mode " + strings.Join(o.Modes, ", ") + "."
	}
	return help
}

func newPluginPin(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "pin PLUGIN|PROGRAM",
		Short: "Print the block of configuration that pins a plugin's program",
		Long: `Print the block of configuration that pins a plugin to the program that is
there now, for you to paste. A pinned program that has changed is not started.`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: s.completePlugins,
		RunE: func(c *cobra.Command, names []string) error {
			plugins, err := s.plugins(c.Context())
			if err != nil {
				return err
			}
			block, err := plugins.Pin(names[0])
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(struct {
					Block string `json:"block"`
				}{block})
			}
			fmt.Fprint(s.Out, block)
			return nil
		},
	}
}

func newPluginVerify(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "verify [PLUGIN...]",
		Short: "Check programs against their pinned checksums, and that they answer",
		RunE: func(c *cobra.Command, names []string) error {
			plugins, err := s.plugins(c.Context())
			if err != nil {
				return err
			}
			if len(names) == 0 {
				names = pluginNames(plugins)
			}
			return s.showChecks(verify(c.Context(), plugins, names))
		},
		ValidArgsFunction: s.completePlugins,
	}
}

// pluginCheck is what verify found for one plugin.
type pluginCheck struct {
	Plugin string `json:"plugin"`
	OK     bool   `json:"ok"`
	Pinned bool   `json:"pinned"`
	Error  string `json:"error,omitempty"`
	Hint   string `json:"hint,omitempty"`
}

func verify(ctx context.Context, plugins *catalog.Catalog, names []string) []pluginCheck {
	checks := make([]pluginCheck, 0, len(names))
	for _, name := range names {
		plugin := plugins.Plugin(name)
		check := pluginCheck{Plugin: name, OK: true, Pinned: plugin.SHA256 != ""}
		if _, err := plugins.Describe(ctx, plugin); err != nil {
			check.OK, check.Error, check.Hint = false, err.Error(), sdk.HintOf(err)
		}
		checks = append(checks, check)
	}
	return checks
}

func (s *session) showChecks(checks []pluginCheck) error {
	if s.json {
		document := struct {
			Plugins []pluginCheck `json:"plugins"`
		}{checks}
		if err := s.printJSON(document); err != nil {
			return err
		}
	}
	failed := false
	for _, check := range checks {
		failed = failed || !check.OK
		switch {
		case s.json:
		case check.OK:
			fmt.Fprintf(s.Out, "%s: fine (%s)\n", check.Plugin, pinState(check.Pinned))
		default:
			fmt.Fprintf(s.Out, "%s: %s\n", check.Plugin, check.Error)
			s.printHint(check.Hint)
		}
	}
	if failed {
		return outcomeError(exitFailed)
	}
	return nil
}

// plugins looks where the configuration says. Options are not checked: a
// plugin that does not answer must not hide the others.
func (s *session) plugins(ctx context.Context) (*catalog.Catalog, error) {
	loaded, err := s.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	return s.newCatalog(loaded), nil
}

// pluginNames are the plugins that would be used, each once.
func pluginNames(plugins *catalog.Catalog) []string {
	var names []string
	for _, p := range plugins.List() {
		if p.State != catalog.Shadowed {
			names = append(names, p.Name)
		}
	}
	return names
}

func (s *session) completePlugins(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	plugins, err := s.plugins(c.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return pluginNames(plugins), cobra.ShellCompDirectiveNoFileComp
}

// printPlugins shows the state of plugins and owners in a running host.
func (s *session) printPlugins(plugins []supervise.Status, now time.Time) {
	t := newTable("PLUGIN", "KIND", "STATE", "VERSION", ">PROCESS", ">RESTARTS", "UP", "LAST ERROR")
	for _, p := range plugins {
		process, up := "-", "-"
		if p.PID != 0 {
			process = fmt.Sprint(p.PID)
		}
		if !p.StartedAt.IsZero() && p.State == supervise.StateUp {
			up = span(now.Sub(p.StartedAt))
		}
		t.add(p.Name, string(p.Kind), string(p.State), orDash(p.Version), process, fmt.Sprint(p.Restarts), up, orDash(p.LastError))
	}
	t.print(s.Out)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func pinState(pinned bool) string {
	if pinned {
		return "checksum as pinned"
	}
	return "not pinned"
}
