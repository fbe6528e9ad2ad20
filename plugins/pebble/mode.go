package pebble

import (
	"strings"

	"github.com/cockroachdb/pebble/v2/sstable"

	"github.com/wringdb/wring/sdk"
)

// The modes.
const (
	// modeRanges compacts in place, one key range after the other.
	modeRanges = "ranges"
	// modeRewrite writes the whole store anew, and puts that in its place.
	modeRewrite = "rewrite"
)

// The options' names.
const (
	optionFilterBits = "filter_bits"
	optionRecompress = "recompress"
)

// useRanges is advice where a store cannot be replaced.
const useRanges = "use mode " + modeRanges + ", which compacts in place"

// modeOf is how a request wants a store compacted. The compression is nil where it
// does not ask for one.
func modeOf(mode string, o sdk.Options) (string, *sstable.CompressionProfile, error) {
	switch mode {
	case "":
		mode = modeRanges
	case modeRanges, modeRewrite:
	default:
		return "", nil, sdk.Errorf(sdk.ErrInvalidOption, "there is no mode %q", mode).
			WithHint("the modes are: %s, %s", modeRanges, modeRewrite)
	}
	name := o.String(optionRecompress)
	if name == "" {
		return mode, nil, nil
	}
	if mode != modeRewrite {
		return "", nil, sdk.Errorf(sdk.ErrInvalidOption, "option %s is for mode %s: mode %s leaves most tables as they are",
			optionRecompress, modeRewrite, mode).WithHint("use mode %s, or leave the option out", modeRewrite)
	}
	for _, c := range compressionProfiles {
		if c.name == name {
			return mode, c.profile, nil
		}
	}
	return "", nil, sdk.Errorf(sdk.ErrInvalidOption, "there is no compression %q", name).
		WithHint("those that there are: %s", strings.Join(compressionNames(), ", "))
}
