// Package pebble is wring's backend for Pebble stores: directories of sorted
// tables in seven levels. It measures them without their lock and without
// changing a byte, and compacts them under the store's own options: in place, key
// range by key range, or by a new directory that takes the old one's place.
//
// The backend must not run inside the process that has the store open, neither
// by sdk.Serve nor by sdk.ListenAndServe: Pebble's lock does not keep two users
// in one process apart, and closing it once would drop it for both. Compact
// refuses a store that its own process has open when the call begins, and
// nothing keeps the process from opening it later. An application that has its
// store open serves it with the package live, which works on its *pebble.DB.
//
// In mode rewrite the store is left alone until its replacement is verified. Mode ranges
// lets Pebble compact in place, where that cannot be. What takes that rule's place is
// Pebble's own: each step writes and syncs new tables beside the old ones, one synced
// record of the manifest puts them in the old ones' place, and only then do those go. A
// crash at any point, a cancel or a full disk leave the store as it was before a step or
// after it, whole, with the same content. That does not cover a step that writes the
// wrong thing, be it for a fault of Pebble, of a merger or comparer, of memory or of the
// disk. The content of what is compacted is read and summed up as it was before and as it
// is afterwards, and the levels' order is checked: a difference is found then, with the
// old tables gone, and Compact returns sdk.ErrInternal. Only a backup brings the content
// back. Who cannot bear that uses mode rewrite, or takes a snapshot of the directory
// before each compaction.
//
// A store names its comparer, its merger and more, and only the program that
// made it has the code behind the names. A store with names that are not
// Pebble's own is refused; a plugin that knows them is ten lines:
//
//	package main
//
//	import (
//		"example.com/pebble-plugin/mvcc"
//		pebbledb "github.com/cockroachdb/pebble/v2"
//		"github.com/wringdb/wring/plugins/pebble"
//		"github.com/wringdb/wring/sdk"
//	)
//
//	func main() {
//		sdk.Serve(pebble.New(pebble.Config{
//			Name:                    "pebble-mvcc",
//			Comparers:               []*pebbledb.Comparer{mvcc.Comparer},
//			Mergers:                 []*pebbledb.Merger{mvcc.Sum},
//			BlockPropertyCollectors: mvcc.Collectors,
//		}))
//	}
//
// It is examples/pebble-plugin, which has the code behind the names beside it, and a
// test of what stays.
package pebble

import (
	"cmp"
	"context"
	"sync"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/plugins/pebble/internal/swap"
	"github.com/wringdb/wring/sdk"
)

// Config is what a backend knows beside Pebble's own. The zero value serves
// stores that were made with nothing of their own.
type Config struct {
	// Name as in wring-plugin-NAME; "pebble" when empty.
	Name string
	// Comparers, Mergers and FilterPolicies are found by the names in a store's
	// OPTIONS file. A filter policy here also settles the bits per key.
	Comparers      []*pebbledb.Comparer
	Mergers        []*pebbledb.Merger
	FilterPolicies []pebbledb.FilterPolicy
	// KeySchemas are for columnar tables of comparers with a layout of their own.
	KeySchemas []*pebbledb.KeySchema
	// BlockPropertyCollectors are those that the application writes its tables
	// with: tables that have block properties are rewritten with nothing less.
	BlockPropertyCollectors []func() pebbledb.BlockPropertyCollector
	// ShortAttributeExtractor is the application's: values with attributes are
	// rewritten with nothing less.
	ShortAttributeExtractor pebbledb.ShortAttributeExtractor
	// SpanPolicyFunc is the application's, too. Nothing in a store tells that it has
	// one: without it, ranges that are compressed for speed, or whose values stay with
	// their keys, are rewritten as all others.
	SpanPolicyFunc pebbledb.SpanPolicyFunc
}

// New makes a backend.
func New(c Config) sdk.Backend { return newBackend(c) }

func newBackend(c Config) *backend {
	c.Name = cmp.Or(c.Name, "pebble")
	return &backend{
		config: c, fs: vfs.Default, sampleBytes: sampleBytes, cacheBytes: cacheBytes, stepBytes: stepBytes, joinedBytes: joinedBytes,
		checkLevels: checkLevels,
	}
}

type backend struct {
	config Config
	// fs is the file system that compactions work on; tests put faults in.
	fs vfs.FS
	// sampleBytes is how much of the tables a sampled measurement reads.
	sampleBytes int64
	// cacheBytes is for blocks of one open store.
	cacheBytes int64
	// stepBytes is about how much one step of a compaction rewrites.
	stepBytes int64
	// joinedBytes is the same where nothing is passed over.
	joinedBytes int64
	// hook hears of changes of directories that do not go through fs; tests kill there.
	hook swap.Hook
	// checkLevels checks the order of tables that are not among the old ones; tests let
	// it find something.
	checkLevels func(v *view, old map[uint64]bool) error

	mu sync.Mutex
	// held are the stores that this backend has locked. The lock belongs to
	// the process: a second attempt on the same directory by another name would
	// succeed, and closing it would drop the first.
	held []*holding
}

// Describe implements sdk.Backend.
func (b *backend) Describe(context.Context) (sdk.Description, error) {
	return sdk.Description{
		Name:   b.config.Name,
		Engine: "Pebble",
		Capabilities: sdk.Capabilities{
			Modes:               []string{modeRanges, modeRewrite},
			Verifies:            true,
			MeasuresWithoutLock: true,
			LimitsRate:          true,
		},
		Options: sdk.Schema{{
			Name:  optionFilterBits,
			Type:  sdk.TypeNumber,
			Help:  "Bits per key of bloom filters in rewritten tables; by default what the store's tables have.",
			Min:   sdk.Bound(1),
			Max:   sdk.Bound(64),
			Whole: true,
		}, {
			Name:  optionRecompress,
			Type:  sdk.TypeString,
			Help:  "Compression of the tables that mode rewrite writes; by default that of the store's lowest level.",
			OneOf: compressionNames(),
			Modes: []string{modeRewrite},
		}},
		Signatures: engine.Signatures(),
	}, nil
}

var (
	_ sdk.Backend = (*backend)(nil)
	_ sdk.Sweeper = (*backend)(nil)
)
