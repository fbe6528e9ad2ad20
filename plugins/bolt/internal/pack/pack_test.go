package pack_test

import (
	"testing"

	"github.com/wringdb/wring/plugins/bolt/internal/pack"
)

func TestJoins(t *testing.T) {
	rule := pack.New(4096, 0.9) // 3686 bytes
	for _, c := range []struct {
		name  string
		used  int64
		count int
		next  int64
		want  bool
	}{
		{"within the fill", 3000, 10, 600, true},
		{"up to the fill exactly", 3000, 10, 686, true},
		{"beyond the fill, within the page", 3000, 4, 1000, false},
		{"a large one, nearer to the fill with it", 3000, 3, 1000, true},
		{"a large one, nearer to the fill without it", 3400, 3, 600, false},
		{"a large one, as near without it", 3386, 3, 600, false},
		{"a second of half a page", 2040, 1, 2050, true},
		{"beyond the page", 3000, 10, 1097, false},
		{"a large value that saves a page", 2000, 8, 5000, true},
		{"a large value that saves none", 3600, 8, 5000, false},
		{"two values that need three pages together", 5016, 1, 5000, true},
		{"a third that would save a page", 10016, 2, 5000, false},
		{"a small one into the room beside a large one", 5016, 1, 3000, true},
		{"a small one into the rest of overflow pages", 10016, 2, 2272, true},
		{"a small one beyond the overflow pages", 10016, 2, 2273, false},
		{"two of half the size that bbolt can address", 1<<30 - 4096, 1, 8192, false},
		{"more than a header can count", 2000, pack.MaxEntries, 17, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := rule.Joins(c.used, c.count, c.next); got != c.want {
				t.Errorf("Joins(%d, %d, %d) = %t", c.used, c.count, c.next, got)
			}
		})
	}
}

func TestInline(t *testing.T) {
	rule := pack.New(4096, 1)
	if !rule.Inline(1024) || rule.Inline(1025) {
		t.Error("a bucket lies within its parent up to a quarter of a page")
	}
}
