// Package command is wring's command line, one file for each verb.
package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/wringdb/wring/core/api"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/sdk"
)

// Exit statuses, the same for every verb.
const (
	exitDone        = 0   // done, or rightly skipped
	exitFailed      = 1   // something failed
	exitUsage       = 2   // wrong usage or configuration
	exitDeferred    = 3   // not possible now: locked, no space, window
	exitInterrupted = 130 // Ctrl-C
)

// Main runs one command line and returns its exit status.
func Main(version string, args []string, streams Streams) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for the clean-up

	s := &session{version: version, Streams: streams}
	root := newRoot(s)
	root.SetArgs(args)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		// What stands behind the mistake was not parsed.
		s.json = s.json || asksForJSON(args)
		return usagef("%s", inOurWords(err)).WithHint("see: %s --help", c.CommandPath())
	})
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	s.explain(err)
	if ctx.Err() != nil {
		return exitInterrupted
	}
	return exitStatus(err)
}

// session is what the verbs share for the length of one command line.
type session struct {
	Streams
	version string
	// The global flags.
	configFile string
	json       bool
	verbose    bool
}

func newRoot(s *session) *cobra.Command {
	root := &cobra.Command{
		Use:   "wring",
		Short: "Give the dead space in embedded databases back",
		Long: `wring gives the dead space in embedded databases (bbolt, Pebble) back.

A host looks after the stores of a configuration: it measures each on its
schedule, compacts what is worth it, one after another, and remembers what
happened. A path needs neither host nor configuration.`,
		Example: `  wring inspect app.db       how much would compaction give back?
  wring compact app.db       compact it now
  wring run                  look after the configured stores
  wring plan                 what would the next run do, and why?`,
		Version:       s.version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          aVerb,
		RunE:          s.help,
	}
	flags := root.PersistentFlags()
	flags.StringVarP(&s.configFile, "config", "c", "", "configuration file (default: $WRING_CONFIG, then wring/wring.hcl in the user's configuration directory, then /etc/wring/wring.hcl)")
	flags.BoolVar(&s.json, "json", false, "print one JSON document and nothing else")
	flags.BoolVarP(&s.verbose, "verbose", "v", false, "log what is done, to standard error")
	must(root.MarkPersistentFlagFilename("config", "hcl"))
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	root.AddCommand(
		newRun(s), newInspect(s), newPlan(s), newCompact(s), newStatus(s), newHistory(s),
		newPause(s), newResume(s), newReload(s), newEvents(s), newNotify(s), newPlugin(s), newToken(s), newConfig(s), newVersion(s),
	)
	adoptHelp(root)
	adoptCompletion(s, root)
	return root
}

// adoptHelp makes cobra's own verb refuse what it cannot explain, as other verbs
// do.
func adoptHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	help, _, err := root.Find([]string{"help"})
	must(err)
	help.Use, help.Short = "help [VERB]", "Explain a verb"
	help.Long = "Explain a verb. What is printed is for people, with --json too."
	help.Run = nil
	help.RunE = func(c *cobra.Command, names []string) error {
		verb, rest, err := c.Root().Find(names)
		if err != nil {
			return usagef("%w", err)
		}
		if err := aVerb(verb, rest); err != nil {
			return err
		}
		verb.InitDefaultHelpFlag() // or it would not be listed
		return verb.Help()
	}
}

// adoptCompletion does the same for the verb that prints scripts for shells.
func adoptCompletion(s *session, root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	completion, _, err := root.Find([]string{"completion"})
	must(err)
	completion.Args, completion.RunE = aVerb, s.help
	for _, shell := range completion.Commands() {
		shell.Args = args(cobra.NoArgs)
	}
}

// asksForJSON looks for the flag where a command line could not be parsed.
func asksForJSON(args []string) bool {
	for _, arg := range args {
		switch arg {
		case "--":
			return false
		case "--json", "--json=true":
			return true
		}
	}
	return false
}

// inOurWords says what is wrong with the value of a flag without the words of
// the function that parsed it.
func inOurWords(err error) string {
	text := err.Error()
	var number *strconv.NumError
	if !errors.As(err, &number) {
		return text
	}
	wanted := "a number"
	switch {
	case number.Func == "ParseBool":
		wanted = "true or false"
	case errors.Is(err, strconv.ErrRange):
		wanted = "a smaller number"
	}
	return strings.TrimSuffix(text, number.Error()) + "it must be " + wanted
}

