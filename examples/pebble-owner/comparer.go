package main

import (
	"bytes"
	"cmp"
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"
)

// versionKey ends with a zero byte and the version in 8 bytes. A name alone is a key
// too; it has no zero byte and is not empty.
func versionKey(name string, version uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte(name), 0), version)
}

// newestFirst orders keys by name. The name alone comes first, then its versions
// from the newest to the oldest: whoever seeks a name and a version finds what was
// valid then.
func newestFirst() *pebble.Comparer {
	bytewise := pebble.DefaultComparer
	return &pebble.Comparer{
		Name:                 "example.newest-first", // stands in the store: never give another order this name
		Split:                split,
		ComparePointSuffixes: compareVersions,
		CompareRangeSuffixes: compareVersions,
		// Compare and Equal follow from these.
		AbbreviatedKey: func(key []byte) uint64 { return bytewise.AbbreviatedKey(key[:split(key)]) },
		Separator: func(dst, a, b []byte) []byte {
			name, next := a[:split(a)], b[:split(b)]
			if len(name) == 0 || len(next) == 0 {
				return append(dst, a...)
			}
			return orWhole(bytewise.Separator(nil, name, next), dst, a)
		},
		Successor: func(dst, a []byte) []byte { return orWhole(bytewise.Successor(nil, a[:split(a)]), dst, a) },
		// A zero byte would begin a version.
		ImmediateSuccessor: func(dst, name []byte) []byte { return append(append(dst, name...), 1) },
	}
}

// split returns the length of the name in a key.
func split(key []byte) int {
	if i := bytes.IndexByte(key, 0); i >= 0 {
		return i
	}
	return len(key)
}

// compareVersions takes what follows the names; nothing comes before everything.
func compareVersions(a, b []byte) int {
	if len(a) == 0 || len(b) == 0 {
		return cmp.Compare(len(a), len(b)) // -1, 0 or +1: Pebble looks for these
	}
	return bytes.Compare(b, a)
}

// orWhole appends a short name that lies after the name in key; if it is that
// name it would lie before key, and key is appended instead.
func orWhole(short, dst, key []byte) []byte {
	if bytes.Equal(short, key[:split(key)]) {
		return append(dst, key...)
	}
	return append(dst, short...)
}
