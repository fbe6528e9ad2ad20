package command

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/daemon"
	"github.com/wringdb/wring/sdk"
)

// firstConfiguration tells a newcomer what to write, and where.
func firstConfiguration() string {
	return fmt.Sprintf(`name one with --config, or write %s, such as:

    store "app" {
      plugin = "bolt"
      path   = "/var/lib/app/app.db"
    }`, strings.Join(config.DefaultPlaces(), " or "))
}

func newRun(s *session) *cobra.Command {
	var logJSON bool
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the host: look after the configured stores",
		Long: `Run the host: look after the configured stores until Ctrl-C or SIGTERM, which
cancels what is under way safely. wring reload, or SIGHUP, reads the configuration
again; when it is wrong, the old one stays in force and the log says why.

Logs go to standard error. The other verbs talk to the host over a socket in
its data directory.`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			file := s.configPath()
			if file == "" {
				return usagef("there is no configuration file").WithHint("%s", firstConfiguration())
			}
			ctx, stop := terminate(c.Context())
			defer stop()
			level := hclog.Info
			if s.verbose {
				level = hclog.Debug
			}
			err := daemon.Run(ctx, daemon.Config{
				File: file, Version: s.version, SelfDir: selfDir(),
				Logger: hclog.New(&hclog.LoggerOptions{Name: "wring", Level: level, Output: s.Err, JSONFormat: logJSON}),
			})
			if errors.Is(err, sdk.ErrBusy) {
				s.explain(err)
				return outcomeError(exitFailed) // another host is no deferral: nobody tries this one again
			}
			return err
		},
	}
	c.Flags().BoolVar(&logJSON, "log-json", false, "log in JSON")
	return c
}