// must panics on a mistake in the program itself.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// errUsage marks a wrong command line.
var errUsage = errors.New("wrong usage")

// usagef makes an error that ends in the exit status for wrong usage.
func usagef(format string, args ...any) *sdk.Error {
	return sdk.Errorf(errUsage, format, args...)
}

// args turns cobra's complaints about arguments into errors of usage.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, given []string) error {
		if err := check(c, given); err != nil {
			return usagef("%w", err).WithHint("usage: %s", c.UseLine())
		}
		return nil
	}
}

// aVerb refuses an argument where a verb must follow.
func aVerb(c *cobra.Command, given []string) error {
	if len(given) == 0 {
		return nil
	}
	err := usagef("%s has no verb %q", c.CommandPath(), given[0])
	c.SuggestionsMinimumDistance = 2 // cobra's own default, which it sets elsewhere
	if near := c.SuggestionsFor(given[0]); len(near) > 0 {
		return err.WithHint("did you mean %s?", strings.Join(near, " or "))
	}
	return err.WithHint("see: %s --help", c.CommandPath())
}

// help shows the verbs; for a program that is no answer.
func (s *session) help(c *cobra.Command, _ []string) error {
	if s.json {
		return usagef("%s needs a verb", c.CommandPath()).WithHint("see: %s --help", c.CommandPath())
	}
	return c.Help()
}

// outcomeError carries an exit status for results that were printed already.
type outcomeError int

func (e outcomeError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func exitStatus(err error) int {
	var outcome outcomeError
	var mistakes *config.Diagnostics
	switch {
	case errors.As(err, &outcome):
		return int(outcome)
	case errors.Is(err, errUsage), errors.Is(err, sdk.ErrInvalidOption), errors.As(err, &mistakes):
		return exitUsage
	case errors.Is(err, sdk.ErrBusy), errors.Is(err, sdk.ErrNoSpace):
		return exitDeferred
	case sdk.IsCancelled(err):
		return exitInterrupted
	}
	return exitFailed
}

// explain prints what went wrong and what to do about it, to standard error;
// programs get it as their document.
func (s *session) explain(err error) {
	var outcome outcomeError
	if errors.As(err, &outcome) {
		return
	}
	if s.json {
		problem := struct {
			Error       string              `json:"error"`
			Hint        string              `json:"hint,omitempty"`
			Diagnostics []config.Diagnostic `json:"diagnostics,omitempty"`
		}{Error: err.Error(), Hint: sdk.HintOf(err)}
		var mistakes *config.Diagnostics
		if errors.As(err, &mistakes) {
			problem.Diagnostics = mistakes.List()
		}
		// Nothing better can be done about an output that cannot be written.
		_ = s.printJSON(problem)
	}
	fmt.Fprintf(s.Err, "wring: %v\n", err)
	if hint := sdk.HintOf(err); hint != "" {
		fmt.Fprintf(s.Err, "  hint: %s\n", hint)
	}
}

// printHint shows advice under what it belongs to.
func (s *session) printHint(hint string) {
	if hint != "" {
		fmt.Fprintf(s.Out, "  hint: %s\n", hint)
	}
}

// dataDir is where the host that this command line means keeps its state.
func (s *session) dataDir(ctx context.Context) (string, error) {
	c, err := s.loadConfig(ctx)
	if err != nil {
		return "", err
	}
	return c.DataDir, nil
}

// client talks to the host that this command line means.
func (s *session) client(ctx context.Context) (*api.Client, error) {
	dir, err := s.dataDir(ctx)
	if err != nil {
		return nil, err
	}
	return api.NewClient(api.SocketPath(dir)), nil
}

// configPath is the configuration that the flags or the defaults name, or "".
func (s *session) configPath() string {
	if s.configFile != "" {
		return s.configFile
	}
	return config.DefaultPath()
}

// loadConfig reads the configuration that the flags or the defaults name. It
// is the built-in one where there is no file and none was asked for. The
// options of plugins are not checked, so that no plugin has to be started.
func (s *session) loadConfig(ctx context.Context) (*config.Config, error) {
	file := s.configPath()
	if file == "" {
		return config.Default(), nil
	}
	return config.Load(ctx, file, nil)
}

// terminate returns a context that also ends on SIGTERM.
func terminate(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, syscall.SIGTERM)
}
