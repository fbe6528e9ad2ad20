package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/wringdb/wring/core/access"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/core/daemon"
	"github.com/wringdb/wring/sdk"
)

func newToken(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:   "token",
		Short: "Make and revoke the tokens that open the host over TCP",
		Long: `Make and revoke the tokens that open the host over TCP, where the configuration
has a listen block. They are kept, as hashes, in the data directory; a running
host takes every change at once, and none has to be running.`,
		Args: aVerb,
		RunE: s.help,
	}
	c.AddCommand(newTokenCreate(s), newTokenList(s), newTokenRevoke(s))
	return c
}

// madeToken is the JSON document of token create.
type madeToken struct {
	access.TokenInfo
	Token string `json:"token"`
}

func newTokenCreate(s *session) *cobra.Command {
	var scope, expires string
	c := &cobra.Command{
		Use:   "create NAME --scope read|operate",
		Short: "Make a token and print it, this once",
		Long: `Make a token and print it. It cannot be shown again: what is kept is a hash.

Scope read is for looking; operate is for everything, compactions included.`,
		Example: `  wring token create prometheus --scope read
  wring token create ana --scope operate --expires 90d`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, names []string) error {
			now := time.Now()
			until, err := expiry(expires, now)
			if err != nil {
				return err
			}
			if !access.Scope(scope).Valid() {
				err := usagef("there is no scope %q", scope)
				if scope == "" {
					err = usagef("the token has no scope")
				}
				return err.WithHint("add --scope read for looking, or --scope operate for everything")
			}
			settings, err := s.loadConfig(c.Context())
			if err != nil {
				return err
			}
			tokens, err := daemon.OpenTokens(settings.DataDir)
			if err != nil {
				return err
			}
			secret, info, err := tokens.Create(names[0], access.Scope(scope), now, until)
			if err != nil {
				return err
			}
			if settings.Listen == nil {
				fmt.Fprintln(s.Err, "The configuration has no listen block, without which no token is of use.")
			}
			if s.json {
				return s.printJSON(madeToken{info, secret})
			}
			fmt.Fprintln(s.Out, secret)
			fmt.Fprintf(s.Err, "This is token %s, with scope %s; it is not shown again.\n", info.Name, info.Scope)
			return nil
		},
	}
	c.Flags().StringVar(&scope, "scope", "", "what the token is for: read or operate")
	c.Flags().StringVar(&expires, "expires", "", "how long it is of use, such as 12h or 90d (default: until it is revoked)")
	must(c.RegisterFlagCompletionFunc("scope", cobra.FixedCompletions([]string{string(access.Read), string(access.Operate)}, cobra.ShellCompDirectiveNoFileComp)))
	return c
}

// expiry is the end of a life that begins now; zero for one without end.
func expiry(life string, now time.Time) (time.Time, error) {
	if life == "" {
		return time.Time{}, nil
	}
	d, err := config.ParseDuration(life)
	if err != nil || d <= 0 {
		return time.Time{}, usagef("%q is no duration that a token could live", life).WithHint("write a number and a unit, such as --expires 12h or --expires 90d")
	}
	return now.Add(d).Truncate(time.Second), nil
}

func newTokenList(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the tokens, which are not shown themselves",
		Args:  args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			tokens, err := s.tokens(c.Context())
			if err != nil {
				return err
			}
			list, err := tokens.List()
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(struct {
					Tokens []access.TokenInfo `json:"tokens"`
				}{nonNil(list)})
			}
			now := time.Now()
			t := newTable("TOKEN", "SCOPE", "CREATED", "EXPIRES")
			for _, one := range list {
				end := "never"
				switch {
				case one.Expired(now):
					end = "expired " + ago(one.ExpiresAt, now)
				case !one.ExpiresAt.IsZero():
					end = until(one.ExpiresAt, now)
				}
				t.add(one.Name, string(one.Scope), ago(one.CreatedAt, now), end)
			}
			t.print(s.Out)
			return nil
		},
	}
}

func newTokenRevoke(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke NAME...",
		Short: "End tokens, and the sessions of browsers that were begun with them",
		Args:  args(cobra.MinimumNArgs(1)),
		ValidArgsFunction: func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return s.tokenNames(c.Context()), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, names []string) error {
			tokens, err := s.tokens(c.Context())
			if err != nil {
				return err
			}
			revoked := []string{}
			var problems []error
			for _, name := range names {
				if err := tokens.Revoke(name); err != nil {
					problems = append(problems, s.nearToken(c.Context(), name, err))
					continue
				}
				revoked = append(revoked, name)
			}
			if err := errors.Join(problems...); err != nil {
				return err
			}
			if s.json {
				return s.printJSON(struct {
					Revoked []string `json:"revoked"`
				}{revoked})
			}
			for _, name := range revoked {
				fmt.Fprintf(s.Out, "%s is revoked\n", name)
			}
			return nil
		},
	}
}

// nearToken adds to the error of a name that no token has the one that was
// perhaps meant.
func (s *session) nearToken(ctx context.Context, name string, err error) error {
	var missing *sdk.Error
	if near := config.Nearest(name, s.tokenNames(ctx)); near != "" && errors.Is(err, sdk.ErrNotFound) && errors.As(err, &missing) {
		return missing.WithHint("did you mean %s?", near)
	}
	return err
}

func (s *session) tokenNames(ctx context.Context) []string {
	tokens, err := s.tokens(ctx)
	if err != nil {
		return nil
	}
	list, err := tokens.List()
	if err != nil {
		return nil
	}
	names := make([]string, len(list))
	for i, one := range list {
		names[i] = one.Name
	}
	return names
}

// tokens are those of the host that this command line means, to look at; where
// it has no data directory yet there are none.
func (s *session) tokens(ctx context.Context) (access.Tokens, error) {
	dir, err := s.dataDir(ctx)
	return access.NewTokens(dir), err
}
