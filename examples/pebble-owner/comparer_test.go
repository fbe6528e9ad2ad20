package main

import (
	"bytes"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// TestComparer has Pebble's own checks, and what these leave out: index blocks and
// range keys depend on it.
func TestComparer(t *testing.T) {
	c := newestFirst()
	names := []string{"a", "ab", "abc", "b", "name-0001", "name-0002", "z\x01", "\xff", "\xff\xff"}
	versions := []uint64{0, 1, 2, 256, 1 << 56, 1<<64 - 1}
	var prefixes, suffixes [][]byte
	for _, name := range names {
		prefixes = append(prefixes, []byte(name))
	}
	for _, version := range versions {
		suffixes = append(suffixes, versionKey("", version))
	}
	if err := pebble.CheckComparer(c.EnsureDefaults(), slices.Clone(prefixes), slices.Clone(suffixes)); err != nil {
		t.Fatal(err)
	}

	c = c.EnsureDefaults()
	var keys [][]byte // in their order
	for _, name := range names {
		keys = append(keys, []byte(name))
		for _, version := range slices.Backward(versions) {
			keys = append(keys, versionKey(name, version))
		}
	}
	if !slices.IsSortedFunc(keys, c.Compare) {
		t.Fatal("the newest version does not come first")
	}
	for i, a := range keys {
		for _, b := range keys[i+1:] {
			if c.Compare(a, b) != -1 || c.Compare(b, a) != 1 { // Pebble compares with these
				t.Errorf("%q and %q compare as %d and %d", a, b, c.Compare(a, b), c.Compare(b, a))
			}
			if s := c.Separator([]byte("dst"), a, b); !bytes.HasPrefix(s, []byte("dst")) || c.Compare(a, s[3:]) > 0 || c.Compare(s[3:], b) >= 0 {
				t.Errorf("%q separates %q and %q", s, a, b)
			}
			if c.AbbreviatedKey(a) > c.AbbreviatedKey(b) {
				t.Errorf("abbreviated, %q comes after %q", a, b)
			}
		}
		if s := c.Successor([]byte("dst"), a); !bytes.HasPrefix(s, []byte("dst")) || c.Compare(a, s[3:]) > 0 {
			t.Errorf("%q succeeds %q", s, a)
		}
	}
	for _, name := range prefixes {
		next := c.ImmediateSuccessor(nil, name)
		if c.Split(next) != len(next) || c.Compare(name, next) >= 0 || c.Compare(versionKey(string(name), 0), next) >= 0 {
			t.Errorf("%q is the next name after %q", next, name)
		}
		for b := range 256 { // names that begin with this one come at once
			if other := append(slices.Clone(name), byte(b)); c.Split(other) == len(other) && c.Compare(other, next) < 0 {
				t.Errorf("%q lies between %q and the next name %q", other, name, next)
			}
		}
	}
}
