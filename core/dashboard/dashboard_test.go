package dashboard

import (
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func get(t *testing.T, path string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer := httptest.NewRecorder()
	NewHandler().ServeHTTP(answer, r)
	return answer
}

func content(t *testing.T, r io.Reader) string {
	t.Helper()
	all, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(all)
}

// The page names only files that are there, and has no script or style in it.
func TestIndexLoadsOnlyWhatIsHere(t *testing.T) {
	answer := get(t, "/")
	page := content(t, answer.Body)
	if answer.Code != http.StatusOK || !strings.Contains(page, `<div id="app">`) {
		t.Fatalf("GET /: status %d: %s", answer.Code, page)
	}
	links := regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(page, -1)
	if len(links) < 3 {
		t.Errorf("the page names %d files, want its script, its style and its icon", len(links))
	}
	for _, link := range links {
		if file := get(t, link[1]); file.Code != http.StatusOK {
			t.Errorf("GET %s: status %d", link[1], file.Code)
		}
	}
	if regexp.MustCompile(`<style|\sstyle=|\son\w+=|<script(?:[^>]*)>[^<]`).MatchString(page) {
		t.Errorf("the page has a script or a style in it, which its policy forbids:\n%s", page)
	}
}

func TestHeaders(t *testing.T) {
	files, err := load(dist)
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]string{".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
	for path := range files {
		answer := get(t, path)
		h := answer.Header()
		if got := h.Get("Content-Security-Policy"); !strings.Contains(got, "default-src 'none'") || strings.Contains(got, "unsafe") {
			t.Errorf("%s: policy %q", path, got)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("ETag") == "" {
			t.Errorf("%s: headers %v", path, h)
		}
		wantCache := askAlways
		if strings.HasPrefix(path, "/assets/") {
			wantCache = forEver
		}
		if got := h.Get("Cache-Control"); got != wantCache {
			t.Errorf("%s: Cache-Control %q, want %q", path, got, wantCache)
		}
		for extension, want := range types {
			if got := h.Get("Content-Type"); strings.HasSuffix(path, extension) && !strings.HasPrefix(got, want) {
				t.Errorf("%s: Content-Type %q, want %s", path, got, want)
			}
		}
	}
}

func TestGzipAndETag(t *testing.T) {
	plain := get(t, "/")
	packed := get(t, "/", "Accept-Encoding", "br, gzip;q=0.8")
	if packed.Header().Get("Content-Encoding") != "gzip" || packed.Header().Get("ETag") == plain.Header().Get("ETag") {
		t.Fatalf("headers %v, and without gzip %v", packed.Header(), plain.Header())
	}
	zip, err := gzip.NewReader(packed.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := content(t, zip), content(t, plain.Body); got != want {
		t.Errorf("unpacked it is\n%s\nwant\n%s", got, want)
	}
	for _, accepted := range []string{"", "identity", "gzip;q=0", "gzip; q=0.0", "x-gzip"} {
		if got := get(t, "/", "Accept-Encoding", accepted).Header().Get("Content-Encoding"); got != "" {
			t.Errorf("Accept-Encoding %q is answered with %s", accepted, got)
		}
	}
	again := get(t, "/", "Accept-Encoding", "gzip", "If-None-Match", packed.Header().Get("ETag"))
	if again.Code != http.StatusNotModified {
		t.Errorf("status %d for what the browser has, want 304", again.Code)
	}
}

func TestNothingElseIsThere(t *testing.T) {
	for _, path := range []string{"/dist/index.html", "/assets/", "/v1/none", "/../dashboard.go"} {
		if answer := get(t, path); answer.Code != http.StatusNotFound {
			t.Errorf("GET %s: status %d, want 404", path, answer.Code)
		}
	}
}

// What a browser has to load before it shows anything stays small.
func TestScriptsAreSmall(t *testing.T) {
	const most = 100 << 10
	files, err := load(dist)
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	for path, f := range files {
		if strings.HasSuffix(path, ".js") {
			size += len(f.gzipped)
		}
	}
	if size == 0 || size > most {
		t.Errorf("the scripts are %d bytes, gzipped; want at most %d, and some", size, most)
	}
}

func TestLoadNamesWhatItCannotRead(t *testing.T) {
	if _, err := load(brokenFS{}); err == nil || !strings.Contains(err.Error(), "read the dashboard") {
		t.Errorf("load of nothing: %v", err)
	}
}

type brokenFS struct{}

func (brokenFS) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}
