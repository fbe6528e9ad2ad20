package content_test

import (
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
		"values swapped":           {bucket("a", 0, key("k", "w"), key("l", "v"))},
		"two keys in one":          {bucket("a", 0, key("k", "vlw"))},
		"a key twice":              {key("k", "v"), key("k", "v")},
		"a bucket beside a bucket": {bucket("a", 0), bucket("b", 0)},
		"a bucket in a bucket":     {bucket("a", 0, bucket("b", 0))},
		"a key in a, b":            {bucket("a", 0, bucket("b", 0, key("k", "v"))), bucket("b", 0, bucket("a", 0))},
		"a key in b, a":            {bucket("a", 0, bucket("b", 0)), bucket("b", 0, bucket("a", 0, key("k", "v")))},
	} {
		s := content.File(0, sum(items))
		if other, ok := seen[s.String()]; ok {
			t.Errorf("%s and %s have the same sum", name, other)
		}
		seen[s.String()] = name
		if within, other := sum(items), content.File(1, sum(items)); s.String() == other.String() {
			t.Errorf("%s: the root's sequence makes no difference", name)
		} else if s.Items != within.Items || s.Bytes != within.Bytes {
			t.Errorf("%s: the file has %d items of %d bytes, its content %d of %d", name, s.Items, s.Bytes, within.Items, within.Bytes)
		}
	}
	s := sum([]item{bucket("a", 0, key("k", "v"), key("l", "w"))})
	if s.Items != 3 || s.Bytes != 5 {
		t.Errorf("counted %d items of %d bytes, want 3 of 5", s.Items, s.Bytes)
	}
}

// However content is cut into parts, in whatever order they come, the sum of the
// whole follows from theirs; and what is taken out again makes no difference.
func TestSumFollowsFromParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		items := rapid.SliceOfN(rapid.Custom(drawItem(3)), 0, 20).Draw(t, "items")
		want := sum(items)
		mixed := rapid.Permutation(items).Draw(t, "mixed")
		cut := rapid.IntRange(0, len(items)).Draw(t, "cut")
		got, rest, other := sum(mixed[:cut]), sum(mixed[cut:]), sum(rapid.SliceOfN(rapid.Custom(drawItem(2)), 0, 5).Draw(t, "other"))
		got.Add(other)
		got.Add(rest)
		if len(items) > 1 && other.Items > 0 && got == want {
			t.Fatalf("more content makes no difference")
		}
		got.Sub(other)
		if got != want {
			t.Fatalf("from its parts: %+v, at once: %+v", got, want)
		}
	})
}

// What changes in a bucket changes the sums of those around it alike.
func TestSumOfAChangeWithin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before := rapid.SliceOfN(rapid.Custom(drawItem(2)), 0, 9).Draw(t, "before")
		after := rapid.SliceOfN(rapid.Custom(drawItem(2)), 0, 9).Draw(t, "after")
		names := rapid.SliceOfN(rapid.StringMatching(`[ab]{1,2}`), 1, 4).Draw(t, "names")
		change := sum(after)
		change.Sub(sum(before))
		got, want := sum(before), sum(after)
		for _, name := range names {
			var outer content.Sum
			outer.Within([]byte(name), change)
			change = outer
			var a, b content.Sum
			a.Bucket([]byte(name), 7, got)
			b.Bucket([]byte(name), 7, want)
			got, want = a, b
		}
		got.Add(change)
		if got != want {
			t.Fatalf("by its change: %+v, at once: %+v", got, want)
		}
	})
}

func drawItem(depth int) func(*rapid.T) item {
	return func(t *rapid.T) item {
		i := item{key: rapid.StringMatching(`[a-c]{1,2}`).Draw(t, "key"), value: rapid.String().Draw(t, "value")}
		if depth > 0 && rapid.IntRange(0, 3).Draw(t, "bucket") == 0 {
			i.sequence = rapid.Uint64Range(0, 2).Draw(t, "sequence")
			i.within = rapid.SliceOfN(rapid.Custom(drawItem(depth-1)), 0, 4).Draw(t, "within")
			i.within = append([]item{}, i.within...)
		}
		return i
	}
}

func BenchmarkSum(b *testing.B) {
	key, value := make([]byte, 20), make([]byte, 220)
	b.SetBytes(int64(len(key) + len(value)))
	var s content.Sum
	for b.Loop() {
		s.Put(key, value)
	}
}
