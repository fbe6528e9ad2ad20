package pebble

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// know learns what must stay.
func (s *subject) know() (err error) {
	options, err := plainOptions(s.path)
	if err != nil {
		return err
	}
	if s.digest, s.keys, err = pebbletest.Digest(s.path, options); err != nil {
		return err
	}
	if s.options, err = pebbletest.Options(s.path); err != nil {
		return err
	}
	blobs, err := filepath.Glob(filepath.Join(s.path, "*.blob"))
	if err != nil {
		return err
	}
	s.blobs = len(blobs) > 0
	s.format, err = formatOf(s.path)
	return err
}

// plainOptions are the store's own, as its application would have them.
func plainOptions(path string) (*pebbledb.Options, error) {
	text, err := pebbletest.Options(path)
	if err != nil {
		return nil, err
	}
	options := &pebbledb.Options{}
	err = options.Parse(text, &pebbledb.ParseHooks{
		NewFilterPolicy: func(name string) (pebbledb.FilterPolicy, error) {
			if name == pebbledb.NoFilterPolicy.Name() {
				return pebbledb.NoFilterPolicy, nil
			}
			return bloom.FilterPolicy(10), nil
		},
	})
	options.ErrorIfNotExists, options.Logger = true, &events{}
	options.EventListener = &pebbledb.EventListener{
		DataCorruption: func(pebbledb.DataCorruptionInfo) {}, // it comes as an error, too
	}
	return options, err
}

func formatOf(path string) (pebbledb.FormatMajorVersion, error) {
	desc, err := pebbledb.Peek(path, vfs.Default)
	return desc.FormatMajorVersion, err
}

// check is what must hold after each case: the store has its content, its options
// and its format, its levels are in order, it can be measured and compacted, which
// gives back what it usually does and leaves none of our files, and its
// application can go on writing.
func (c *campaign) check(path string, s *subject, random *rand.Rand) error {
	if err := s.whole(path, s.options); err != nil {
		return fmt.Errorf("as it was left: %w", err)
	}
	options := s.options
	if random.IntN(2) == 0 { // its application comes first
		db, err := openPlain(path, false)
		if err == nil {
			err = db.Close()
		}
		if err == nil {
			options, err = pebbletest.Options(path)
		}
		if err != nil {
			return fmt.Errorf("open as its application: %w", err)
		}
	}
	b := sdk.Guard(New(Config{}))
	depth := []sdk.Depth{sdk.DepthQuick, sdk.DepthSampled, sdk.DepthExact}[random.IntN(3)]
	f, err := b.Fragmentation(c.t.Context(), sdk.FragmentationRequest{Store: sdk.Store{Path: path}, Depth: depth})
	if err != nil || f.AllocatedBytes == 0 || f.ReclaimableBytes > f.AllocatedBytes {
		return fmt.Errorf("measured, %s: %+v, error %w", depth, f, err)
	}
	mode := s.modes[random.IntN(len(s.modes))]
	result, err := compactAt(b, path, mode)
	if err != nil {
		return fmt.Errorf("the next compaction, %s: %w", mode, err)
	}
	usual := s.runs[mode].after.TotalBytes
	if over := result.After.TotalBytes - usual; over > s.allowance(usual, result.NoOp) {
		return fmt.Errorf("the next compaction, %s, leaves %d bytes, and usually %d: %+v", mode, result.After.TotalBytes, usual, result)
	}
	if err := s.whole(path, options); err != nil {
		return fmt.Errorf("after the next compaction, %s: %w", mode, err)
	}
	if err := onlyPebbles(path, result.NoOp); err != nil {
		return err
	}
	return writeAndReopen(path)
}

// allowance is by how many bytes a compaction may leave more than another one of
// the same store: tables that are cut elsewhere, and what is not worth it.
func (s *subject) allowance(usual int64, noOp bool) int64 {
	more := usual / 20
	if s.blobs {
		more += worthwhile // of dead values
	}
	if noOp {
		more += 2 * worthwhile // as is foretold for what the files take on the disk
	}
	return more
}

// whole makes sure that nothing is lost, by plain Pebble, which opens the store for
// reading only.
func (s *subject) whole(path, options string) error {
	plain, err := plainOptions(path)
	if err != nil {
		return err
	}
	digest, keys, err := pebbletest.Digest(path, plain)
	if err != nil {
		return err
	}
	if digest != s.digest || keys != s.keys {
		return fmt.Errorf("%d keys with the digest %s, before %d with %s", keys, digest, s.keys, s.digest)
	}
	if text, err := pebbletest.Options(path); err != nil || text != options {
		return fmt.Errorf("the options are %s, error %w, before %s", text, err, options)
	}
	if format, err := formatOf(path); err != nil || format != s.format {
		return fmt.Errorf("the format is %d, error %w, before %d", format, err, s.format)
	}
	db, err := openPlain(path, true)
	if err != nil {
		return err
	}
	return errors.Join(db.CheckLevels(nil), db.Close())
}

func openPlain(path string, readOnly bool) (*pebbledb.DB, error) {
	options, err := plainOptions(path)
	if err != nil {
		return nil, err
	}
	options.ReadOnly = readOnly
	return pebbledb.Open(path, options)
}

// pebbleFile are the names that Pebble gives the files of a store at rest; one that
// is temporary goes when it is opened for writing.
var pebbleFile = regexp.MustCompile(`^(LOCK|(MANIFEST|OPTIONS)-\d+|\d+\.(log|sst|blob)|marker\.(manifest|format-version)\.\d+\..+)$`)

// errBeside is of what no compaction removes any more.
var errBeside = errors.New("beside the store something is left")

// onlyPebbles makes sure that nothing of ours is in the store or beside it, and
// nothing temporary of Pebble's unless that is allowed.
func onlyPebbles(path string, temporary bool) error {
	beside, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	if len(beside) != 1 {
		return fmt.Errorf("%w: %v", errBeside, beside)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		allowed := temporary && strings.HasPrefix(entry.Name(), "temporary.")
		if !allowed && !pebbleFile.MatchString(entry.Name()) {
			return fmt.Errorf("%s is left", filepath.Join(path, entry.Name()))
		}
	}
	return nil
}

// writeAndReopen is what an application does next.
func writeAndReopen(path string) error {
	key, value := []byte("written"), "value"
	db, err := openPlain(path, false)
	if err != nil {
		return err
	}
	if err := errors.Join(db.Set(key, []byte(value), pebbledb.Sync), db.Close()); err != nil {
		return err
	}
	if db, err = openPlain(path, true); err != nil {
		return err
	}
	got, closer, err := db.Get(key)
	if err != nil || string(got) != value {
		return errors.Join(fmt.Errorf("the key that was written has %q, error %w", got, err), db.Close())
	}
	return errors.Join(closer.Close(), db.Close())
}
