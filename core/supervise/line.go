package supervise

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// Bounds of one structured line.
const (
	maxFields = 64
	maxValue  = 2 << 10
)

// entry is one line of a plugin's log, made safe to print.
type entry struct {
	level   hclog.Level
	message string
	fields  []any // names and values by turns, all strings
}

// text is the entry as one line for people.
func (e entry) text() string {
	if len(e.fields) == 0 {
		return e.message
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s:", strings.ToLower(e.level.String()), e.message)
	for i := 0; i < len(e.fields); i += 2 {
		fmt.Fprintf(&b, " %s=%q", e.fields[i], e.fields[i+1])
	}
	return b.String()
}

// dialects are the names under which JSON loggers put level and message: those
// of hclog, and those of log/slog.
func dialects() [2]struct{ level, message, time, module string } {
	return [2]struct{ level, message, time, module string }{
		{"@level", "@message", "@timestamp", "@module"},
		{"level", "msg", "time", ""},
	}
}

// parseLine reads one line, which may be anything. Structured says whether it
// was an entry of a known dialect; otherwise the line is the message.
func parseLine(line string) (e entry, structured bool) {
	if strings.HasPrefix(line, "{") {
		var object map[string]json.RawMessage
		if json.Unmarshal([]byte(line), &object) == nil {
			for _, d := range dialects() {
				level, okLevel := text(object[d.level])
				message, okMessage := text(object[d.message])
				if !okLevel || !okMessage {
					continue
				}
				// The plugin's name stands on the line already, and so does the time.
				for _, name := range []string{d.level, d.message, d.time, d.module} {
					delete(object, name)
				}
				return entry{level: toLevel(level), message: safe(message), fields: fields(object)}, true
			}
		}
	}
	level, rest := levelPrefix(line)
	return entry{level: level, message: safe(rest)}, false
}

// text returns a JSON value that is a string.
func text(raw json.RawMessage) (string, bool) {
	var s *string
	if len(raw) == 0 || json.Unmarshal(raw, &s) != nil || s == nil {
		return "", false
	}
	return *s, true
}

func fields(object map[string]json.RawMessage) []any {
	names := slices.Sorted(maps.Keys(object))
	var list []any
	for _, name := range names[:min(len(names), maxFields)] {
		value, ok := text(object[name])
		if !ok {
			var compact bytes.Buffer
			if json.Compact(&compact, object[name]) == nil {
				value = compact.String()
			}
		}
		list = append(list, shorten(safe(strings.TrimPrefix(name, "@")), maxValue), shorten(safe(value), maxValue))
	}
	if more := len(names) - maxFields; more > 0 {
		list = append(list, "fields_left_out", fmt.Sprint(more))
	}
	return list
}

// toLevel reads a level's name; an unknown one is Info, so that nothing is lost.
func toLevel(name string) hclog.Level {
	// log/slog writes levels between its own as DEBUG+2.
	name, _, _ = strings.Cut(strings.ToLower(name), "+")
	switch name {
	case "warning":
		return hclog.Warn
	case "fatal", "panic":
		return hclog.Error
	}
	if level := hclog.LevelFromString(name); level != hclog.NoLevel && level != hclog.Off {
		return level
	}
	return hclog.Info
}

// levelPrefix reads a prefix such as "[WARN] ", as many loggers write it.
func levelPrefix(line string) (hclog.Level, string) {
	name, rest, ok := strings.Cut(strings.TrimPrefix(line, "["), "]")
	if !ok || !strings.HasPrefix(line, "[") {
		return hclog.Info, line
	}
	switch strings.TrimSpace(name) {
	case "TRACE", "DEBUG", "INFO", "WARN", "ERROR":
		return hclog.LevelFromString(name), strings.TrimSpace(rest)
	case "ERR":
		return hclog.Error, strings.TrimSpace(rest)
	}
	return hclog.Info, line
}

// safe replaces what a terminal could take for a command.
func safe(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || (r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0)) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "�"))
}
