package bolt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/wringdb/wring/plugins/bolt/internal/fault"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/plugins/bolt/internal/rewrite"
	"github.com/wringdb/wring/sdk"
)

// Sweep implements sdk.Sweeper: it removes the temps of compactions of this
// store that died. A file that somebody uses, or has written to since, stays
// and is an error.
func (b *backend) Sweep(_ context.Context, store sdk.Store) ([]string, error) {
	doing := "sweep " + store.Path
	path, err := filepath.EvalSymlinks(store.Path)
	if err != nil {
		return nil, fault.Explain(doing, err)
	}
	removed, err := replace.Sweep(path, readState, b.hook)
	return removed, fault.Explain(doing, err)
}

func readState(f *os.File) (replace.State, error) {
	meta, err := page.ReadMeta(f)
	if errors.Is(err, page.ErrNoMeta) {
		return replace.State{}, fmt.Errorf("%w: %w", replace.ErrInvalid, err)
	}
	if err != nil {
		return replace.State{}, err
	}
	return stateOf(meta), nil
}

func stateOf(meta page.Meta) replace.State {
	return replace.State{Version: meta.TxID, Poison: rewrite.Poison(meta)}
}
