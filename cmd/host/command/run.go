package command

import (
	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/wringdb/wring/core/daemon"
)

func newRun(s *session) *cobra.Command {
	var logJSON bool
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the host: look after the configured stores",
		Long: `Run the host: look after the configured stores until Ctrl-C or SIGTERM, which
cancels what is under way safely. SIGHUP reads the configuration again; when it
is wrong, the old one stays in force and the log says why.

Logs go to standard error. The other verbs talk to the host over a socket in
its data directory.`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			file := s.configPath()
			if file == "" {
				return usagef("there is no configuration file").
					WithHint("name one with --config")
			}
			ctx, stop := terminate(c.Context())
			defer stop()
			level := hclog.Info
			if s.verbose {
				level = hclog.Debug
			}
			return daemon.Run(ctx, daemon.Config{
				File: file, Version: s.version, SelfDir: selfDir(),
				Logger: hclog.New(&hclog.LoggerOptions{Name: "wring", Level: level, Output: s.Err, JSONFormat: logJSON}),
			})
		},
	}
	c.Flags().BoolVar(&logJSON, "log-json", false, "log in JSON")
	return c
}
