package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/wringdb/wring/core/access"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/daemon"
	"github.com/wringdb/wring/sdk"
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
	// Warnings are what may be a mistake, and may as well be right later.
	Warnings []string `json:"warnings"`
}

func (s *session) checkConfig(c *cobra.Command) error {
	file := s.configPath()
	if file == "" {
		return usagef("there is no configuration file").WithHint("%s", firstConfiguration())
	}
	loaded, _, err := daemon.LoadConfig(c.Context(), file, selfDir(), s.version, s.logger())
	if err == nil {
		err = checkTLS(loaded)
	}
	var mistakes *config.Diagnostics
	switch {
	case errors.As(err, &mistakes) && s.json:
		if err := s.printJSON(configCheck{File: mistakes.File(), Diagnostics: mistakes.List(), Warnings: []string{}}); err != nil {
			return err
		}
		return outcomeError(exitUsage)
	case err != nil:
		return err
	case s.json:
		return s.printJSON(configCheck{
			File: loaded.File, OK: true,
			Stores: len(loaded.Stores), Plugins: len(loaded.Plugins), Diagnostics: []config.Diagnostic{},
			Warnings: warnings(loaded),
		})
	}
	fmt.Fprintf(s.Out, "%s is fine: %s, %s\n", loaded.File, counted(len(loaded.Stores), "store"), counted(len(loaded.Plugins), "plugin"))
	for _, warning := range warnings(loaded) {
		fmt.Fprintf(s.Out, "  warning: %s\n", warning)
	}
	return nil
}

// warnings are what may be a mistake.
func warnings(c *config.Config) []string { return append(absent(c.Stores), open(c.Listen)...) }

// open says what is doubtful in how the admin interface is reached over TCP.
func open(l *config.Listen) []string {
	if l == nil {
		return nil
	}
	var doubts []string
	if l.Exposed() {
		doubts = append(doubts, fmt.Sprintf("listen: %s can be reached from other machines, and without tls tokens can be read on their way", l.Address))
	}
	if err := tlsFiles(l).Check(); l.Certificate != "" && errors.Is(err, fs.ErrPermission) {
		doubts = append(doubts, err.Error()+": the host does not start if its user may not read them either")
	}
	return doubts
}

func tlsFiles(l *config.Listen) access.TLSFiles {
	return access.TLSFiles{Certificate: l.Certificate, Key: l.Key, ClientCA: l.ClientCA}
}

// checkTLS refuses a configuration with which no host starts. That the user who
// asks may not read a key is no mistake: others should not.
func checkTLS(c *config.Config) error {
	if c.Listen == nil || c.Listen.Certificate == "" {
		return nil
	}
	if err := tlsFiles(c.Listen).Check(); err != nil && !errors.Is(err, fs.ErrPermission) {
		return c.MistakeInTLS("the host does not start like this: "+err.Error(), sdk.HintOf(err))
	}
	return nil
}

// absent names the stores that are not there. Their applications may make them
// later, so that it is no mistake.
func absent(stores []config.Store) []string {
	warnings := []string{}
	for _, store := range stores {
		switch {
		case store.Path != "":
			if _, err := os.Stat(store.Path); errors.Is(err, fs.ErrNotExist) {
				warnings = append(warnings, fmt.Sprintf("store %q: there is no %s yet", store.Name, store.Path))
			} else if err != nil {
				warnings = append(warnings, fmt.Sprintf("store %q: %v", store.Name, err))
			}
		case store.Glob != "":
			if found, err := filepath.Glob(store.Glob); err == nil && len(found) == 0 {
				warnings = append(warnings, fmt.Sprintf("store %q: nothing matches %s yet", store.Name, store.Glob))
			}
		}
	}
	return warnings
}

// counted is "1 store", "2 stores".
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
