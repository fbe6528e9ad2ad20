package mvcc

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

var (
	names = []string{"a", "a\x00", "a\x00b", "a\x01", "ab", "account/0001", "account/0002", "b", "\xff", "\xff\xff"}
	times = []Time{{1, 0}, {1, 1}, {2, 0}, {256, 0}, {256, 256}, {1 << 63, 1}} // from old to new
)

// TestComparer has Pebble's own checks, and what these leave out: index blocks and
// range keys depend on it.
func TestComparer(t *testing.T) {
	var prefixes, suffixes [][]byte
	for _, name := range names {
		prefixes = append(prefixes, Unversioned(name))
	}
	for _, time := range times {
		suffixes = append(suffixes, Suffix(time))
	}
	if err := pebble.CheckComparer(Comparer, slices.Clone(prefixes), slices.Clone(suffixes)); err != nil {
		t.Fatal(err)
	}

	var keys [][]byte // in their order
	for _, name := range names {
		keys = append(keys, Unversioned(name))
		for _, time := range slices.Backward(times) {
			keys = append(keys, Key(name, time))
		}
	}
	if !slices.IsSortedFunc(keys, Comparer.Compare) {
		t.Fatal("the newest version does not come first")
	}
	for i, a := range keys {
		if err := Comparer.ValidateKey(a); err != nil {
			t.Error(err)
		}
		for _, b := range keys[i+1:] {
			if Comparer.Compare(a, b) != -1 || Comparer.Compare(b, a) != 1 { // Pebble compares with these
				t.Errorf("%x and %x compare as %d and %d", a, b, Comparer.Compare(a, b), Comparer.Compare(b, a))
			}
			if s := Comparer.Separator([]byte("dst"), a, b); !bytes.HasPrefix(s, []byte("dst")) || Comparer.Compare(a, s[3:]) > 0 || Comparer.Compare(s[3:], b) >= 0 {
				t.Errorf("%x separates %x and %x", s, a, b)
			}
			if Comparer.AbbreviatedKey(a) > Comparer.AbbreviatedKey(b) {
				t.Errorf("abbreviated, %x comes after %x", a, b)
			}
		}
		if s := Comparer.Successor([]byte("dst"), a); !bytes.HasPrefix(s, []byte("dst")) || Comparer.Compare(a, s[3:]) > 0 {
			t.Errorf("%x succeeds %x", s, a)
		}
	}
	for _, name := range prefixes {
		next := Comparer.ImmediateSuccessor(nil, name)
		if Comparer.Split(next) != len(next) || Comparer.Compare(name, next) >= 0 || Comparer.Compare(append(slices.Clone(name), suffixes[0]...), next) >= 0 {
			t.Errorf("%x is the next name after %x", next, name)
		}
	}
	if Comparer.ValidateKey([]byte("no zero")) == nil {
		t.Error("a key without an end of its name is valid")
	}
}

func TestKeysForPeople(t *testing.T) {
	for key, want := range map[string]string{
		string(Unversioned("ab")):        `"ab"`,
		string(Key("ab", Time{7, 0})):    `"ab"@7,0`,
		string(Key("a\x00", Time{7, 3})): `"a\x00"@7,3`,
	} {
		if got := fmt.Sprint(Comparer.FormatKey([]byte(key))); got != want {
			t.Errorf("%x reads %s, want %s", key, got, want)
		}
	}
}

func TestSum(t *testing.T) {
	m, err := Sum.Merge(nil, Int(40))
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{m.MergeNewer(Int(-1)), m.MergeOlder(Int(3))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got, _, err := m.Finish(true); err != nil || !bytes.Equal(got, Int(42)) {
		t.Errorf("the sum is %x, %v", got, err)
	}
	if m.MergeNewer([]byte("four")) == nil {
		t.Error("text was added")
	}
}
