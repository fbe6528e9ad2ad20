// Package mvcc is the code behind the names in the stores of an application that
// keeps versions, much as CockroachDB does: how keys are ordered, what merging two
// values means, and by which times a reader may pass over blocks. The application and
// its wring plugin are built with the same package.
package mvcc

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Time is when a version was written: nanoseconds, and a counter for what happened
// within one.
type Time struct {
	Wall    uint64
	Logical uint32
}

const (
	wallLen    = 8
	logicalLen = 4
)

// Key of a name's version: the name, a zero byte, the time without trailing zeros of
// its counter, and a byte for how long the time and that byte are.
func Key(name string, t Time) []byte { return append(Unversioned(name), Suffix(t)...) }

// Unversioned is the key of a name itself. It comes before its versions.
func Unversioned(name string) []byte { return append([]byte(name), 0) }

// Suffix is what a version's key has after that of its name.
func Suffix(t Time) []byte {
	s := binary.BigEndian.AppendUint64(nil, t.Wall)
	if t.Logical > 0 {
		s = binary.BigEndian.AppendUint32(s, t.Logical)
	}
	return append(s, byte(len(s)+1))
}

// Decode takes a key apart. Versioned is false for the key of a name itself.
func Decode(key []byte) (name string, t Time, versioned bool) {
	n := split(key)
	t, versioned = timeOf(key[n:])
	return string(bytes.TrimSuffix(key[:n], []byte{0})), t, versioned
}

func timeOf(suffix []byte) (t Time, ok bool) {
	if len(suffix) != wallLen+1 && len(suffix) != wallLen+logicalLen+1 {
		return Time{}, false
	}
	t.Wall = binary.BigEndian.Uint64(suffix)
	if len(suffix) > wallLen+1 {
		t.Logical = binary.BigEndian.Uint32(suffix[wallLen:])
	}
	return t, true
}

// Comparer orders keys by name, and the versions of a name from the newest to the
// oldest.
var Comparer = (&pebble.Comparer{
	Name:                 "example.mvcc", // stands in the store: never give another order this name
	Split:                split,
	ComparePointSuffixes: newestFirst,
	CompareRangeSuffixes: newestFirst,
	// Compare and Equal follow from these.
	AbbreviatedKey: func(key []byte) uint64 { return pebble.DefaultComparer.AbbreviatedKey(nameOf(key)) },
	Separator: func(dst, a, b []byte) []byte {
		name, next := nameOf(a), nameOf(b)
		if len(name) == 0 || len(next) == 0 || bytes.Equal(name, next) {
			return append(dst, a...)
		}
		return orWhole(pebble.DefaultComparer.Separator(nil, name, next), dst, a)
	},
	Successor: func(dst, a []byte) []byte { return orWhole(pebble.DefaultComparer.Successor(nil, nameOf(a)), dst, a) },
	// After the name "a" comes the name "a\x00".
	ImmediateSuccessor: func(dst, name []byte) []byte { return append(append(dst, name...), 0) },
	FormatKey:          func(key []byte) fmt.Formatter { return formatted(key) },
	ValidateKey: func(key []byte) error {
		if n := split(key); n == 0 || key[n-1] != 0 {
			return fmt.Errorf("%x is no key: no zero byte ends its name", key)
		}
		return nil
	},
}).EnsureDefaults()

// split returns the length of the name in a key, with the zero byte after it. It is
// asked for suffixes too, and for other things that are no keys.
func split(key []byte) int {
	if len(key) == 0 {
		return 0
	}
	if n := int(key[len(key)-1]); n <= len(key) {
		return len(key) - n
	}
	return len(key)
}

// nameOf is the name in a key, without the zero byte.
func nameOf(key []byte) []byte { return bytes.TrimSuffix(key[:split(key)], []byte{0}) }

// newestFirst takes what follows the names; nothing comes before everything.
func newestFirst(a, b []byte) int {
	if len(a) == 0 || len(b) == 0 {
		return cmp.Compare(len(a), len(b)) // -1, 0 or +1: Pebble looks for these
	}
	return bytes.Compare(b[:len(b)-1], a[:len(a)-1])
}

// orWhole appends a short name that lies after the name in key; if it is that name it
// would lie before key, and key is appended instead.
func orWhole(short, dst, key []byte) []byte {
	if bytes.Equal(short, nameOf(key)) {
		return append(dst, key...)
	}
	return append(append(dst, short...), 0)
}

// formatted is a key for people.
type formatted []byte

func (f formatted) Format(s fmt.State, _ rune) {
	name, t, versioned := Decode(f)
	fmt.Fprintf(s, "%q", name)
	if versioned {
		fmt.Fprintf(s, "@%d,%d", t.Wall, t.Logical)
	}
}
