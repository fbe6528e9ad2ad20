package sdktest_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/wringdb/wring/sdk"
	"github.com/wringdb/wring/sdk/sdktest"
)

// The toy engine keeps items in slots of one size. Its store is one file:
//
//	magic, then slots of: live (1 byte) · payload · crc32 of both (4 bytes)
//
// A dead slot is what an item leaves that was deleted.
const (
	magic    = "TOYSLOTS"
	slotSize = 256
	piece    = 256 // slots that are copied between two looks at the context
)

// toy is a backend for that engine. It is sound unless it has a flaw, by which
// the suite is tested.
type toy struct {
	flaw      string
	described *int
	kept      *[]*os.File
}

func (b toy) Describe(context.Context) (sdk.Description, error) {
	d := sdk.Description{
		Name: "toy", Version: "1.0.0", Engine: "Toy",
		Capabilities: sdk.Capabilities{Modes: []string{"auto", "rewrite"}, Verifies: true, MeasuresWithoutLock: true, LimitsRate: true},
		Options: sdk.Schema{
			{Name: "sync", Type: sdk.TypeBool, Help: "Sync the new file.", Default: true},
			{Name: "spare", Type: sdk.TypeNumber, Help: "Nothing.", Default: 0.5, Min: sdk.Bound(0), Max: sdk.Bound(1)},
			{Name: "buffer", Type: sdk.TypeSize, Help: "Nothing.", Default: "64KiB", Min: sdk.Bound(4096)},
			{Name: "wait", Type: sdk.TypeDuration, Help: "Nothing.", Default: "1s", Max: sdk.Bound(60)},
			{Name: "order", Type: sdk.TypeString, Help: "Nothing.", Default: "old", OneOf: []string{"old", "new"}},
		},
		Signatures: []sdk.Signature{{Magic: []byte(magic)}},
	}
	*b.described++
	switch b.flaw {
	case "changes_its_description":
		d.Version = fmt.Sprint(*b.described)
	case "has_an_invalid_default":
		d.Options[1].Default = 2.0
	case "recognises_everything":
		d.Signatures = append(d.Signatures, sdk.Signature{Magic: []byte("all")})
	case "serves_another":
		if os.Getenv("WRING_SDKTEST_ROLE") != "" {
			d.Engine = "Another"
		}
	}
	return d, nil
}

func (b toy) Fragmentation(ctx context.Context, req sdk.FragmentationRequest) (sdk.Fragmentation, error) {
	path := req.Store.Path
	if b.flaw == "writes_while_measuring" {
		now := time.Now()
		_ = os.Chtimes(path, now, now)
	}
	live, slots, err := b.read(ctx, path)
	if err != nil {
		return sdk.Fragmentation{}, err
	}
	size, err := sizeOf(path)
	if err != nil {
		return sdk.Fragmentation{}, err
	}
	dead := int64(slots-len(live)) * slotSize
	f := sdk.Fragmentation{
		TotalBytes: size.TotalBytes, AllocatedBytes: size.AllocatedBytes,
		LiveBytes: size.TotalBytes - dead, ReclaimableBytes: dead,
		Method: sdk.MethodExact, Metrics: map[string]float64{"slots": float64(slots)},
	}
	f.Layers = b.layers(len(live), slots)
	if req.Mode == "auto" && b.flaw != "conceals_its_mode" {
		f.Mode, f.Note = "rewrite", "toys know nothing else"
	}
	if b.flaw == "sees_no_room" {
		f.Obstacle = sdk.Errorf(sdk.ErrNoSpace, "rewrite %s: no room for a copy", path)
	}
	if b.flaw == "overpromises" {
		f.ReclaimableBytes = size.AllocatedBytes
	}
	return f, nil
}

// layers are one of slots, and one for the magic that has nothing in particular.
func (b toy) layers(live, slots int) []sdk.MapLayer {
	cell := sdk.MapCell{Bytes: int64(slots) * slotSize}
	if slots > 0 {
		cell.Live = uint8(100 * live / slots)
		cell.Garbage = 100 - cell.Live
	}
	layers := []sdk.MapLayer{
		{Name: "magic", Bytes: int64(len(magic)), Cells: []sdk.MapCell{{}}},
		{Name: "slots", Bytes: cell.Bytes, Cells: []sdk.MapCell{cell}},
	}
	switch b.flaw {
	case "draws_more_than_there_is":
		layers[0].Bytes += 1 << 30
	case "draws_the_dead_alive":
		layers[1].Cells[0].Live, layers[1].Cells[0].Garbage = 100, 0
	case "draws_uneven_layers":
		layers[1].Cells = append(layers[1].Cells, sdk.MapCell{})
	}
	return layers
}

