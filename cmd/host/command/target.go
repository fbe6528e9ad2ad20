package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wringdb/wring/core/api"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/sdk"
)

// targets are what the arguments of a verb mean: paths that need no host, or
// stores that the running host knows. Never both.
type targets struct {
	paths  []string // absolute
	stores []string
	host   *api.Client // set when stores are meant
}

func (t targets) close() {
	if t.host != nil {
		t.host.Close()
	}
}

// resolve decides for each argument whether it is a path or a store. What
// begins like a path is one; anything else is a store, or one file of a
// pattern, if the running host knows it, and a file or directory here if not.
func (s *session) resolve(ctx context.Context, arguments []string) (targets, error) {
	t := targets{}
	known, host, hostErr := s.knownStores(ctx, arguments)
	for _, argument := range arguments {
		switch {
		case known.has(argument):
			t.stores = append(t.stores, argument)
		case isPath(argument) || exists(argument):
			path, err := filepath.Abs(argument)
			if err != nil {
				return targets{}, usagef("%s: %w", argument, err)
			}
			t.paths = append(t.paths, path)
		case hostErr != nil && !errors.Is(hostErr, api.ErrNoHost):
			return targets{}, hostErr
		case hostErr != nil:
			return targets{}, sdk.Errorf(sdk.ErrNotFound, "%s: no such file or directory, and no host is running that could know a store by that name", argument).
				WithHint("give the path of a database, or start the host with: wring run")
		default:
			return targets{}, sdk.Errorf(sdk.ErrNotFound, "%s: neither a store of the running host nor a file or directory here", argument).
				WithHint("%s", meant(argument, known.names(), "see the stores with: wring status"))
		}
	}
	if len(t.paths) > 0 && len(t.stores) > 0 {
		return targets{}, usagef("%s is a path and %s a store of the host: they are compacted by different processes", t.paths[0], t.stores[0]).
			WithHint("call wring once with the paths and once with the stores")
	}
	if len(t.stores) > 0 {
		t.host = host
	} else if host != nil {
		host.Close()
	}
	return t, nil
}

// stores are what a host knows.
type stores []api.StoreStatus

// has says whether the host has a store of that name, one that stands for those
// of owners, or a pattern whose files are called so: NAME/FILE. A file that is
// here is meant itself.
func (known stores) has(name string) bool {
	for _, store := range known {
		switch {
		case store.Store == name, store.Configured == name && name != "":
			return true
		case strings.HasPrefix(name, store.Store+"/") && strings.ContainsAny(store.Path, "*?["):
			return !exists(name)
		}
	}
	return false
}

// names are what has may be asked for, patterns' files left out.
func (known stores) names() []string {
	var names []string
	for _, store := range known {
		names = append(names, store.Store)
		if store.Configured != "" && !slices.Contains(names, store.Configured) {
			names = append(names, store.Configured)
		}
	}
	return names
}

// meant asks whether one of the names is meant, or else gives other advice.
func meant(given string, names []string, otherwise string) string {
	if near := config.Nearest(given, names); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	return otherwise
}

// knownStores asks the host for its stores if any argument could be one.
func (s *session) knownStores(ctx context.Context, arguments []string) (stores, *api.Client, error) {
	if !slices.ContainsFunc(arguments, func(a string) bool { return !isPath(a) }) {
		return nil, nil, nil
	}
	host, err := s.client(ctx)
	if err != nil {
		return nil, nil, err
	}
	status, err := host.Status(ctx)
	if err != nil {
		host.Close()
		return nil, nil, err
	}
	return status.Stores, host, nil
}

// isPath says whether an argument can be nothing but a path.
func isPath(argument string) bool {
	return filepath.IsAbs(argument) || strings.HasPrefix(argument, ".")
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// completeStores offers the stores of the running host.
func (s *session) completeStores(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	host, err := s.client(c.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	defer host.Close()
	status, err := host.Status(c.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	names := make([]string, 0, len(status.Stores))
	together := ""
	for _, store := range status.Stores {
		if store.Configured != "" && store.Configured != together {
			together = store.Configured
			names = append(names, together+"\tall stores of owners in "+filepath.Dir(store.Path))
		}
		names = append(names, store.Store+"\t"+store.Path)
	}
	return names, cobra.ShellCompDirectiveDefault // files too: a path is as good
}
