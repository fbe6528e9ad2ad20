// Package bolt is the backend for bbolt files: it measures them without their
// lock and without changing a byte, and compacts them by rewriting their
// content into a new file that takes the old one's place.
//
// A compaction holds the store's exclusive lock from its first look at the
// file until the new file is in place, so no write is lost; an application that
// keeps its store open all the time has to serve its store itself, as an owner.
//
// What Compact counts as items is keys plus buckets. Its digest covers all
// names of buckets, their nesting and sequences, all keys and all values.
package bolt

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"io"
	"time"

	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/plugins/bolt/internal/punch"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/sdk"
)

// OptionFill is how full the pages of a rewritten file become. Full pages
// split at the next insertion, and the file grows by more than was gained:
// hence the default leaves a tenth free.
const (
	OptionFill  = "fill_percent"
	defaultFill = 0.9
	minFill     = 0.1
	maxFill     = 1.0
)

// OptionVerify is how far a compaction trusts the system. The new file is read
// back in any case, as the operating system has it in memory; VerifyFull reads
// it again from the disk.
const (
	OptionVerify  = "verify"
	VerifyWritten = "written"
	VerifyFull    = "full"
)

// New makes the backend. It is an sdk.Sweeper too.
func New() sdk.Backend { return newBackend() }

func newBackend() *backend {
	return &backend{
		now:      time.Now,
		random:   rand.Reader,
		lockWait: 100 * time.Millisecond,
	}
}

type backend struct {
	now    func() time.Time
	random io.Reader // for the names of temps
	// lockWait is how long a lock is waited for: a process that only looked
	// at the file has given it back by then.
	lockWait time.Duration
	// samplePages is about how many pages a sample has; 0 for the default.
	samplePages int
	// hook hears of all that is done to files and names; nil in production.
	hook replace.Hook
}

// Describe implements sdk.Backend.
func (b *backend) Describe(context.Context) (sdk.Description, error) {
	return sdk.Description{
		Name:   "bolt",
		Engine: "bbolt",
		Capabilities: sdk.Capabilities{
			Modes:               modes(),
			Verifies:            true,
			MeasuresWithoutLock: true,
			LimitsRate:          true,
			Sweeps:              true,
		},
		Options: sdk.Schema{{
			Name:    OptionFill,
			Type:    sdk.TypeNumber,
			Help:    "How full the pages of a rewritten file become; at 1 the file is smallest, and grows most when keys are inserted later.",
			Default: defaultFill,
			Min:     sdk.Bound(minFill),
			Max:     sdk.Bound(maxFill),
		}, {
			Name:    OptionVerify,
			Type:    sdk.TypeString,
			Help:    "How the new file is verified: as the operating system has it when it has been written, or fully, by reading it back from the disk as well.",
			Default: VerifyWritten,
			OneOf:   []string{VerifyWritten, VerifyFull},
		}, minRunOption()},
		Signatures: signatures(),
	}, nil
}

// largestUsual is the largest page size by which a file is recognised when its
// first meta page is broken.
const largestUsual = 64 << 10

// signatures are the magic of meta page 0 and, for a file in which that is
// broken, of meta page 1 for each page size.
func signatures() []sdk.Signature {
	magic := binary.LittleEndian.AppendUint32(nil, page.Magic)
	found := []sdk.Signature{{Magic: magic, Offset: page.HeaderSize}}
	for size := int64(page.MinPageSize); size <= largestUsual; size <<= 1 {
		found = append(found, sdk.Signature{Magic: magic, Offset: size + page.HeaderSize})
	}
	return found
}

// options as the schema has them.
type options struct {
	fill   float64
	verify string
	minRun int64 // bytes
}

// optionsOf reads the options, or their defaults where nobody resolved them.
func optionsOf(given sdk.Options) options {
	o := options{fill: defaultFill, verify: given.String(OptionVerify), minRun: punch.DefaultMinRun}
	if fill := given.Number(OptionFill); fill != 0 {
		o.fill = max(minFill, min(maxFill, fill))
	}
	if bytes := given.Size(OptionMinRun); bytes > 0 {
		o.minRun = bytes
	}
	return o
}

var (
	_ sdk.Backend = (*backend)(nil)
	_ sdk.Sweeper = (*backend)(nil)
)