func (b toy) Compact(ctx context.Context, req sdk.CompactRequest, report func(sdk.Progress)) (_ sdk.CompactResult, err error) {
	path := req.Store.Path
	if real, err := filepath.EvalSymlinks(path); err == nil && b.flaw != "replaces_a_link" {
		path = real
	}
	held, err := b.lock(path)
	if err != nil {
		return sdk.CompactResult{}, err
	}
	if b.flaw == "keeps_a_file_open" {
		*b.kept = append(*b.kept, held) // else the collector would close it
	} else {
		defer func() { _ = held.Close() }()
	}
	live, _, err := b.read(ctx, path)
	if err != nil {
		return sdk.CompactResult{}, err
	}
	before, err := sizeOf(path)
	if err != nil {
		return sdk.CompactResult{}, err
	}

	temp, err := os.CreateTemp(filepath.Dir(path), tempPrefix(path))
	if err != nil {
		return sdk.CompactResult{}, err
	}
	if b.flaw == "overwrites_in_place" {
		_ = os.Remove(temp.Name())
		temp, err = os.Create(path)
	}
	if err != nil {
		return sdk.CompactResult{}, err
	}
	defer func() {
		_ = temp.Close()
		if err != nil && b.flaw != "leaves_a_temp_when_cancelled" {
			_ = os.Remove(temp.Name())
		}
	}()
	if b.flaw == "loses_an_item" {
		live = live[1:]
	}
	if err := b.copy(ctx, temp, live, req.Pace, report); err != nil {
		return sdk.CompactResult{}, err
	}
	if info, err := held.Stat(); err == nil && b.flaw != "forgets_the_mode" {
		_ = temp.Chmod(info.Mode().Perm())
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return sdk.CompactResult{}, err
	}
	if b.flaw == "leaves_a_temp" {
		_ = os.WriteFile(temp.Name(), nil, 0o600)
	}
	if b.flaw == "reports_too_late" {
		time.AfterFunc(20*time.Millisecond, func() { report(sdk.Progress{Phase: "late", Unit: "slots"}) })
	}

	after, err := sizeOf(path)
	if err != nil {
		return sdk.CompactResult{}, err
	}
	sum := digest(live)
	res := sdk.CompactResult{
		Before: before, After: after, ReclaimedBytes: before.AllocatedBytes - after.AllocatedBytes,
		NoOp: before == after, Mode: "rewrite",
		Verification: &sdk.Verification{
			DigestBefore: sum, DigestAfter: sum, ItemsBefore: int64(len(live)), ItemsAfter: int64(len(live)),
		},
	}
	if b.flaw == "embellishes_its_result" {
		res.ReclaimedBytes *= 2
	}
	return res, nil
}

func (b toy) copy(ctx context.Context, temp *os.File, live [][]byte, pace *sdk.Pace, report func(sdk.Progress)) error {
	if b.flaw == "keeps_its_first_limit" {
		pace = sdk.NewPace(pace.Rate())
	}
	if _, err := temp.WriteString(magic); err != nil {
		return err
	}
	total := int64(len(live))
	for done := int64(0); ; {
		p := sdk.Progress{Phase: "copy", Done: done, Total: total, Unit: "slots", BytesRead: done * slotSize, BytesWritten: done * slotSize}
		switch b.flaw {
		case "reports_shrinking_progress":
			p.Done = total - done
		case "claims_to_be_done_at_once":
			p.Done = total
		case "reports_nothing":
			p.Phase = ""
		}
		if p.Phase != "" {
			report(p)
		}
		if err := ctx.Err(); err != nil && b.flaw != "ignores_cancel" {
			return err
		}
		if done == total {
			break
		}
		count := min(piece, total-done)
		for _, payload := range live[done : done+count] {
			if _, err := temp.Write(slot(payload, true)); err != nil {
				return err
			}
		}
		done += count
		if b.flaw != "ignores_the_limit" {
			_ = pace.Wait(ctx, 2*count*slotSize) // above is where the end of ctx counts
		}
	}
	report(sdk.Progress{Phase: "sync", Unit: "files", Total: 1, BytesRead: total * slotSize, BytesWritten: total * slotSize})
	return temp.Sync()
}

