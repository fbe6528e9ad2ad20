// Package punch gives the blocks under a bbolt file's free pages back to the
// file system, in place: the file keeps its size and its pages their numbers,
// and no second copy is needed. What bbolt puts into a page later takes a block
// again.
//
// # Why nothing is lost
//
// A free page is one that the newest meta does not lead to. bbolt never reads
// it before it has written it anew, so its bytes do not matter, and a hole of
// zeros in its place does not either. That leaves two questions.
//
// Is it free? The freelist is not taken at its word: see Checked.
//
// Is it free in the state that a crash leaves? bbolt falls back to the older
// meta, which may lead to pages that are free in the newest, only where the
// newest is not valid on the disk. So the file is synced before the first hole
// is made. From then on a power cut finds the newest meta on the disk and all
// that it leads to, and no later transaction overwrites that meta before its
// successor is on the disk: a transaction writes the older of the two. bbolt
// itself relies on no more than that: the next transaction may use the very
// pages that holes are made in. Whether a power cut finds none, some or all of
// the holes does not matter.
//
// Readers that hold on to an older state would see the holes. There are none:
// whoever calls Punch holds the file's exclusive lock, and a reader its shared
// one.
package punch

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// ErrUnsupported says that the file system, or the operating system, cannot
// make holes.
var ErrUnsupported = errors.New("holes cannot be made in this file")

// ErrChanged says that somebody has written to the file since its free pages
// were found.
var ErrChanged = errors.New("the file was written to meanwhile")

// DefaultMinRun leaves single pages of 4 KiB, in bytes. In a file of random keys
// of which half were deleted they are half of all runs and a fifth of the free
// bytes, and they are what bbolt uses again first. Runs of 64 KiB and more hold
// next to nothing there: of 719 MiB free on ext4, a least of 4 KiB gives back
// 719 MiB in 9 s, 8 KiB 566 MiB in 7 s, 16 KiB 306 MiB in 2.5 s, 64 KiB 1 MiB.
// Where whole ranges were deleted hardly any run is that short. BenchmarkPunch
// measures it.
const DefaultMinRun = 8 << 10

// maxCall bounds what one call gives back, in bytes, and so how long the end
// of the context may go unnoticed.
const maxCall = 64 << 20

// Config of measuring and punching.
type Config struct {
	// MinRun is how many bytes on the disk a run of free pages must hold to be
	// punched; DefaultMinRun when 0.
	MinRun int64
	// Sync makes the file durable, before the first hole and after the last;
	// nil for fsync.
	Sync func() error
	// Progress is called after each call to the system with the bytes that it
	// was asked for. Its error ends the punching. May be nil.
	Progress func(bytes int64) error

	// Before is called before each hole; its error takes the hole's place. May
	// be nil.
	Before func(offset, length int64) error

	// hole takes the system's place in tests.
	hole func(*os.File, span) error
}

func (c Config) minRun() int64 {
	if c.MinRun > 0 {
		return c.MinRun
	}
	return DefaultMinRun
}

// Result is what was done, be it all or a part.
type Result struct {
	// Runs that were given back, of Bytes of data in all.
	Runs, Bytes int64
	// GivenBack is how many fewer bytes the file system holds for the file.
	GivenBack int64
}

// Punchable returns how many of the allocated bytes Punch would give back now.
// It reads where the holes are and changes nothing.
func (free *Free) Punchable(f *os.File) (int64, error) {
	found, err := allocated(f, free.size, free.runs, free.minRun)
	if err != nil {
		return 0, err
	}
	return onDisk(f, found.bytes, found.dataBytes)
}

// AtMost is what punching may give back of a file of which is known how many
// pages are free and not which: more than it will where runs are short. It
// changes nothing.
func AtMost(f *os.File, meta page.Meta, freePages int64) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	var below, all int64 // bytes of data below the high-water mark, and in all
	if err := extents(f, info.Size(), func(e span) {
		all += e.length()
		below += max(0, min(e.to, meta.Bytes())-e.from)
	}); err != nil {
		return 0, err
	}
	inUse := meta.Bytes() - freePages*int64(meta.PageSize)
	return onDisk(f, max(0, below-inUse), all)
}

