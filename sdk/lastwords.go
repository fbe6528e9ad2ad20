package sdk

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
)

// Bounds of what is kept of a plugin's output.
const (
	maxLine      = 64 << 10 // bytes, the newline included; longer lines come in parts
	keptLines    = 20
	keptLine     = 500 // bytes
	maxFirstLine = 16 << 10
)

// lastWords passes lines on to a writer, one Write each, and keeps the last
// few for messages. Safe for use by several streams.
type lastWords struct {
	mu   sync.Mutex
	to   io.Writer // may be nil
	kept []string
}

func newLastWords(to io.Writer) *lastWords { return &lastWords{to: to} }

// last is the kept lines as the tail of a message, or "".
func (w *lastWords) last() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.kept) == 0 {
		return ""
	}
	return "; it last wrote:\n  " + strings.Join(w.kept, "\n  ")
}

func (w *lastWords) line(line []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if text := strings.TrimRight(string(line), "\r\n"); text != "" {
		w.kept = append(w.kept, bounded(text, keptLine))
		if over := len(w.kept) - keptLines; over > 0 {
			w.kept = slices.Delete(w.kept, 0, over)
		}
	}
	if w.to != nil {
		_, _ = w.to.Write(line)
	}
}

// stream is a writer whose bytes are cut into lines; one for each source.
func (w *lastWords) stream() *lineStream { return &lineStream{to: w} }

// lineStream is used by one goroutine.
type lineStream struct {
	to   *lastWords
	part []byte // a line that has not ended
}

// Write never fails: the plugin's output must be read whatever becomes of it.
func (s *lineStream) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		room := maxLine - 1 - len(s.part)
		end := bytes.IndexByte(p, '\n')
		switch {
		case end >= 0 && end <= room:
			s.part = append(s.part, p[:end+1]...)
			p = p[end+1:]
		case len(p) >= room:
			s.part = append(append(s.part, p[:room]...), '\n')
			p = p[room:]
		default:
			s.part = append(s.part, p...)
			return n, nil
		}
		s.to.line(s.part)
		s.part = s.part[:0]
	}
	return n, nil
}

// flush passes on a last line without a newline.
func (s *lineStream) flush() {
	if len(s.part) > 0 {
		s.to.line(append(s.part, '\n'))
		s.part = s.part[:0]
	}
}

// firstLine reads a plugin's stdout: the first line, which should be the
// handshake, is given to the reader; the rest goes to the log.
type firstLine struct {
	from *os.File
	rest *lineStream

	mu    sync.Mutex
	seen  []byte // up to maxFirstLine
	ended bool   // the line has
}

// Read gives out the first line, then swallows the rest and ends with it.
func (f *firstLine) Read(p []byte) (int, error) {
	f.mu.Lock()
	ended := f.ended
	f.mu.Unlock()
	if ended {
		_, err := io.Copy(f.rest, f.from)
		f.rest.flush()
		return 0, f.end(err)
	}
	n, err := f.from.Read(p)
	f.mu.Lock()
	defer f.mu.Unlock()
	if end := bytes.IndexByte(p[:n], '\n'); end >= 0 {
		_, _ = f.rest.Write(p[end+1 : n])
		n = end + 1
		f.ended = true
	}
	f.seen = append(f.seen, p[:min(n, maxFirstLine-len(f.seen))]...)
	if len(f.seen) == maxFirstLine && !f.ended {
		p[n-1] = '\n' // no handshake is that long: let go-plugin refuse it
		f.ended = true
	}
	if n > 0 {
		return n, nil
	}
	return 0, f.end(err)
}

// end closes our end. The end of our patience is the end of the output.
func (f *firstLine) end(err error) error {
	if closeErr := f.from.Close(); closeErr != nil || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return io.EOF
	}
	return err
}

// text is what was printed first; line the same if it was a whole line.
func (f *firstLine) text() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return string(f.seen)
}

func (f *firstLine) line() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	line, _, whole := strings.Cut(string(f.seen), "\n")
	if !whole {
		return ""
	}
	return line
}
