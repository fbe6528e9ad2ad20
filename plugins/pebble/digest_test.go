package pebble

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
	"github.com/wringdb/wring/plugins/pebble/pebbletest"
	"github.com/wringdb/wring/sdk"
)

// TestContentDiffers has stores that differ by little: no two have one digest.
func TestContentDiffers(t *testing.T) {
	set := func(pairs ...string) func(*pebbledb.DB) error {
		return func(db *pebbledb.DB) error {
			for i := 0; i < len(pairs); i += 2 {
				if err := db.Set([]byte(pairs[i]), []byte(pairs[i+1]), pebbledb.NoSync); err != nil {
					return err
				}
			}
			return nil
		}
	}
	mark := func(from, to, suffix, value string) func(*pebbledb.DB) error {
		return func(db *pebbledb.DB) error {
			return db.RangeKeySet([]byte(from), []byte(to), []byte(suffix), []byte(value), pebbledb.NoSync)
		}
	}
	stores := map[string]func(*pebbledb.DB) error{
		"nothing":               set(),
		"a key":                 set("ab", "c"),
		"its border moved":      set("a", "bc"),
		"an empty value":        set("abc", ""),
		"two keys":              set("a", "b", "c", "d"),
		"one that looks like 2": set("a", "b\x01c\x01d"),
		"a kind in the value":   set("a", "bp\x01c\x01d"),
		"a range key":           mark("a", "b", "", "v"),
		"another end":           mark("a", "c", "", "v"),
		"another value":         mark("a", "b", "", "w"),
		"another suffix":        mark("a", "b", "v", ""),
	}
	seen := map[string]string{}
	for name, write := range stores {
		db, err := pebbledb.Open("", &pebbledb.Options{FS: vfs.NewMem(), Logger: &events{}, FormatMajorVersion: pebbledb.FormatNewest})
		if err != nil {
			t.Fatal(err)
		}
		if err := write(db); err != nil {
			t.Fatal(err)
		}
		c, err := engine.ReadContent(context.Background(), db, func(int64) {})
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[c.Digest]; ok {
			t.Errorf("%q and %q have the digest %s", name, other, c.Digest)
		}
		if want := len(name) > 0 && name != "nothing"; (c.Items > 0) != want {
			t.Errorf("%q has %d items", name, c.Items)
		}
		seen[c.Digest] = name
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestContentSame holds a store against itself in another layout.
func TestContentSame(t *testing.T) {
	path := generate(t, pebbletest.Spec{Shape: pebbletest.Churn, RangeKeys: 7, LeaveInLog: true})
	read := func() engine.Content {
		c, err := engine.ReadContent(context.Background(), view4test(t, path).db, func(int64) {})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	before := read()
	result := compact(t, path)
	after := read()
	if before != after {
		t.Errorf("content %+v, before %+v", after, before)
	}
	v := result.Verification
	if v.DigestBefore != before.Digest || v.DigestAfter != before.Digest || v.ItemsBefore != before.Items || v.ItemsAfter != before.Items {
		t.Errorf("verification %+v, want %+v twice", v, before)
	}
	if !strings.HasPrefix(before.Digest, "xxh64:") || before.Items < 7 {
		t.Errorf("content %+v", before)
	}
}

// TestVerifyDifference gives the verification another content to compare with.
func TestVerifyDifference(t *testing.T) {
	path := generate(t, pebbletest.Spec{})
	b := newBackend(Config{})
	held, err := b.lock(path)
	if err != nil {
		t.Fatal(err)
	}
	defer held.release()
	sum := func(paths ...string) *engine.Sum {
		s := engine.NewSum(nil, 0)
		for _, path := range paths {
			if err := s.Add(context.Background(), view4test(t, path).db, nil, nil, func(int64) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
		return s
	}
	verify := func(before *engine.Sum) error {
		c := &compaction{backend: b, path: path, lock: held.lock, watch: newWatch(), Progress: engine.Progress{Report: func(sdk.Progress) {}}}
		c.windows = view4test(t, path).tree().Windows(c.stepBytes, true)
		for _, w := range c.windows {
			c.checks = append(c.checks, &check{parts: []engine.Window{w}, before: engine.NewSum(nil, 0)})
		}
		c.checks[0].before = before
		_, _, err := c.verify(context.Background())
		return err
	}
	if err := verify(sum(path)); err != nil {
		t.Errorf("the same content: %v", err)
	}
	other := generate(t, pebbletest.Spec{Seed: 2})
	for name, wrong := range map[string]*engine.Sum{
		"digest": sum(other),
		"items":  sum(path, other),
	} {
		err := verify(wrong)
		if !errors.Is(err, sdk.ErrInternal) || sdk.Retryable(err) {
			t.Errorf("another %s: error %v, want %v that lasts", name, err, sdk.ErrInternal)
		}
		// People must hear that it is too late, and what to do.
		if !strings.Contains(fmt.Sprint(err), "in place") || !strings.Contains(sdk.HintOf(err), "backup") {
			t.Errorf("another %s: error %v with hint %q", name, err, sdk.HintOf(err))
		}
	}
}
