// Package sdk is all that a storage backend for wring needs: the interface to
// implement, typed errors, and the servers that put a backend into a plugin
// process (Serve) or into the application that owns the store
// (ListenAndServe).
package sdk

import (
	"context"
	"time"
)

// The versions of the protocol that this package speaks, both inclusive.
const (
	ProtocolMin = 1
	ProtocolMax = 1
)

// Backend knows one storage engine. Its life:
//
//  1. Describe is called once, before anything else, and touches no store.
//  2. Fragmentation is called whenever somebody wonders whether to compact.
//  3. Compact is called when the host has decided to.
//
// Calls for different stores may come at the same time; for one store there is
// at most one Compact, and Fragmentation may come during it.
// A backend that can do more implements Sweeper or StoreLister beside it.
type Backend interface {
	// Describe says what the backend is and can do. The answer never changes.
	Describe(ctx context.Context) (Description, error)

	// Fragmentation measures how much compaction would give back. It changes
	// no byte of the store.
	Fragmentation(ctx context.Context, req FragmentationRequest) (Fragmentation, error)

	// Compact gives dead space back. It calls report, never nil and cheap to
	// call often, as work is done; the host takes long silence for a stall.
	// When ctx ends it cleans up, leaves the store whole and returns
	// ErrCancelled or the context's error.
	Compact(ctx context.Context, req CompactRequest, report func(Progress)) (CompactResult, error)
}

// Sweeper is a Backend whose compactions may leave files behind when they die.
type Sweeper interface {
	// Sweep removes such files beside the store and returns their paths. No
	// compaction of the store runs while it is called.
	Sweep(ctx context.Context, store Store) (removed []string, err error)
}

// StoreLister is a Backend inside an owner, which knows its stores by name.
type StoreLister interface {
	// Stores returns the stores that can be measured and compacted now.
	Stores(ctx context.Context) ([]Store, error)
}

// Store says which database is meant.
type Store struct {
	// Name in the host's configuration. An owner of several stores chooses by it.
	Name string `json:"name"`
	// Path is absolute; empty for a store that its owner knows by name alone.
	Path string `json:"path,omitempty"`
}

// Description is what a backend says of itself.
type Description struct {
	// ProtocolVersion is filled in by the sdk: the version that was settled on
	// with a host, and without one, as `describe` prints it, the newest that the
	// backend speaks.
	ProtocolVersion int `json:"protocol_version"`
	// ProtocolMin is filled in by the sdk: the oldest version that the backend
	// speaks. 0, as after a version was settled on, means that there is no other.
	ProtocolMin int `json:"protocol_min,omitempty"`
	// Name as in wring-plugin-NAME.
	Name string `json:"name"`
	// Version of the backend; the sdk fills in the program's when empty: what
	// -ldflags '-X github.com/wringdb/wring/sdk.buildVersion=…' says, or the
	// version of its main module.
	Version string `json:"version"`
	// Engine as its own documentation spells it.
	Engine       string       `json:"engine"`
	Capabilities Capabilities `json:"capabilities"`
	// Options in the order in which they are best explained.
	Options Schema `json:"options"`
	// Signatures recognise a path as a store of this engine; any one suffices.
	Signatures []Signature `json:"signatures"`
}

// Capabilities is what a backend can do beyond the least.
type Capabilities struct {
	// Modes are the ways to compact, the default first. Never empty.
	Modes []string `json:"modes"`
	// Verifies is set when Compact compares content before and after.
	Verifies bool `json:"verifies"`
	// MeasuresWithoutLock is set when Fragmentation answers while another
	// process holds the store.
	MeasuresWithoutLock bool `json:"measures_without_lock"`
	// LimitsRate is set when Compact keeps to CompactRequest.Pace.
	LimitsRate bool `json:"limits_rate"`
	// Sweeps and ListsStores are filled in by the sdk.
	Sweeps      bool `json:"sweeps"`
	ListsStores bool `json:"lists_stores"`
}

// Signature is one way to recognise a store. All parts that are set must hold;
// with both DirEntry and Magic, one entry that the former fits has the latter.
type Signature struct {
	// DirEntry is a name or pattern (path.Match) in a store that is a directory;
	// empty for a store that is a file.
	DirEntry string `json:"dir_entry,omitempty"`
	// Magic is what the file, or the entry, has at Offset: at most MaxMagic bytes.
	Magic  []byte `json:"magic,omitempty"`
	Offset int64  `json:"offset,omitempty"`
}

// Depth is how much work a measurement may be.
type Depth string

const (
	// DepthQuick takes milliseconds: what the store's own bookkeeping says.
	DepthQuick Depth = "quick"
	// DepthSampled reads a small sample, to predict what compaction gives back.
	DepthSampled Depth = "sampled"
	// DepthExact reads whatever is needed for the true figure.
	DepthExact Depth = "exact"
)

// FragmentationRequest asks for a measurement.
type FragmentationRequest struct {
	Store Store
	Depth Depth // empty means DepthSampled
	// Mode is one of Capabilities.Modes; the sdk fills in the first when empty.
	// What is asked is how much a compaction in that mode would give back.
	Mode    string
	Options Options
}

// Method is how a measurement was found.
type Method string

const (
	// MethodExact is a count of all that matters.
	MethodExact Method = "exact"
	// MethodSampled extrapolates from a sample of the content.
	MethodSampled Method = "sampled"
	// MethodEstimated follows from bookkeeping that may lag behind.
	MethodEstimated Method = "estimated"
)

