package pebble

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/wal"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/sdk"
)

// ownOptions is what a store's OPTIONS file says, as far as it can be restored.
type ownOptions struct {
	text   []byte
	parsed pebbledb.Options
	// bloomLevels are the levels whose filters are Pebble's bloom filters: the
	// file names them without their bits per key.
	bloomLevels []int
	// unknown are settings that this version of Pebble does not have.
	unknown []string
	// columnsUnset is set where the file does not say whether blocks have columns.
	columnsUnset bool
	// secondary is where the log goes on when its own directory fails; "" for nowhere.
	// The parsed options do not have it: whoever opens a store with a second log makes
	// a file there, even for reading only, and past the file system of the options.
	secondary string
}

// logDirs are the directories where the write-ahead log may be.
func (o *ownOptions) logDirs(d directory) []string {
	dirs := []string{d.path}
	if o.parsed.WALDir != "" {
		dirs[0] = d.resolve(o.parsed.WALDir)
	}
	if o.secondary != "" {
		dirs = append(dirs, o.secondary)
	}
	return dirs
}

// logBytes are those of the write-ahead log, wherever it is.
func (o *ownOptions) logBytes(d directory) (n int64, err error) {
	for _, dir := range o.logDirs(d) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return 0, pathError(dir, err)
		}
		for _, entry := range entries {
			if !(engine.File{Name: entry.Name()}).IsLog() {
				continue
			}
			info, err := entry.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue // a writer removed it meanwhile
			}
			if err != nil {
				return 0, pathError(dir, err)
			}
			n += info.Size()
		}
	}
	return n, nil
}

// readSecondary lets Pebble read what the second log has, and remove it once it is obsolete.
func (o *ownOptions) readSecondary(options *pebbledb.Options) {
	if o.secondary != "" {
		options.WALRecoveryDirs = []wal.Dir{{FS: options.FS, Dirname: o.secondary}}
	}
}

// readOptions restores a store's options, and refuses where a part of them is
// code that this backend does not have.
func (b *backend) readOptions(d directory) (*ownOptions, error) {
	text, err := os.ReadFile(d.options)
	if err != nil {
		return nil, pathError(d.options, err)
	}
	own := &ownOptions{text: text}
	if err := checkCompression(d, string(text)); err != nil {
		return nil, err
	}
	own.parsed.KeySchemas = sstable.MakeKeySchemas(b.config.KeySchemas...)
	if err := parse(&own.parsed, string(text), b.parseHooks(d, own)); err != nil {
		var typed *sdk.Error
		if errors.As(err, &typed) {
			return nil, typed
		}
		if ofLaterPebble(err) {
			return nil, newerError("%s has a value that this version of Pebble does not know: %s", d.options, engine.FirstLine(err))
		}
		return nil, sdk.Errorf(sdk.ErrCorrupt, "understand %s: %w", d.options, err).
			WithHint("open the store once with its application, which writes the file anew")
	}
	if err := checkUnknown(d, own.unknown); err != nil {
		return nil, err
	}
	own.parsed.FormatMajorVersion = d.format // the file may lag behind
	b.complete(own)
	if own.parsed.Cleaner != nil && fmt.Sprint(own.parsed.Cleaner) != fmt.Sprint(pebbledb.DeleteCleaner{}) {
		return nil, sdk.Errorf(sdk.ErrUnsupported, "%s keeps obsolete tables (cleaner %v), so that compacting it gives nothing back",
			d.path, own.parsed.Cleaner)
	}
	if dir := own.parsed.WALDir; dir != "" {
		if err := checkLogDirectory(d, dir); err != nil {
			return nil, err
		}
	}
	if failover := own.parsed.WALFailover; failover != nil {
		if err := checkLogDirectory(d, failover.Secondary.Dirname); err != nil {
			return nil, err
		}
		own.secondary, own.parsed.WALFailover = d.resolve(failover.Secondary.Dirname), nil
	}
	for i := range own.parsed.Levels {
		if _, ok := own.parsed.Levels[i].FilterPolicy.(bloom.FilterPolicy); ok && b.filterPolicy(engine.BloomName()) == nil {
			own.bloomLevels = append(own.bloomLevels, i)
		}
	}
	return own, nil
}

// ofLaterPebble says whether it is a value that cannot be understood, and would be the
// same again if the application wrote the file anew. Pebble has no type for that.
func ofLaterPebble(err error) bool {
	for _, says := range []string{"unknown ", "unrecognized ", "unsupported "} {
		if strings.HasPrefix(strings.TrimPrefix(err.Error(), "pebble: "), says) {
			return true
		}
	}
	return false
}

// parse is Pebble's own, which panics at some of what a damaged file may say.
func parse(o *pebbledb.Options, text string, hooks *pebbledb.ParseHooks) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	return o.Parse(text, hooks)
}

