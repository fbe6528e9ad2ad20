package compaction

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/sdk"
)

// InMode returns stores that are compacted, and measured for, in another mode
// than they are configured for; "" leaves them as they are.
func InMode(stores []config.Store, mode string) []config.Store {
	if mode == "" {
		return stores
	}
	stores = slices.Clone(stores)
	for i := range stores {
		stores[i].OtherMode = stores[i].OtherMode || stores[i].Mode != mode
		stores[i].Mode = mode
	}
	return stores
}

// fit leaves out the options that a store has for the mode that it is configured
// for, where it is to be in another one that they are not for.
func fit(store config.Store, schema sdk.Schema) config.Store {
	if !store.OtherMode {
		return store
	}
	store.Options = maps.Clone(store.Options)
	maps.DeleteFunc(store.Options, func(name string, _ any) bool {
		option, _ := schema.Lookup(name)
		return len(option.Modes) > 0 && !slices.Contains(option.Modes, store.Mode)
	})
	return store
}

// unfit is a backend without the mode that somebody asks for, and its stores.
type unfit struct {
	name   string
	modes  []string
	stores []string
}

// checkMode refuses a mode unless the backend of every store has it, since the
// failures that would come of it tell nothing about the stores. A backend that
// cannot be asked is passed over: its stores say what is wrong with it when
// their turn comes.
func (r *Runner) checkMode(ctx context.Context, stores []config.Store, mode string) error {
	asked := map[string]*unfit{} // by plugin or owner; nil for one that will do
	var found []*unfit
	for _, store := range stores {
		backend := store.Plugin + "\x00" + store.Owner
		u, known := asked[backend]
		if !known {
			u = r.unfitFor(ctx, store, mode)
			asked[backend] = u
			if u != nil {
				found = append(found, u)
			}
		}
		if u != nil {
			u.stores = append(u.stores, store.Name)
		}
	}
	if len(found) == 0 {
		return nil
	}
	var lack, have []string
	for _, u := range found {
		lack = append(lack, fmt.Sprintf("%s has no mode %q (%s)", u.name, mode, some(u.stores)))
		have = append(have, fmt.Sprintf("the modes of %s are: %s", u.name, strings.Join(u.modes, ", ")))
	}
	refusal := sdk.Errorf(sdk.ErrInvalidOption, "%s; nothing was compacted", strings.Join(lack, "; "))
	return refusal.WithHint("%s", strings.Join(have, "; "))
}

// unfitFor asks the backend of a store for its modes.
func (r *Runner) unfitFor(ctx context.Context, store config.Store, mode string) (u *unfit) {
	err := protect(func() error {
		a, err := r.acquire(ctx, store)
		if err != nil {
			return err
		}
		defer a.giveBack()
		if modes := a.description.Capabilities.Modes; !slices.Contains(modes, mode) {
			u = &unfit{name: a.plugin(), modes: modes}
		}
		return nil
	})
	if err != nil {
		r.logger.Debug("the mode is not checked beforehand", "store", store.Name, "mode", mode, "error", err)
	}
	return u
}

// some is "stores a, b, c and 4 more".
func some(names []string) string {
	const most = 3
	if len(names) == 1 {
		return "store " + names[0]
	}
	if len(names) <= most {
		return "stores " + strings.Join(names, ", ")
	}
	return fmt.Sprintf("stores %s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