func (b toy) Sweep(_ context.Context, store sdk.Store) ([]string, error) {
	pattern := filepath.Join(filepath.Dir(store.Path), tempPrefix(store.Path)+"*")
	switch b.flaw {
	case "sweeps_nothing":
		return nil, nil
	case "sweeps_what_is_not_its_own":
		pattern = filepath.Join(filepath.Dir(store.Path), "*.tmp")
	}
	temps, err := filepath.Glob(pattern)
	for _, temp := range temps {
		err = errors.Join(err, os.Remove(temp))
	}
	return temps, err
}

func tempPrefix(path string) string { return "." + filepath.Base(path) + ".toy-" }

func (b toy) lock(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, openError(err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err != nil && b.flaw != "ignores_the_lock" {
		_ = f.Close()
		return nil, sdk.Errorf(sdk.ErrBusy, "lock %s: %w", path, err)
	}
	return f, nil
}

// read returns the live payloads and how many slots there are, and writes
// nothing.
func (b toy) read(ctx context.Context, path string) (live [][]byte, slots int, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, 0, openError(err)
	}
	if len(content) == 0 && b.flaw == "begins_a_store_in_an_empty_file" {
		return nil, 0, os.WriteFile(path, []byte(magic), 0o600)
	}
	body, ok := strings.CutPrefix(string(content), magic)
	corrupt := sdk.Errorf(sdk.ErrCorrupt, "read %s: no toy store, or a damaged one", path)
	if !ok {
		switch b.flaw {
		case "panics_on_garbage":
			_ = content[len(content)+slotSize]
		case "returns_untyped_errors":
			return nil, 0, fmt.Errorf("read %s: what is this", path)
		}
		return nil, 0, corrupt
	}
	if len(body)%slotSize != 0 {
		if b.flaw == "hangs_on_a_truncated_store" {
			<-context.WithoutCancel(ctx).Done()
		}
		return nil, 0, corrupt
	}
	for i := 0; i < len(body); i += slotSize {
		s := []byte(body[i : i+slotSize])
		if crc32.ChecksumIEEE(s[:slotSize-4]) != binary.LittleEndian.Uint32(s[slotSize-4:]) {
			return nil, 0, corrupt
		}
		if s[0] == 1 {
			live = append(live, s[1:slotSize-4])
		}
	}
	return live, len(body) / slotSize, nil
}

func openError(err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return sdk.Errorf(sdk.ErrNotFound, "%w", err)
	case errors.Is(err, syscall.EISDIR):
		return sdk.Errorf(sdk.ErrUnsupported, "%w", err)
	}
	return err
}

func slot(payload []byte, live bool) []byte {
	s := make([]byte, slotSize)
	if live {
		s[0] = 1
	}
	copy(s[1:], payload)
	binary.LittleEndian.PutUint32(s[slotSize-4:], crc32.ChecksumIEEE(s[:slotSize-4]))
	return s
}

func digest(live [][]byte) string {
	sum := sha256.New()
	for _, payload := range live {
		sum.Write(payload)
	}
	return fmt.Sprintf("sha256:%x", sum.Sum(nil))
}

func sizeOf(path string) (sdk.Size, error) {
	info, err := os.Stat(path)
	if err != nil {
		return sdk.Size{}, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return sdk.Size{}, errors.ErrUnsupported
	}
	return sdk.Size{TotalBytes: info.Size(), AllocatedBytes: stat.Blocks * 512}, nil
}

// toyFactory is how the suite gets to know the toy engine.
func toyFactory(flaw string) sdktest.Factory {
	return sdktest.Factory{
		Backend:   func() sdk.Backend { return toy{flaw: flaw, described: new(int), kept: new([]*os.File)} },
		StoreName: "items.toy",
		Make:      makeToy,
		Digest: func(path string) (string, error) {
			live, _, err := toy{}.read(context.Background(), path)
			return digest(live), err
		},
		Hold: func(path string) (func() error, error) {
			f, err := toy{}.lock(path)
			if err != nil {
				return nil, err
			}
			return f.Close, nil
		},
		SlowBytes: 1 << 20,
	}
}

func makeToy(path string, spec sdktest.Spec) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if _, err := io.WriteString(f, magic); err != nil || spec.Shape == sdktest.Empty {
		return err
	}
	r := rand.New(rand.NewPCG(spec.Seed, 0))
	payload := make([]byte, slotSize-5)
	for range spec.Bytes / slotSize {
		binary.LittleEndian.PutUint64(payload, r.Uint64())
		live := spec.Shape == sdktest.Dense || r.IntN(2) == 0
		if _, err := f.Write(slot(payload, live)); err != nil {
			return err
		}
	}
	return f.Sync()
}

var (
	_ sdk.Backend = toy{}
	_ sdk.Sweeper = toy{}
)
