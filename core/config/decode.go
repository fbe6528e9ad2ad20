package config

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// decoder turns a parsed file into a Config and collects what is wrong.
type decoder struct {
	file string // as diagnostics show it
	dir  string // where relative paths begin
	src  []byte
	// files is set when the files that a configuration names are looked at.
	files bool
	// partial is set when parts of the file could not be parsed; unreadable are
	// the lines at which that was noticed.
	partial    bool
	unreadable map[int]bool
	found      []Diagnostic
}

// value is a setting, and where it was set, if it was.
type value[T any] struct {
	v   T
	set bool
	// name is where the name of the setting stands, at where its value does.
	name, at hcl.Range
}

// or returns v where it was set, else the other.
func (v value[T]) or(other value[T]) value[T] {
	if v.set {
		return v
	}
	return other
}

// report adds a mistake: what is wrong, and what to do about it. In a line that
// could not be parsed that is all there is to say.
func (d *decoder) report(place hcl.Range, summary, detail string) {
	if place.Start.Line > 0 && d.unreadable[place.Start.Line] {
		return
	}
	d.found = append(d.found, at(d.file, d.src, place, summary, detail))
}

// reportMissing is report for what may stand in the part of the file that could
// not be parsed.
func (d *decoder) reportMissing(place hcl.Range, summary, detail string) {
	if !d.partial {
		d.report(place, summary, detail)
	}
}

// reportSyntax adds what the parser says.
func (d *decoder) reportSyntax(diags hcl.Diagnostics) {
	unclosed := false
	for _, diag := range diags {
		switch diag.Summary {
		case "Invalid multi-line string", "Unterminated template string":
			if unclosed {
				continue // each line that follows is in the same quotes
			}
			unclosed = true
			d.report(*diag.Subject, "these quotes are not closed", "put a \" at the end of the text")
		case "Missing newline after argument":
			d.report(*diag.Subject, "the setting does not end here", "put text into quotes, and each setting into a line of its own")
		default:
			d.reportHCL(diag)
		}
	}
	d.partial = diags.HasErrors()
	d.unreadable = make(map[int]bool)
	for _, one := range d.found {
		d.unreadable[one.Line] = true
	}
}

// reportHCL adds a diagnostic of the configuration language.
func (d *decoder) reportHCL(diag *hcl.Diagnostic) {
	var place hcl.Range
	if diag.Subject != nil {
		place = *diag.Subject
	}
	d.report(place, lowerFirst(strings.TrimSuffix(diag.Summary, ".")), lowerFirst(diag.Detail))
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}

// block is a block, or the file itself, whose settings are being read.
type block struct {
	*decoder
	body *hclsyntax.Body
	// what names it in sentences; place is where it begins.
	what  string
	place hcl.Range
}

// open checks that a body has only settings and blocks of the given names.
func (d *decoder) open(body *hclsyntax.Body, what string, place hcl.Range, settings, blocks []string) *block {
	b := &block{decoder: d, body: body, what: what, place: place}
	for _, name := range slices.Sorted(maps.Keys(body.Attributes)) {
		attribute := body.Attributes[name]
		switch {
		case slices.Contains(settings, name):
		case slices.Contains(blocks, name):
			d.report(attribute.NameRange, fmt.Sprintf("%s is a block, not a setting", name), fmt.Sprintf("write it without the equals sign: %s { … }", name))
		default:
			d.report(attribute.NameRange, fmt.Sprintf("%s has no setting %q", what, name), suggest(name, slices.Concat(settings, blocks), "settings"))
		}
	}
	for _, inner := range body.Blocks {
		switch {
		case slices.Contains(blocks, inner.Type):
		case slices.Contains(settings, inner.Type):
			d.report(inner.TypeRange, fmt.Sprintf("%s is a setting, not a block", inner.Type), fmt.Sprintf("write it with an equals sign: %s = …", inner.Type))
		default:
			d.report(inner.TypeRange, fmt.Sprintf("%s has no block %q", what, inner.Type), suggest(inner.Type, slices.Concat(blocks, settings), "blocks"))
		}
	}
	return b
}

// suggest says which of the names was perhaps meant, or else what there is.
func suggest(given string, names []string, kind string) string {
	if name := Nearest(given, names); name != "" {
		return fmt.Sprintf("did you mean %q?", name)
	}
	if len(names) == 0 {
		return fmt.Sprintf("there are no %s here", kind)
	}
	return "there are: " + strings.Join(names, ", ")
}

