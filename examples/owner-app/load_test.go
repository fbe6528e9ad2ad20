package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// A load is worth something only if it notices a service that loses writes, or
// brings old ones back.
func TestLoadNoticesWhatIsLost(t *testing.T) {
	for name, lie := range map[string]http.HandlerFunc{
		"writes are lost": func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				http.NotFound(w, r)
				return
			}
			w.WriteHeader(http.StatusNoContent)
		},
		"deletions are lost": func(w http.ResponseWriter, r *http.Request) {
			var key int
			if _, err := fmt.Sscanf(r.URL.Path, "/kv/items/item-%d", &key); err == nil && r.Method == http.MethodGet {
				_, _ = w.Write(value(key, 0))
				return
			}
			w.WriteHeader(http.StatusNoContent)
		},
		"nothing is acknowledged": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "no", http.StatusInternalServerError)
		},
	} {
		server := httptest.NewServer(lie)
		var said bytes.Buffer
		err := load(t.Context(), loadConfig{
			target: server.Listener.Addr().String(), readers: 1, writers: 1, rate: 500, duration: 300 * time.Millisecond, keys: 50,
		}, &said)
		server.Close()
		if err == nil {
			t.Errorf("%s: no error; it said:\n%s", name, &said)
		}
		if lost := strings.HasSuffix(name, "lost"); lost == strings.Contains(said.String(), " 0 missing; 0 wrong") {
			t.Errorf("%s: it said:\n%s", name, &said)
		}
	}
}

func TestAllows(t *testing.T) {
	const gone = -1
	for _, c := range []struct {
		name          string
		before, after entry
		found         version // gone for no such key
		want          bool
	}{
		{"nothing is known", entry{0, 0}, entry{0, 0}, gone, true},
		{"as fill has left it", entry{0, 0}, entry{0, 0}, 0, true},
		{"a value that was never sent", entry{0, 0}, entry{0, 0}, 1, false},
		{"as acknowledged", entry{3, 3}, entry{3, 3}, 3, true},
		{"an old value", entry{3, 3}, entry{3, 3}, 2, false},
		{"lost", entry{3, 3}, entry{3, 3}, gone, false},
		{"deleted", entry{-3, -3}, entry{-3, -3}, gone, true},
		{"back again", entry{-3, -3}, entry{-3, -3}, 2, false},
		{"a write under way, not made yet", entry{3, 4}, entry{3, 4}, 3, true},
		{"a write under way, made", entry{3, 4}, entry{3, 4}, 4, true},
		{"a write under way is no deletion", entry{3, 4}, entry{3, 4}, gone, false},
		{"a deletion under way", entry{3, -4}, entry{3, -4}, gone, true},
		{"a write during the read", entry{-3, -3}, entry{4, 4}, 4, true},
		{"a deletion in between cannot be ruled out", entry{3, 3}, entry{5, 5}, gone, true},
	} {
		found, exists := c.found, true
		if c.found == gone {
			found, exists = 0, false
		}
		if got := allows(c.before, c.after, found, exists); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestVersionOf(t *testing.T) {
	whole := value(7, 3)
	if v, ok := versionOf(7, whole); !ok || v != 3 {
		t.Errorf("version %d, %v", v, ok)
	}
	torn := bytes.Clone(whole)
	torn[len(torn)-1] ^= 1
	for name, b := range map[string][]byte{"torn": torn, "short": whole[:100], "another key's": value(8, 3), "none": nil} {
		if v, ok := versionOf(7, b); ok {
			t.Errorf("%s: taken for version %d", name, v)
		}
	}
}
