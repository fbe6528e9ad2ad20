package bolt

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/wringdb/wring/plugins/bolt/internal/punch"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/sdk"
)

func TestChoose(t *testing.T) {
	broken := errors.New("broken disk")
	for _, test := range []struct {
		name         string
		requested    string
		packed, free int64 // MiB
		gain         int64 // MiB
		err          error // of asking for the gain
		mode, why    string
		lacking      string // part of the hint
	}{
		{name: "room", packed: 34, free: 2048, gain: 10, mode: ModeRewrite,
			why: "the new file needs 38.4 MiB, 2.0 GiB are free"},
		{name: "just room", packed: 30, free: 34, gain: 10, mode: ModeRewrite,
			why: "the new file needs 34.0 MiB, 34.0 MiB are free"},
		{name: "no room", requested: ModeAuto, packed: 270, free: 12, gain: 240, mode: ModePunch,
			why: "rewriting needs 298.0 MiB beside the store and 12.0 MiB are free; punching gives 240.0 MiB back in place"},
		{name: "not quite enough room", packed: 30, free: 33, gain: 1, mode: ModePunch,
			why: "rewriting needs 34.0 MiB beside the store and 33.0 MiB are free; punching gives 1.0 MiB back in place"},
		{name: "no room, nothing to punch", packed: 270, free: 12, mode: ModeRewrite,
			why:     "rewriting needs 298.0 MiB beside the store and 12.0 MiB are free, and punching would give nothing back",
			lacking: "free 286.0 MiB where the store lies and try again; punching would give nothing back"},
		{name: "no room, no holes", packed: 270, free: 12, err: fmt.Errorf("ask: %w", punch.ErrUnsupported), mode: ModeRewrite,
			why:     "rewriting needs 298.0 MiB beside the store and 12.0 MiB are free, and the file system cannot punch holes",
			lacking: "the file system cannot punch holes"},
		{name: "room, no holes", packed: 1, free: 12, err: punch.ErrUnsupported, mode: ModeRewrite,
			why: "the new file needs 2.1 MiB, 12.0 MiB are free"},
		{name: "rewrite asked for", requested: ModeRewrite, packed: 10, free: 12, gain: 5, mode: ModeRewrite},
		{name: "rewrite asked for without room", requested: ModeRewrite, packed: 270, free: 12, gain: 240, mode: ModeRewrite,
			lacking: `or use mode "punch"`},
		{name: "punch asked for", requested: ModePunch, packed: 10, free: 1000, mode: ModePunch},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := choose("/data/a.db", test.requested, room{
				packed: test.packed << 20, free: test.free << 20,
				punchable: func() (int64, error) { return test.gain << 20, test.err },
			})
			if err != nil || c.mode != test.mode || c.why != test.why {
				t.Errorf("chose %q, error %v\nbecause %q\nwant %q\nbecause %q", c.mode, err, c.why, test.mode, test.why)
			}
			if test.lacking == "" && c.lacking == nil {
				return
			}
			hint := sdk.HintOf(c.lacking)
			if test.lacking == "" || !errors.Is(c.lacking, sdk.ErrNoSpace) || !strings.Contains(hint, test.lacking) {
				t.Errorf("lacking %v (hint %q), want a hint with %q", c.lacking, hint, test.lacking)
			}
		})
	}
	full := room{packed: 1 << 20, punchable: func() (int64, error) { return 0, broken }}
	if _, err := choose("a.db", ModeAuto, full); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	unfit := room{packed: 1 << 20, free: 1 << 40, unfit: replace.ErrUnfit, punchable: func() (int64, error) { return 4096, nil }}
	if c, err := choose("a.db", ModeAuto, unfit); err != nil || c.mode != ModePunch || !strings.Contains(c.why, "cannot be replaced") {
		t.Errorf("for a file that cannot be replaced: %+v, error %v", c, err)
	}
	if c, err := choose("a.db", ModeRewrite, unfit); err != nil || !errors.Is(c.lacking, replace.ErrUnfit) {
		t.Errorf("to rewrite a file that cannot be replaced: %+v, error %v", c, err)
	}
	unfit.punchable = func() (int64, error) { return 0, nil }
	if c, err := choose("a.db", ModeAuto, unfit); err != nil || c.mode != ModePunch || c.lacking != nil || !strings.Contains(c.why, "punching would give nothing back") {
		t.Errorf("for one that was punched: %+v, error %v", c, err)
	}
	unfit.punchable = func() (int64, error) { return 0, punch.ErrUnsupported }
	c, err := choose("a.db", ModeAuto, unfit)
	hint := sdk.HintOf(c.lacking)
	if err != nil || !errors.Is(c.lacking, replace.ErrUnfit) || !errors.Is(c.lacking, sdk.ErrUnsupported) ||
		!strings.Contains(hint, "cannot punch holes") || strings.Contains(hint, ModePunch+`"`) {
		t.Errorf("for one that cannot be punched either: %+v (hint %q), error %v", c, hint, err)
	}
	if err := checkMode("compact a.db", "shrink"); !errors.Is(err, sdk.ErrInvalidOption) || !strings.Contains(sdk.HintOf(err), "auto, rewrite, punch") {
		t.Errorf("error %v (hint %q)", err, sdk.HintOf(err))
	}
}

func TestModes(t *testing.T) {
	for i, mode := range modes() {
		if _, err := choose("a.db", mode, room{free: 1 << 40}); err != nil {
			t.Error(err)
		}
		if err := checkMode("compact a.db", mode); err != nil {
			t.Error(err)
		}
		if (mode == ModeAuto) != (i == 0) {
			t.Errorf("mode %d is %s", i, mode)
		}
	}
}
