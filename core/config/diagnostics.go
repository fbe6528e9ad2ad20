package config

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/hashicorp/hcl/v2"
)

// Diagnostic is one mistake in a configuration.
type Diagnostic struct {
	File string `json:"file"`
	// Line and Column, in characters, count from 1; 0 where the mistake is not
	// in a place.
	Line   int `json:"line"`
	Column int `json:"column"`
	// Summary says what is wrong, Detail what to do; either is for people.
	Summary string `json:"summary"`
	Detail  string `json:"detail"`
	// Excerpt is the line itself.
	Excerpt string `json:"excerpt"`

	// marked is how many characters are wrong, from Column on.
	marked int
}

// Diagnostics is everything that is wrong with a configuration, as an error.
type Diagnostics struct { //nolint:errname // it is a list, and reads as one
	file  string
	list  []Diagnostic
	cause error
}

// File returns the path of the configuration.
func (d *Diagnostics) File() string { return d.file }

// List returns the mistakes by line.
func (d *Diagnostics) List() []Diagnostic { return slices.Clone(d.list) }

// Unwrap returns why the file could not be read, if that is what is wrong.
func (d *Diagnostics) Unwrap() error { return d.cause }

// Error shows each mistake with its line.
func (d *Diagnostics) Error() string {
	var b strings.Builder
	if len(d.list) == 1 {
		fmt.Fprintf(&b, "1 mistake in %s:\n", d.file)
	} else {
		fmt.Fprintf(&b, "%d mistakes in %s:\n", len(d.list), d.file)
	}
	for _, one := range d.list {
		b.WriteString("\n" + one.String())
	}
	return strings.TrimRight(b.String(), "\n")
}

// String shows the mistake with its line and a marker under what is wrong:
//
//	wring.hcl:3:3: store "a" has no setting "pth"
//	    3 |   pth = "/x"
//	      |   ^^^
//	    did you mean "path"?
func (d Diagnostic) String() string {
	var b strings.Builder
	if d.Line == 0 {
		fmt.Fprintf(&b, "%s: %s\n", d.File, d.Summary)
	} else {
		fmt.Fprintf(&b, "%s:%d:%d: %s\n", d.File, d.Line, d.Column, d.Summary)
		number := fmt.Sprintf("%5d", d.Line)
		line, marker := d.drawn()
		fmt.Fprintf(&b, "%s | %s\n%s | %s\n", number, line, strings.Repeat(" ", len(number)), marker)
	}
	for line := range strings.Lines(d.Detail) {
		b.WriteString("    " + strings.TrimRight(line, "\n") + "\n")
	}
	return b.String()
}

// Bounds of what is shown of a long line: so many characters at most, and so
// many of them before the marker.
const (
	shownWidth  = 160
	shownBefore = 60
)

// drawn returns the line and what stands under it.
func (d Diagnostic) drawn() (line, marker string) {
	text := []rune(d.Excerpt)
	start := min(max(d.Column-1, 0), len(text))
	end := min(start+max(d.marked, 1), max(len(text), start+1))
	if len(text) > shownWidth {
		first := max(0, min(start-shownBefore, len(text)-shownWidth))
		text = text[first : first+shownWidth]
		start, end = start-first, min(end-first, shownWidth)
	}
	pad := make([]rune, start)
	for i := range pad {
		pad[i] = ' '
		if text[i] == '\t' {
			pad[i] = '\t'
		}
	}
	return string(text), string(pad) + strings.Repeat("^", max(end-start, 1))
}

// at makes a diagnostic for a place in src.
func at(file string, src []byte, place hcl.Range, summary, detail string) Diagnostic {
	d := Diagnostic{File: file, Summary: summary, Detail: detail}
	if place.Start.Line == 0 {
		return d
	}
	begins := bytes.LastIndexByte(src[:min(place.Start.Byte, len(src))], '\n') + 1
	line, _, _ := bytes.Cut(src[begins:], []byte("\n"))
	d.Line = place.Start.Line
	d.Excerpt = shownLine(printable(string(bytes.TrimRight(line, "\r"))))
	// Counted anew: the parser's columns are of characters as people see them.
	before := src[begins:min(place.Start.Byte, len(src))]
	d.Column = len([]rune(printable(string(before)))) + 1
	within := src[min(place.Start.Byte, len(src)):min(max(place.End.Byte, place.Start.Byte), begins+len(line))]
	d.marked = len([]rune(printable(string(within))))
	return d
}

// printable replaces characters that could move a terminal's cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && unicode.IsControl(r) {
			return '�'
		}
		return r
	}, strings.ToValidUTF8(s, "�"))
}

// sorted puts diagnostics in the order of the file and drops repetitions.
func sorted(list []Diagnostic) []Diagnostic {
	slices.SortStableFunc(list, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.Compact(list)
}
