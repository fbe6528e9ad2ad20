package command

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/wringdb/wring/sdk"
)

func newVersion(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of wring and of its plugin protocol",
		Args:  args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version     string `json:"version"`
				ProtocolMin int    `json:"protocol_min"`
				ProtocolMax int    `json:"protocol_max"`
				Go          string `json:"go"`
				Platform    string `json:"platform"`
			}{s.version, sdk.ProtocolMin, sdk.ProtocolMax, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			if s.json {
				return s.printJSON(v)
			}
			fmt.Fprintf(s.Out, "wring %s (protocol %d, %s, %s)\n", v.Version, v.ProtocolMax, v.Go, v.Platform)
			return nil
		},
	}
}
