package replace

import (
	"path/filepath"
	"testing"
)

// FuzzParseMark reads names of any kind as those of temps.
func FuzzParseMark(f *testing.F) {
	f.Add("a.db", ".a.db.wring-0102030405060708-10-7-11.tmp")
	f.Add("a.db", ".a.db.wring-0102030405060708-10-7.tmp")
	f.Add("a-b", ".a-b.wring-0102030405060708-ffffffffffffffff-0-1.tmp")
	f.Fuzz(func(t *testing.T, store, name string) {
		path := filepath.Join("/", filepath.Base(store))
		m, ok := parseMark(path, name)
		if ok && m.name(path) != name {
			t.Fatalf("%q is read as %+v, which is the name %q", name, m, m.name(path))
		}
		if made := m.name(path); len(made) <= 255 {
			if again, ok := parseMark(path, made); !ok || again != m {
				t.Fatalf("%+v has the name %q, which is read as %+v (%v)", m, made, again, ok)
			}
		}
	})
}
