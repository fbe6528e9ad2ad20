// Package dashboard serves the pages that a browser shows of a host: files that
// are built from web/, committed in dist/ and embedded, and that load nothing
// from elsewhere.
package dashboard

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"
)

//go:embed all:dist
var dist embed.FS

// policy is the Content-Security-Policy: nothing but what comes from here, and
// no script or style within a page. Styles that the scripts set one by one are
// no matter of it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// Files with a digest in their name never change.
const (
	forEver   = "public, max-age=31536000, immutable"
	askAlways = "no-cache"
	digested  = "assets/"
)

// file is one file as it is sent.
type file struct {
	name         string
	plain        []byte
	gzipped      []byte // nil where that is no smaller
	tag          string // of plain; that of gzipped has -gz behind it
	cacheControl string
}

// NewHandler serves the dashboard, index.html at /.
func NewHandler() http.Handler {
	files := sync.OnceValues(func() (map[string]*file, error) { return load(dist) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		all, err := files()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		found := all[r.URL.Path]
		if found == nil {
			http.NotFound(w, r)
			return
		}
		found.serve(w, r)
	})
}

// load reads all files below dist, by the path of their URL.
func load(dist fs.FS) (map[string]*file, error) {
	root, err := fs.Sub(dist, "dist")
	if err != nil {
		return nil, fmt.Errorf("read the dashboard: %w", err)
	}
	files := map[string]*file{}
	err = fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		files["/"+name], err = newFile(name, content)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the dashboard: %w", err)
	}
	files["/"] = files["/index.html"]
	return files, nil
}

func newFile(name string, content []byte) (*file, error) {
	sum := sha256.Sum256(content)
	f := &file{name: path.Base(name), plain: content, tag: hex.EncodeToString(sum[:12]), cacheControl: askAlways}
	if strings.HasPrefix(name, digested) {
		f.cacheControl = forEver
	}
	var packed bytes.Buffer
	zip, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := zip.Write(content); err != nil {
		return nil, err
	}
	if err := zip.Close(); err != nil {
		return nil, err
	}
	if packed.Len() < len(content) {
		f.gzipped = packed.Bytes()
	}
	return f, nil
}

func (f *file) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", f.cacheControl)
	h.Set("Vary", "Accept-Encoding")
	content, tag := f.plain, f.tag
	if f.gzipped != nil && takesGzip(r.Header.Get("Accept-Encoding")) {
		content, tag = f.gzipped, f.tag+"-gz"
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("ETag", `"`+tag+`"`)
	http.ServeContent(w, r, f.name, time.Time{}, bytes.NewReader(content))
}

// takesGzip reads an Accept-Encoding header. A client that lists gzip only to
// refuse it (q=0) is believed.
func takesGzip(accepted string) bool {
	for one := range strings.SplitSeq(accepted, ",") {
		name, quality, _ := strings.Cut(strings.ToLower(strings.TrimSpace(one)), ";")
		if strings.TrimSpace(name) != "gzip" {
			continue
		}
		q, given := strings.CutPrefix(strings.ReplaceAll(quality, " ", ""), "q=")
		return !given || strings.Trim(q, "0.") != ""
	}
	return false
}
