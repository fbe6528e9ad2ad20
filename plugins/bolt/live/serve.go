package live

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wringdb/wring/plugins/bolt"
	"github.com/wringdb/wring/sdk"
)

// optionMaxPause is CompactOptions.MaxPause.
const optionMaxPause = "max_pause"

// Store is a DB under the name by which the host's configuration calls it.
type Store struct {
	Name string
	DB   *DB
}

// Serve lets a wring host measure and compact stores of this application, by a
// unix socket: see sdk.ListenAndServe. A single store answers to any name, and
// needs none. It returns when ctx has ended and calls under way have cleaned up;
// close the stores after that.
func Serve(ctx context.Context, socket string, stores ...Store) error {
	b, err := New(stores...)
	if err != nil {
		return err
	}
	return sdk.ListenAndServe(ctx, socket, b)
}

// New makes a backend of stores. It is an sdk.StoreLister and an sdk.Sweeper too.
func New(stores ...Store) (sdk.Backend, error) {
	seen := map[string]bool{}
	for _, s := range stores {
		switch {
		case s.DB == nil:
			return nil, sdk.Errorf(sdk.ErrInvalidOption, "serve store %q: it has no DB", s.Name)
		case s.Name == "" && len(stores) > 1:
			return nil, sdk.Errorf(sdk.ErrInvalidOption, "serve %s: it has no name", s.DB.file).WithHint("where there are several stores each needs one")
		case seen[s.Name]:
			return nil, sdk.Errorf(sdk.ErrInvalidOption, "serve store %q: there are two of that name", s.Name)
		}
		seen[s.Name] = true
	}
	if len(stores) == 0 {
		return nil, sdk.Errorf(sdk.ErrInvalidOption, "serve: there are no stores")
	}
	return &backend{stores: slices.Clone(stores), file: bolt.New()}, nil
}

type backend struct {
	stores []Store
	file   sdk.Backend // for what needs the file alone
}

// Describe implements sdk.Backend.
func (b *backend) Describe(ctx context.Context) (sdk.Description, error) {
	d, err := b.file.Describe(ctx)
	if err != nil {
		return d, err
	}
	d.Name = "bolt-live"
	d.Signatures = nil // it knows its own stores only
	d.Options = append(d.Options, sdk.Option{
		Name: optionMaxPause, Type: sdk.TypeDuration,
		Help:    "How long writers may be held up at a time; a compaction that would need longer goes on copying, and gives up in the end.",
		Default: DefaultMaxPause.String(), Min: sdk.Bound(time.Millisecond.Seconds()),
	})
	return d, nil
}

// Stores implements sdk.StoreLister.
func (b *backend) Stores(context.Context) ([]sdk.Store, error) {
	var list []sdk.Store
	for _, s := range b.stores {
		if s.DB.isClosed() == nil {
			list = append(list, sdk.Store{Name: s.Name, Path: s.DB.file})
		}
	}
	return list, nil
}

// find returns the store that is meant.
func (b *backend) find(doing string, store sdk.Store) (*DB, error) {
	if len(b.stores) == 1 {
		return b.stores[0].DB, nil
	}
	var names []string
	for _, s := range b.stores {
		if s.Name == store.Name {
			return s.DB, nil
		}
		names = append(names, s.Name)
	}
	return nil, sdk.Errorf(sdk.ErrNotFound, "%s store %q: this application has no store of that name", doing, store.Name).
		WithHint("its stores are: %s", strings.Join(names, ", "))
}

// Fragmentation implements sdk.Backend.
func (b *backend) Fragmentation(ctx context.Context, req sdk.FragmentationRequest) (sdk.Fragmentation, error) {
	db, err := b.find("measure", req.Store)
	if err != nil {
		return sdk.Fragmentation{}, err
	}
	if db.isClosed() != nil {
		return sdk.Fragmentation{}, db.closedError("measure " + db.file)
	}
	req.Store.Path = db.file
	return b.file.Fragmentation(ctx, req)
}

// Compact implements sdk.Backend.
func (b *backend) Compact(ctx context.Context, req sdk.CompactRequest, report func(sdk.Progress)) (sdk.CompactResult, error) {
	db, err := b.find("compact", req.Store)
	if err != nil {
		return sdk.CompactResult{}, err
	}
	return db.Compact(ctx, CompactOptions{
		Mode:        req.Mode,
		MaxPause:    req.Options.Duration(optionMaxPause),
		FillPercent: req.Options.Number(bolt.OptionFill),
		VerifyFull:  req.Options.String(bolt.OptionVerify) == bolt.VerifyFull,
		MinRun:      req.Options.Size(bolt.OptionMinRun),
		Pace:        req.Pace,
		Report:      report,
	})
}

// Sweep implements sdk.Sweeper. What lies beside a store that is being compacted
// is no leftover.
func (b *backend) Sweep(ctx context.Context, store sdk.Store) ([]string, error) {
	db, err := b.find("sweep", store)
	if err != nil {
		return nil, err
	}
	sweeper, ok := b.file.(sdk.Sweeper)
	if !ok {
		return nil, fmt.Errorf("sweep %s: the backend cannot", db.file)
	}
	return sweeper.Sweep(ctx, sdk.Store{Path: db.file})
}

var (
	_ sdk.Backend     = (*backend)(nil)
	_ sdk.StoreLister = (*backend)(nil)
	_ sdk.Sweeper     = (*backend)(nil)
)
