package bolt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wringdb/wring/plugins/bolt/internal/probe"
	"github.com/wringdb/wring/plugins/bolt/internal/punch"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/sdk"
)

// The modes.
const (
	// ModeAuto is to rewrite where there is room, and to punch where not.
	ModeAuto = "auto"
	// ModeRewrite is the mode in which a new file is written.
	ModeRewrite = "rewrite"
	// ModePunch is the mode in which free pages are given back in place.
	ModePunch = "punch"
)

// modes in the order of Capabilities.Modes.
func modes() []string { return []string{ModeAuto, ModeRewrite, ModePunch} }

// room is what the choice of a mode depends on.
type room struct {
	packed int64 // bytes that a new file would have
	free   int64 // bytes that are free where it would lie
	unfit  error // why no new file can take the store's place; nil if one can
	// punchable is how many bytes punching would give back. It is asked only
	// where that matters. Its error may be of kind punch.ErrUnsupported.
	punchable func() (int64, error)
}

// roomFor says what there is room for beside a file that has been measured.
func roomFor(ctx context.Context, f *os.File, m probe.Measurement, o options) (room, error) {
	free, err := replace.FreeSpace(f)
	if err != nil {
		return room{}, err
	}
	path, err := filepath.EvalSymlinks(f.Name())
	if err != nil {
		return room{}, err
	}
	unfit := replace.Fit(path)
	if unfit != nil && !errors.Is(unfit, replace.ErrUnfit) {
		return room{}, unfit
	}
	return room{
		packed:    m.PackedBytes,
		free:      free,
		unfit:     unfit,
		punchable: func() (int64, error) { return punchable(ctx, f, m, o.minRun, m.Whole) },
	}, nil
}

// spare is what a rewrite leaves free beside the new file, in bytes, for the
// directory and for what others write meanwhile.
const spare = 1 << 20

// need is how much must be free for a rewrite: the new file with a tenth to
// spare, as it is a prediction.
func (r room) need() int64 { return r.packed + r.packed/10 + spare }

// choice is how to compact.
type choice struct {
	// Mode is ModeRewrite or ModePunch.
	mode string
	// Why is a sentence, empty where the request left no choice.
	why string
	// Lacking is why the store cannot be rewritten, of kind sdk.ErrNoSpace or
	// replace.ErrUnfit: an error for whoever means to compact, and none for who
	// measures.
	lacking error
}

// choose finds the mode for a store. An empty request is ModeAuto.
func choose(path, requested string, r room) (choice, error) {
	switch requested {
	case ModePunch:
		return choice{mode: ModePunch}, nil
	case ModeRewrite:
		c := choice{mode: ModeRewrite, lacking: r.unfit}
		if r.unfit == nil && r.free < r.need() {
			c.lacking = r.lacking(path, fmt.Sprintf("free %s where the store lies and try again, or use mode %q, which needs no space",
				sdk.FormatBytes(r.need()-r.free), ModePunch))
		}
		return c, nil
	}
	return r.choose(path)
}

// checkMode refuses what is no mode. An empty one is ModeAuto.
func checkMode(doing, mode string) error {
	if mode == "" || slices.Contains(modes(), mode) {
		return nil
	}
	return sdk.Errorf(sdk.ErrInvalidOption, "%s: there is no mode %q", doing, mode).
		WithHint("the modes are: %s", strings.Join(modes(), ", "))
}

func (r room) choose(path string) (choice, error) {
	need, free := sdk.FormatBytes(r.need()), sdk.FormatBytes(r.free)
	if r.unfit == nil && r.free >= r.need() {
		return choice{mode: ModeRewrite, why: fmt.Sprintf("the new file needs %s, %s are free", need, free)}, nil
	}
	gain, err := r.punchable()
	without := "and punching would give nothing back"
	unable := errors.Is(err, punch.ErrUnsupported)
	if unable {
		gain, err, without = 0, nil, "and the file system cannot punch holes"
	}
	if err != nil {
		return choice{}, err
	}
	short := fmt.Sprintf("rewriting needs %s beside the store and %s are free", need, free)
	if r.unfit != nil {
		short = r.unfit.Error()
	}
	if r.unfit != nil && gain == 0 && !unable {
		// Nothing is to be done about it, now or later: that is no failure.
		return choice{mode: ModePunch, why: short + ", " + without}, nil
	}
	if gain > 0 {
		return choice{mode: ModePunch, why: fmt.Sprintf("%s; punching gives %s back in place", short, sdk.FormatBytes(gain))}, nil
	}
	c := choice{mode: ModeRewrite, why: fmt.Sprintf("%s, %s", short, without)}
	if r.unfit != nil {
		c.lacking = sdk.Errorf(sdk.ErrUnsupported, "compact %s: %w", path, r.unfit).
			WithHint("a rewrite needs a file with one name, in a directory that is mounted as a whole; %s", without[len("and "):])
	} else {
		c.lacking = r.lacking(path, fmt.Sprintf("free %s where the store lies and try again; %s",
			sdk.FormatBytes(r.need()-r.free), without[len("and "):]))
	}
	return c, nil
}

func (r room) lacking(path, hint string) error {
	return sdk.Errorf(sdk.ErrNoSpace, "compact %s: the new file needs %s beside it, and %s are free",
		path, sdk.FormatBytes(r.need()), sdk.FormatBytes(r.free)).WithHint("%s", hint)
}
