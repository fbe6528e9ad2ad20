package supervise

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/go-hclog"
)

// Bounds of what a plugin's stderr may cost the host.
const (
	// maxLine is how many bytes of one line are kept.
	maxLine = 8 << 10
	// keptLines is how many lines are remembered, each up to maxKeptLine bytes.
	keptLines   = 20
	maxKeptLine = 1 << 10
	// Lines logged at once, and each second after that.
	lineBurst = 1000
	lineRate  = 100
)

// Relay takes what one process of a plugin writes to stderr and passes it on,
// line by line, to a logger that carries the plugin's name. Lines in the JSON of
// hclog or of log/slog keep their level and fields; anything else is logged as
// it is, at level Info. No line, however odd, does more than appear in the log.
//
// At the default level of a command (Warn) a healthy plugin is therefore
// silent. Safe for concurrent use.
type Relay struct {
	logger hclog.Logger
	now    func() time.Time

	mu      sync.Mutex
	partial []byte // the beginning of a line, at most maxLine bytes
	cut     int    // bytes of it that were not kept
	tail    *tail

	tokens   float64
	refilled time.Time
	dropped  int
	panic    string // the line with which the process began to panic, or ""
}

// NewRelay returns a relay into logger, which bears the plugin's name already.
func NewRelay(logger hclog.Logger, now func() time.Time) *Relay {
	return &Relay{logger: logger, now: now, tail: &tail{}, tokens: lineBurst, refilled: now()}
}

// Write implements io.Writer; it never fails.
func (r *Relay) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rest := p
	for {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			r.extend(rest)
			return len(p), nil
		}
		r.extend(rest[:i])
		r.endLine()
		rest = rest[i+1:]
	}
}

func (r *Relay) extend(p []byte) {
	keep := min(len(p), maxLine-len(r.partial))
	r.partial = append(r.partial, p[:keep]...)
	r.cut += len(p) - keep
}

// Flush passes on a last line without an end, and what was held back.
func (r *Relay) Flush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.partial) > 0 {
		r.endLine()
	}
	r.reportDropped()
}

// Panic returns the line with which the process began to panic, or "".
func (r *Relay) Panic() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.panic
}

func (r *Relay) endLine() {
	line, cut := strings.TrimRight(string(r.partial), "\r"), r.cut
	r.partial, r.cut = r.partial[:0], 0
	if strings.TrimSpace(line) == "" {
		return
	}
	entry, structured := parseLine(line)
	if cut > 0 {
		entry.message += fmt.Sprintf(" … (%d bytes more)", cut)
	}
	r.tail.add(entry.text())
	if !structured {
		// Go prints a panic as plain lines, to the end of the process.
		if r.panic == "" && (strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ")) {
			r.panic = shorten(entry.message, maxKeptLine)
		}
		if r.panic != "" {
			entry.level = hclog.Error
		}
	}
	if !r.take() {
		r.dropped++
		return
	}
	r.reportDropped()
	r.logger.Log(entry.level, entry.message, entry.fields...)
}

// tail is the newest lines of a plugin, whichever of its processes wrote them.
// Safe for concurrent use.
type tail struct {
	mu    sync.Mutex
	lines []string
}

func (t *tail) add(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) == keptLines {
		t.lines = append(t.lines[:0], t.lines[1:]...)
	}
	t.lines = append(t.lines, shorten(line, maxKeptLine))
}

// list returns the lines, oldest first, made safe to print.
func (t *tail) list() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.lines)
}

// take says whether one more line fits into the rate.
func (r *Relay) take() bool {
	now := r.now()
	if gone := now.Sub(r.refilled).Seconds(); gone > 0 {
		r.tokens = min(lineBurst, r.tokens+gone*lineRate)
	}
	r.refilled = now
	if r.tokens < 1 {
		return false
	}
	r.tokens--
	return true
}

func (r *Relay) reportDropped() {
	if r.dropped > 0 {
		r.logger.Warn("writes more than is logged", "lines_left_out", r.dropped, "lines_per_second", lineRate)
		r.dropped = 0
	}
}

// shorten cuts s to at most n bytes, between two characters.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