// onDisk scales bytes of data to what they take on the disk: a file system that
// compresses holds less.
func onDisk(f *os.File, bytes, of int64) (int64, error) {
	held, err := allocatedBytes(f)
	if err != nil {
		return 0, err
	}
	if held < of {
		bytes = int64(float64(bytes) * float64(held) / float64(of))
	}
	return bytes, nil
}

func allocatedBytes(f *os.File) (int64, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return 0, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return int64(stat.Blocks) * 512, nil //nolint:unconvert // the type differs between systems
}

// Punch makes the holes. The caller holds the exclusive lock of f, which is open
// for writing, and has held it since the trees were walked for Checked. When it fails, or ctx
// ends, what was punched stays punched, which does no harm, and the result says
// how much that is. Where
// the system cannot make holes the error is of kind ErrUnsupported.
func (free *Free) Punch(ctx context.Context, f *os.File, c Config) (Result, error) {
	if !free.checked {
		return Result{}, errors.New("punch holes: the free pages were not checked")
	}
	p := &puncher{ctx: ctx, file: f, config: c}
	if p.config.Sync == nil {
		p.config.Sync = f.Sync
	}
	if p.config.hole == nil {
		p.config.hole = hole
	}
	if err := p.config.Sync(); err != nil {
		return Result{}, fmt.Errorf("sync %s before punching: %w", f.Name(), err)
	}
	if now, err := page.ReadMeta(f); err != nil || now != free.Meta {
		return Result{}, errors.Join(fmt.Errorf("punch holes into %s: %w", f.Name(), ErrChanged), err)
	}
	before, err := allocatedBytes(f)
	if err != nil {
		return Result{}, err
	}
	found, err := allocated(f, free.size, free.runs, free.minRun)
	if err != nil {
		return Result{}, err
	}
	err = p.punch(found.punch)
	after, statErr := allocatedBytes(f)
	p.result.GivenBack = before - after
	return p.result, errors.Join(err, statErr)
}

type puncher struct {
	ctx    context.Context
	file   *os.File
	config Config
	result Result
}

func (p *puncher) punch(runs []span) error {
	for len(runs) > 0 {
		late, err := p.pass(runs)
		if err != nil {
			return err
		}
		if len(late) == len(runs) {
			return p.failed(late[0], unix.ENOSPC)
		}
		// To cut an extent in two the file system may need a block of its own.
		// On one that is full there are some now.
		runs = late
	}
	if err := p.config.Sync(); err != nil {
		return fmt.Errorf("sync %s after punching: %w", p.file.Name(), err)
	}
	return nil
}

// pass punches runs, and returns those for which there was no space.
func (p *puncher) pass(runs []span) (late []span, err error) {
	for _, run := range runs {
		err := p.run(run)
		if errors.Is(err, unix.ENOSPC) {
			late = append(late, run)
			continue
		}
		if err != nil {
			return nil, err
		}
		p.result.Runs++
	}
	return late, nil
}

func (p *puncher) run(run span) error {
	for part := range run.parts(maxCall) {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		if err := p.hole(part); err != nil {
			return p.failed(part, err)
		}
		p.result.Bytes += part.length()
		if p.config.Progress == nil {
			continue
		}
		if err := p.config.Progress(part.length()); err != nil {
			return err
		}
	}
	return nil
}

func (p *puncher) hole(part span) error {
	if p.config.Before != nil {
		if err := p.config.Before(part.from, part.length()); err != nil {
			return err
		}
	}
	return p.config.hole(p.file, part)
}

func (p *puncher) failed(part span, err error) error {
	return fmt.Errorf("punch a hole of %d bytes at %d into %s: %w", part.length(), part.from, p.file.Name(), err)
}
