// Package live compacts Pebble stores inside the application that has them open,
// which goes on reading and writing. Pebble compacts in place and online by
// itself; what this package adds is somebody from outside who says when, and for
// whom it is measured, paced, told of, cancelled and verified:
//
//	go live.Serve(ctx, "/run/app/wring.sock", live.Store{Name: "queue", DB: db})
//
// It works with the open *pebble.DB alone, so that comparer, merger, filters, key
// schema, compression and file system are those of the application. It never
// touches the file LOCK: opening and closing it anywhere in the process would
// drop the application's lock.
//
// # Order of closing
//
// End the context, wait for Serve to return, then close the DB. Calls that are
// under way are cancelled at the end of the context, and Serve returns when they
// have given back what they hold. A DB that is closed during a call makes Close
// complain of leaked snapshots or iterators, and Pebble panics; the call turns
// that into an error where it can.
//
// # What verification proves
//
// The application writes meanwhile, so that content at two moments differs and
// proves nothing. What is compared is one moment, read twice: a snapshot is taken,
// the key ranges that are about to be rewritten are read through it and summed up,
// they are compacted, and are read through the same snapshot once more. Equal
// digests say that whoever read at that moment finds the same afterwards, key by
// key and byte by byte, in the tables that have taken the old ones' place. They
// say nothing of what was written after the snapshot, nor of ranges that were
// left alone. Digest and items of a result are of those ranges.
//
// An open snapshot makes Pebble keep what it sees. All dead space from before it
// is given back all the same; what the application overwrites later stays until
// the next compaction. So a snapshot is given up once the application has written
// a quarter of what it covers, and at least 64 MiB: what it sees is compared then,
// and the rest of the work begins with a new one.
//
// An application that removes key ranges by DB.Excise or DB.IngestAndExcise changes
// what snapshots see. Pebble does not tell these from other ingestions. So where
// contents differ and something was ingested or excised meanwhile, that is no
// error: the result comes without a verification, and says why.
package live

import (
	"context"
	"strings"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/sdk"
)

// modeRanges compacts in place, one key range after the other.
const modeRanges = "ranges"

// Store is one that the application has open.
type Store struct {
	// Name by which a host asks for the store.
	Name string
	// DB stays open for as long as the store is served.
	DB *pebbledb.DB
	// Options that DB was opened with. Their Comparer is needed where it is not
	// Pebble's own; their FS is where sizes and free space are looked up; the rest
	// makes messages clearer. May be nil for a store without its own comparer.
	Options *pebbledb.Options
	// Dir that DB was opened with; when empty, DB itself is asked. Where it cannot
	// be read through the FS of the Options, sizes are Pebble's own count, and free
	// space is not looked at.
	Dir string
	// Stalls of the DB's writers, so that they count in a result's pause. May be
	// nil: then they are not known, and the result says so.
	Stalls *Stalls
}

// Serve lets hosts measure and compact the stores through a unix socket, as
// sdk.ListenAndServe has it, until ctx ends: it returns when the calls under way
// have ended too, and only then may the stores be closed. A single store answers
// to any name.
func Serve(ctx context.Context, socket string, stores ...Store) error {
	b, err := New(stores...)
	if err != nil {
		return err
	}
	return sdk.ListenAndServe(ctx, socket, b)
}

// New makes the backend that Serve serves, for an application that has a server
// of its own, or calls it without any. It is an sdk.StoreLister too. Its error is
// ErrInvalidOption for stores that cannot be told apart or are not what they are
// said to be.
func New(stores ...Store) (sdk.Backend, error) {
	b := &backend{}
	for _, s := range stores {
		opened, err := newStore(s)
		if err != nil {
			return nil, err
		}
		for _, other := range b.stores {
			if other.name == s.Name {
				return nil, sdk.Errorf(sdk.ErrInvalidOption, "two stores have the name %q", s.Name).
					WithHint("a host tells stores apart by their names: give each its own")
			}
		}
		b.stores = append(b.stores, opened)
	}
	if len(b.stores) == 0 {
		return nil, sdk.Errorf(sdk.ErrInvalidOption, "there is no store to serve").
			WithHint(`pass live.Store{Name: "queue", DB: db}`)
	}
	return b, nil
}

// backend serves the stores of one application.
type backend struct {
	stores []*store // at least one
}

// Describe implements sdk.Backend.
func (b *backend) Describe(context.Context) (sdk.Description, error) {
	return sdk.Description{
		Name:   "pebble",
		Engine: "Pebble",
		Capabilities: sdk.Capabilities{
			Modes:      []string{modeRanges},
			Verifies:   true,
			LimitsRate: true,
		},
		Signatures: engine.Signatures(),
	}, nil
}

// Stores implements sdk.StoreLister. Those that are closed are left out.
func (b *backend) Stores(context.Context) ([]sdk.Store, error) {
	var open []sdk.Store
	for _, s := range b.stores {
		if s.alive() == nil {
			_, path := s.find()
			open = append(open, sdk.Store{Name: s.name, Path: path})
		}
	}
	return open, nil
}

// Fragmentation implements sdk.Backend. It predicts what Compact gives back, and
// changes nothing: what is not flushed yet stays so.
func (b *backend) Fragmentation(ctx context.Context, req sdk.FragmentationRequest) (sdk.Fragmentation, error) {
	s, err := b.find(req.Store)
	if err != nil {
		return sdk.Fragmentation{}, err
	}
	var f sdk.Fragmentation
	err = unlessClosed(func() error {
		f, err = s.measure(ctx, req.Depth)
		return err
	})
	if err != nil {
		return sdk.Fragmentation{}, s.readError("measure", err)
	}
	return f, nil
}

// find returns the store that is meant: by its name, or by its path where only
// that is given.
func (b *backend) find(asked sdk.Store) (*store, error) {
	if len(b.stores) == 1 {
		return b.stores[0], nil
	}
	names := make([]string, 0, len(b.stores))
	for _, s := range b.stores {
		if s.name == asked.Name {
			return s, nil
		}
		if _, path := s.find(); asked.Name == "" && asked.Path != "" && asked.Path == path {
			return s, nil
		}
		names = append(names, s.name)
	}
	what := asked.Name
	if what == "" {
		what = asked.Path
	}
	return nil, sdk.Errorf(sdk.ErrNotFound, "there is no store %q here: there are %s", what, strings.Join(names, ", ")).
		WithHint("call the store in the host's configuration as its application does")
}

var (
	_ sdk.Backend     = (*backend)(nil)
	_ sdk.StoreLister = (*backend)(nil)
)