// Nearest returns the name that is a slip of the pen away from the given one,
// or "".
func Nearest(given string, names []string) string {
	best, least := "", min(1+len(given)/3, 3)+1
	for _, name := range names {
		distance := levenshtein.Distance(strings.ToLower(given), strings.ToLower(name), nil)
		if distance < least {
			best, least = name, distance
		}
	}
	return best
}

// blocks returns the blocks of a type, those with a wrong number of labels left
// out.
func (b *block) blocks(kind string, labelled bool) []*hclsyntax.Block {
	var found []*hclsyntax.Block
	for _, inner := range b.body.Blocks {
		switch {
		case inner.Type != kind:
		case labelled && len(inner.Labels) == 0:
			b.report(inner.TypeRange, fmt.Sprintf("this %s has no name", kind), fmt.Sprintf("write %s \"NAME\" { … }", kind))
		case labelled && len(inner.Labels) > 1:
			b.report(inner.LabelRanges[1], fmt.Sprintf("a %s has one name", kind), "remove what follows the name")
		case !labelled && len(inner.Labels) > 0:
			b.report(inner.LabelRanges[0], fmt.Sprintf("%s has no name", kind), fmt.Sprintf("write %s { … }", kind))
		default:
			found = append(found, inner)
		}
	}
	return found
}

// one returns the block of a type that may stand there once, or nil.
func (b *block) one(kind string) *hclsyntax.Block {
	found := b.blocks(kind, false)
	for _, again := range found[min(1, len(found)):] {
		b.report(again.TypeRange, fmt.Sprintf("%s has a second %s", b.what, kind),
			fmt.Sprintf("put it together with the one in line %d", found[0].TypeRange.Start.Line))
	}
	if len(found) == 0 {
		return nil
	}
	return found[0]
}

// evaluate returns the value of an expression, which has to be a constant.
func (d *decoder) evaluate(name string, expr hclsyntax.Expression) (cty.Value, bool) {
	place := expr.Range()
	if word := hcl.ExprAsKeyword(expr); word != "" && expr.Variables() != nil {
		d.report(place, fmt.Sprintf("%s is not in quotes", word), fmt.Sprintf("write %s = %q", name, word))
		return cty.NilVal, false
	}
	v, diags := expr.Value(nil)
	for _, diag := range diags {
		if diag.Severity != hcl.DiagError {
			continue
		}
		if strings.HasPrefix(diag.Summary, "Variables not") || strings.HasPrefix(diag.Summary, "Function calls not") {
			d.report(place, fmt.Sprintf("%s is not a plain value: there are no variables and functions here", name), "write the value itself; ${ within quotes is written $${")
			return cty.NilVal, false
		}
		d.reportHCL(diag)
		return cty.NilVal, false
	}
	if v.IsNull() || !v.IsWhollyKnown() {
		d.report(place, fmt.Sprintf("%s has no value", name), "give it one, or leave the setting out")
		return cty.NilVal, false
	}
	return v, true
}

// setting evaluates a setting and parses it; its mistakes are reported.
func setting[T any](b *block, name string, parse func(cty.Value) (T, error)) value[T] {
	attribute, there := b.body.Attributes[name]
	if !there {
		return value[T]{}
	}
	place := attribute.Expr.Range()
	raw, ok := b.evaluate(name, attribute.Expr)
	if !ok {
		return value[T]{}
	}
	v, err := parse(raw)
	if err != nil {
		for _, mistake := range each(err) {
			summary, detail, _ := strings.Cut(mistake.Error(), "\n")
			b.report(place, fmt.Sprintf("%s %s", name, summary), detail)
		}
		return value[T]{}
	}
	return value[T]{v: v, set: true, name: attribute.NameRange, at: place}
}

// each returns the errors that were joined: those of a list's elements.
func each(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// shown writes a value for a message.
func shown(v cty.Value) string {
	switch {
	case v.Type() == cty.String:
		return strconv.Quote(v.AsString())
	case v.Type() == cty.Number:
		return v.AsBigFloat().Text('g', 10)
	case v.Type() == cty.Bool:
		return strconv.FormatBool(v.True())
	case v.Type().IsTupleType():
		return "a list"
	}
	return "an object"
}

// toNumber returns a number; ok is false for other types.
func toNumber(v cty.Value) (float64, bool) {
	if v.Type() != cty.Number {
		return 0, false
	}
	f, _ := v.AsBigFloat().Float64()
	return f, true
}

// toWhole returns a whole number that fits; ok is false for all else.
func toWhole(v cty.Value) (int64, bool) {
	if v.Type() != cty.Number {
		return 0, false
	}
	n, accuracy := v.AsBigFloat().Int64()
	return n, accuracy == big.Exact
}