// Bounds of a measurement that the wire and the screen can carry.
const (
	MaxMapCells   = 1024
	MaxMetrics    = 256
	MaxLayers     = 32
	MaxLayerCells = 256
	MaxLayerName  = 16 // bytes
)

// Fragmentation is how much of a store compaction would give back, in bytes.
type Fragmentation struct {
	// TotalBytes is the logical size: what ls shows.
	TotalBytes int64
	// AllocatedBytes is what the file system holds (blocks × 512): sparse
	// growth and punched pages are not in it.
	AllocatedBytes int64
	// LiveBytes is what a reader of the whole content needs.
	LiveBytes int64
	// ReclaimableBytes is how much of AllocatedBytes compaction is expected to
	// give back.
	ReclaimableBytes int64
	Method           Method
	// Metrics are figures of the engine by name, the unit as suffix
	// (free_pages, leaf_fill_ratio). At most MaxMetrics.
	Metrics map[string]float64
	// Map says how full consecutive equal parts of the store are, 0 to 100
	// percent each. At most MaxMapCells; nil where there is no picture.
	Map []uint8
	// Layers are where the bytes lie in a store that is written in layers, as an
	// LSM tree is in levels: the newest layer first. They refine Map. At most
	// MaxLayers; nil where there is no such picture.
	Layers []MapLayer
	// Mode is what a compaction would do now, where the mode of the request, such
	// as "auto", leaves it open. May be empty.
	Mode string
	// Note is a sentence for people that says why it is that mode. May be empty.
	Note string
	// Obstacle is why a compaction could not be done now: the error that Compact
	// would return, such as ErrNoSpace. Nil where none is known. It holds nobody
	// back: Compact finds out for itself.
	Obstacle *Error
}

// MapLayer is one layer of a store, cut into cells by key. All layers have equally
// many cells: those at one index are the same range of keys, from the smallest
// keys to the largest, and have in all layers together about as many bytes as
// any other range.
type MapLayer struct {
	// Name is what the engine calls it ("L0"): printable, at most MaxLayerName
	// bytes, and no two alike.
	Name string
	// Bytes is all that the layer takes on the disk.
	Bytes int64
	// Cells are at most MaxLayerCells. Their bytes are at most those of the layer:
	// the rest lies nowhere in particular.
	Cells []MapCell
}

// MapCell is what lies in one layer in one range of keys. What its three parts, in
// percent of Bytes, leave of 100 is what nobody can tell.
type MapCell struct {
	// Bytes is 0 where the layer has nothing in the range.
	Bytes int64
	// Live is what a reader gets, Garbage what was overwritten or deleted, and
	// Tombstones what says that something was deleted.
	Live, Garbage, Tombstones uint8
}

// Ratio is the share of the allocated bytes that compaction would give back,
// 0 to 1.
func (f Fragmentation) Ratio() float64 {
	if f.AllocatedBytes <= 0 || f.ReclaimableBytes <= 0 {
		return 0
	}
	return min(1, float64(f.ReclaimableBytes)/float64(f.AllocatedBytes))
}

// CompactRequest asks for a compaction.
type CompactRequest struct {
	Store Store
	// Mode is one of Capabilities.Modes; the sdk fills in the first when empty.
	Mode    string
	Limits  Limits
	Options Options
	// Pace is what the backend waits on to keep to Limits.BytesPerSecond, and
	// what the caller changes that by while the call runs. When it is nil, the sdk
	// makes one of the limit; else the limit is the rate that it begins with.
	Pace *Pace
}

// Limits bounds what a compaction may take from others.
type Limits struct {
	// BytesPerSecond counts reads and writes together; 0 means no limit.
	BytesPerSecond int64
}

// Progress is work done so far. Done and Total never shrink within a phase.
type Progress struct {
	// Phase is a word: copy, verify, sync, replace …
	Phase string `json:"phase"`
	Done  int64  `json:"done"`
	// Total is 0 while it is not known.
	Total int64 `json:"total"`
	// Unit of Done and Total: bytes, pages, tables, keys …
	Unit string `json:"unit"`
	// BytesRead and BytesWritten count from the start of the call.
	BytesRead    int64 `json:"bytes_read"`
	BytesWritten int64 `json:"bytes_written"`
}

// CompactResult is what a compaction did.
type CompactResult struct {
	Before, After Size
	// ReclaimedBytes is in allocated bytes; negative where the store has grown.
	ReclaimedBytes int64
	// Duration is filled in by the sdk when zero.
	Duration time.Duration
	// Pause is how long writers of the store were held up.
	Pause time.Duration
	// Mode that was used, which may be another than the request's where that
	// leaves it open; the sdk fills in the request's when empty.
	Mode string
	// Verification is nil where content was not compared.
	Verification *Verification
	// NoOp is set when nothing was worth doing and the store is as it was.
	NoOp bool
	// Note is a sentence for people about what was done or left; may be empty.
	Note string
}

// Size of a store at one moment, in bytes.
type Size struct {
	TotalBytes     int64
	AllocatedBytes int64
}

// Verification is what was compared; a difference is an error, never a result.
type Verification struct {
	// DigestBefore and DigestAfter are a name and a value ("xxh64:0f3a…").
	// Equal content has equal digests, whatever its layout.
	DigestBefore, DigestAfter string
	ItemsBefore, ItemsAfter   int64
}
