package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/wringdb/wring/sdk"
)

// Recognise returns the name of the plugin whose signature matches the file or
// directory at path. It reads a few bytes of the file, or the names in the
// directory.
func (c *Catalog) Recognise(ctx context.Context, path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", sdk.Errorf(sdk.ErrNotFound, "%s: there is no such file or directory", path).
			WithHint("check the path; the stores of a running host are listed by: wring status")
	case errors.Is(err, fs.ErrPermission):
		return "", sdk.Errorf(sdk.ErrPermission, "look at %s: %w", path, err).
			WithHint("run wring as a user who may read the store")
	case err != nil:
		return "", fmt.Errorf("look at %s: %w", path, err)
	case info.Mode()&fs.ModeSocket != 0:
		return "", sdk.Errorf(sdk.ErrUnsupported, "%s is a socket, not a store", path).
			WithHint("an application that serves its own stores is reached through the configuration: owner = %q", path)
	case !info.IsDir() && !info.Mode().IsRegular():
		return "", sdk.Errorf(sdk.ErrUnsupported, "%s is neither a file nor a directory", path).
			WithHint("name a database")
	case info.Mode().IsRegular() && info.Size() == 0:
		return "", sdk.Errorf(sdk.ErrCorrupt, "%s is empty (0 bytes)", path).
			WithHint("there is nothing in it to compact")
	}

	known := c.known(ctx)
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("recognise %s: %w", path, err)
	}
	store, err := sdk.OpenCandidate(path)
	if err != nil {
		kind := sdk.ErrNotFound
		if errors.Is(err, fs.ErrPermission) {
			kind = sdk.ErrPermission
		}
		return "", sdk.Errorf(kind, "recognise: %w", err).WithHint("run wring as a user who may read the store")
	}
	defer store.Close()

	var names, matching, silent []string
	for _, k := range known {
		if k.err != nil {
			silent = append(silent, fmt.Sprintf("%s (%v)", k.name, k.err))
			continue
		}
		names = append(names, k.name)
		if slices.ContainsFunc(k.desc.Signatures, store.Matches) {
			matching = append(matching, k.name)
		}
	}
	switch len(matching) {
	case 1:
		return matching[0], nil
	case 0:
		err := unrecognised(path, info.IsDir(), names, silent, c.placesText())
		if dir, plugin := within(known, path); plugin != "" && !info.IsDir() {
			return "", err.WithHint("it lies in %s, a directory that %s recognises: name that", dir, plugin)
		}
		return "", err
	default:
		return "", sdk.Errorf(sdk.ErrUnsupported, "%s is recognised by several plugins: %s", path, strings.Join(matching, ", ")).
			WithHint("choose one of them with --plugin")
	}
}

// within says which plugin recognises the directory that a path is in; "" for none.
func within(known []knownPlugin, path string) (dir, plugin string) {
	dir = filepath.Dir(path)
	store, err := sdk.OpenCandidate(dir)
	if err != nil {
		return dir, ""
	}
	defer store.Close()
	for _, k := range known {
		if k.err == nil && slices.ContainsFunc(k.desc.Signatures, store.Matches) {
			return dir, k.name
		}
	}
	return dir, ""
}

func unrecognised(path string, dir bool, names, silent []string, places string) *sdk.Error {
	message := path + ": no plugin recognises this file"
	if dir {
		message = path + ": no plugin recognises this directory"
	}
	hint := "name one with --plugin if you are sure what it is"
	if len(names) > 0 {
		message += "; known: " + strings.Join(names, ", ")
	} else {
		message += ": none is known, " + places
		hint = "install the plugin for this engine there, or name its directory with plugin_dirs"
	}
	if len(silent) > 0 {
		message += "; not asked: " + strings.Join(silent, "; ")
	}
	return sdk.Errorf(sdk.ErrUnsupported, "%s", message).WithHint("%s", hint)
}

// knownPlugin is one that could recognise something, or why it cannot.
type knownPlugin struct {
	name string
	desc sdk.Description
	err  error
}

// known asks all plugins at the same time what they are.
func (c *Catalog) known(ctx context.Context) []knownPlugin {
	var known []knownPlugin
	var programs []Program
	for _, f := range c.list() {
		if f.State == Shadowed {
			continue
		}
		k := knownPlugin{name: f.Name}
		if f.State != Ready {
			k.err = errors.New(f.Error)
		}
		known = append(known, k)
		programs = append(programs, f.Program)
	}
	var wg sync.WaitGroup
	for i := range known {
		if known[i].err != nil {
			continue
		}
		wg.Go(func() { known[i].desc, known[i].err = c.describe(ctx, programs[i]) })
	}
	wg.Wait()
	return known
}
