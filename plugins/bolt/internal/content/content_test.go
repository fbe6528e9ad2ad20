package content_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/wringdb/wring/plugins/bolt/internal/content"
)

// item of a sequence: a key, or a bucket where within is not nil.
type item struct {
	key, value string
	sequence   uint64
	within     []item
}

func sum(items []item) content.Sum {
	var s content.Sum
	for _, i := range items {
		if i.within == nil {
			s.Put([]byte(i.key), []byte(i.value))
		} else {
			s.Bucket([]byte(i.key), i.sequence, sum(i.within))
		}
	}
	return s
}

func TestSumTellsContentsApart(t *testing.T) {
	key := func(key, value string) item { return item{key: key, value: value} }
	bucket := func(name string, sequence uint64, within ...item) item {
		return item{key: name, sequence: sequence, within: append([]item{}, within...)}
	}
	seen := make(map[string]string)
	for name, items := range map[string][]item{
		"nothing":                  nil,
		"a bucket":                 {bucket("a", 0)},
		"a sequence":               {bucket("a", 1)},
		"another name":             {bucket("b", 0)},
		"an empty value":           {key("a", "")},
		"a key":                    {bucket("a", 0, key("k", "v"))},
		"the key outside":          {bucket("a", 0), key("k", "v")},
		"another boundary":         {bucket("a", 0, key("kv", ""))},
		"key and value swapped":    {bucket("a", 0, key("v", "k"))},
		"two keys":                 {bucket("a", 0, key("k", "v"), key("l", "w"))},
		"in another order":         {bucket("a", 0, key("l", "w"), key("k", "v"))},
		"two keys in one":          {bucket("a", 0, key("k", "vlw"))},
		"a key twice":              {key("k", "v"), key("k", "v")},
		"a bucket beside a bucket": {bucket("a", 0), bucket("b", 0)},
		"a bucket in a bucket":     {bucket("a", 0, bucket("b", 0))},
	} {
		s := sum(items)
		if other, ok := seen[s.String()]; ok {
			t.Errorf("%s and %s have the same sum", name, other)
		}
		seen[s.String()] = name
		root, otherRoot := content.File(0, s), content.File(1, s)
		if root.String() == otherRoot.String() {
			t.Errorf("%s: the root's sequence makes no difference", name)
		}
		if root.Items != s.Items || root.Bytes != s.Bytes {
			t.Errorf("%s: the file has %d items of %d bytes, its content %d of %d", name, root.Items, root.Bytes, s.Items, s.Bytes)
		}
	}
	s := sum([]item{bucket("a", 0, key("k", "v"), key("l", "w"))})
	if s.Items != 3 || s.Bytes != 5 {
		t.Errorf("counted %d items of %d bytes, want 3 of 5", s.Items, s.Bytes)
	}
}

// However a sequence is cut into parts, and those into parts again, the sum of
// the whole follows from theirs.
func TestSumFollowsFromParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		items := make([]item, rapid.IntRange(0, 40).Draw(t, "items"))
		for i := range items {
			items[i] = item{key: fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "key")), value: rapid.String().Draw(t, "value")}
			if rapid.IntRange(0, 9).Draw(t, "bucket") == 0 {
				items[i].within = items[:i:i]
			}
		}
		if got, want := combined(t, items), sum(items); got != want {
			t.Fatalf("from its parts: %+v, at once: %+v", got, want)
		}
	})
}

// combined sums up parts.
func combined(t *rapid.T, items []item) content.Sum {
	if len(items) < 2 {
		return sum(items)
	}
	cut := rapid.IntRange(0, len(items)).Draw(t, "cut")
	if cut == 0 || cut == len(items) {
		cut = len(items) / 2
	}
	var s content.Sum
	s.Append(combined(t, items[:cut]))
	s.Append(combined(t, items[cut:]))
	return s
}

func BenchmarkSum(b *testing.B) {
	key, value := make([]byte, 20), make([]byte, 220)
	b.SetBytes(int64(len(key) + len(value)))
	var s content.Sum
	for b.Loop() {
		s.Put(key, value)
	}
}
