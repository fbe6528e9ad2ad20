package command

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/daemon"
)

func newConfig(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Look at the configuration",
		Args:  aVerb,
		RunE:  s.help,
	}
	c.AddCommand(&cobra.Command{
		Use:   "check [FILE]",
		Short: "Say everything that is wrong with a configuration",
		Long: `Say everything that is wrong with a configuration, all at once.

The plugins it names are asked for the options that they take; nothing else runs.`,
		Args: args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"hcl"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(c *cobra.Command, files []string) error {
			if len(files) == 1 {
				s.configFile = files[0]
			}
			return s.checkConfig(c)
		},
	})
	return c
}

// configCheck is the JSON document of config check.
type configCheck struct {
	File        string              `json:"file"`
	OK          bool                `json:"ok"`
	Stores      int                 `json:"stores"`
	Plugins     int                 `json:"plugins"`
	Diagnostics []config.Diagnostic `json:"diagnostics"`
}

func (s *session) checkConfig(c *cobra.Command) error {
	file := s.configPath()
	if file == "" {
		return usagef("there is no configuration file").WithHint("name one: wring config check FILE")
	}
	loaded, _, err := daemon.LoadConfig(c.Context(), file, selfDir(), s.version, s.logger())
	var mistakes *config.Diagnostics
	switch {
	case errors.As(err, &mistakes) && s.json:
		if err := s.printJSON(configCheck{File: mistakes.File(), Diagnostics: mistakes.List()}); err != nil {
			return err
		}
		return outcomeError(exitUsage)
	case err != nil:
		return err
	case s.json:
		return s.printJSON(configCheck{
			File: loaded.File, OK: true,
			Stores: len(loaded.Stores), Plugins: len(loaded.Plugins), Diagnostics: []config.Diagnostic{},
		})
	}
	fmt.Fprintf(s.Out, "%s is fine: %d stores, %d plugins\n", loaded.File, len(loaded.Stores), len(loaded.Plugins))
	return nil
}