// complete sets what the file does not have, because it has no place for it or
// because it leaves out what is not set.
func (b *backend) complete(own *ownOptions) {
	o := &own.parsed
	if o.KeySchema == "" {
		o.KeySchemas = nil // from before there were any
	}
	if o.Experimental.EnableColumnarBlocks == nil {
		// Pebble would take it for set. This version leaves it out where it is not, and a
		// later one always: settleFormat finds out.
		own.columnsUnset = true
		o.Experimental.EnableColumnarBlocks = func() bool { return false }
	}
	o.Experimental.ShortAttributeExtractor = b.config.ShortAttributeExtractor
	o.Experimental.SpanPolicyFunc = b.config.SpanPolicyFunc
}

// checkUnknown refuses settings of how tables and blob files are written that this
// version of Pebble does not have: what they stand for would be lost.
func checkUnknown(d directory, names []string) error {
	for _, name := range names {
		if strings.HasPrefix(name, "Level ") || strings.HasPrefix(name, "Value Separation.") {
			return newerError("%s has the setting %s, which this version of Pebble does not know", d.path, name)
		}
	}
	return nil
}

// newerError is for a store that a later Pebble than this one has written.
func newerError(format string, args ...any) error {
	return sdk.Errorf(sdk.ErrUnsupported, format, args...).
		WithHint("use a plugin that is built on the Pebble of the store's application, or %s", letApplication)
}

// checkCompression refuses what the application made up for itself: the file has
// only names of compression profiles, and finds by them, in any case of letters,
// nothing but Pebble's own.
func checkCompression(d directory, text string) error {
	for line := range strings.Lines(text) {
		key, name, _ := strings.Cut(line, "=")
		if name = strings.TrimSpace(name); strings.TrimSpace(key) != "compression" {
			continue
		}
		if p := block.CompressionProfileByName(name); p == nil || p.Name != name {
			return sdk.Errorf(sdk.ErrUnsupported, "%s is compressed by the profile %q, which is none of Pebble's as this plugin knows them", d.path, name).
				WithHint("%s; or, if it is of a newer Pebble, build the plugin on that", letApplication)
		}
	}
	return nil
}

// checkLogDirectory makes sure that a log kept elsewhere is there: opening the
// store without it would lose the latest writes.
func checkLogDirectory(d directory, name string) error {
	name = d.resolve(name)
	if !strings.HasPrefix(name, "/") {
		// Relative names hang on the application's working directory.
		return sdk.Errorf(sdk.ErrUnsupported, "%s keeps its log in %q, which only its application can locate", d.path, name).
			WithHint("%s", letApplication)
	}
	if _, err := os.Stat(name); err != nil {
		return sdk.Errorf(sdk.ErrUnsupported, "%s keeps its log in %s, which is out of reach: %w", d.path, name, err).
			WithHint("mount the directory, or compact where the application runs")
	}
	return nil
}

func (b *backend) parseHooks(d directory, own *ownOptions) *pebbledb.ParseHooks {
	return &pebbledb.ParseHooks{
		NewCleaner: func(name string) (pebbledb.Cleaner, error) {
			return nil, sdk.Errorf(sdk.ErrUnsupported, "%s has the cleaner %q, which only its application knows", d.path, name).
				WithHint("%s", letApplication)
		},
		NewComparer: func(name string) (*pebbledb.Comparer, error) {
			for _, c := range b.config.Comparers {
				if c.Name == name {
					return c.EnsureDefaults(), nil // the key schema gets it as it is
				}
			}
			return nil, unknownCode(d, "comparer", name, "Comparers")
		},
		NewMerger: func(name string) (*pebbledb.Merger, error) {
			for _, m := range b.config.Mergers {
				if m.Name == name {
					return m, nil
				}
			}
			return nil, unknownCode(d, "merger", name, "Mergers")
		},
		NewKeySchema: func(name string) (pebbledb.KeySchema, error) {
			return pebbledb.KeySchema{}, unknownCode(d, "key schema", name, "KeySchemas")
		},
		NewFilterPolicy: func(name string) (pebbledb.FilterPolicy, error) {
			if p := b.filterPolicy(name); p != nil {
				return p, nil
			}
			switch name {
			case pebbledb.NoFilterPolicy.Name(), "":
				return pebbledb.NoFilterPolicy, nil
			case engine.BloomName():
				return bloom.FilterPolicy(engine.StandardFilterBits), nil
			}
			return nil, unknownCode(d, "filter policy", name, "FilterPolicies")
		},
		SkipUnknown: func(name, _ string) bool {
			own.unknown = append(own.unknown, name)
			return true
		},
	}
}

// filterPolicy returns a policy of the Config, or nil.
func (b *backend) filterPolicy(name string) pebbledb.FilterPolicy {
	for _, p := range b.config.FilterPolicies {
		if p.Name() == name {
			return p
		}
	}
	return nil
}

func unknownCode(d directory, what, name, field string) error {
	return needsCode(field, "%s has the %s %q, which this plugin does not know", d.path, what, name)
}

// needsCode is an error for a store that a field of the Config is missing for.
func needsCode(field, format string, args ...any) error {
	return sdk.Errorf(sdk.ErrUnsupported, format, args...).
		WithHint("build a plugin that knows it, ten lines that pass Config.%s to the package plugins/pebble (its documentation shows them), or %s", field, letApplication)
}
