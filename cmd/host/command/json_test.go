package command_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

const jsonUsage = `usage: json [-lines FILE] CONDITION, where CONDITION is one of
	FIELD is VALUE          as JSON, or a string without its quotes
	FIELD matches REGEXP
	FIELD atleast NUMBER    NUMBER may be the name of another field
	FIELD atmost NUMBER
	FIELD within PERCENT of FIELD
	FIELD counts NUMBER     the length of a list
	FIELD set|unset         neither missing nor null, zero, empty; or one of these
	FIELD future|past       a time
	FIELD to VARIABLE       keep it in the environment
and FIELD is like results.0.outcome; "." is the whole document.`

// cmdJSON looks at the one JSON document that is all of stdout. With -lines it
// says that a line of a file is a document that meets the condition, the other
// lines being documents too.
func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) >= 2 && args[0] == "-lines" {
		lines, err := documents(ts.MkAbs(args[1]))
		ts.Check(err)
		met := slices.ContainsFunc(lines, func(document any) bool { return meets(ts, document, args[2:]) == nil })
		if met == neg {
			ts.Fatalf("a line of %s meets %q: %v", args[1], args[2:], met)
		}
		return
	}
	document, err := decode(ts.ReadFile("stdout"))
	ts.Check(err)
	err = meets(ts, document, args)
	if (err == nil) == neg {
		ts.Fatalf("%v (negated: %v)", err, neg)
	}
}

// decode reads text that must be one JSON document and nothing else.
func decode(text string) (any, error) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var document any
	if err := decoder.Decode(&document); err != nil {
		return nil, fmt.Errorf("no JSON document: %w\n%s", err, text)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("more than one JSON document:\n%s", text)
	}
	return document, nil
}

func documents(file string) ([]any, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all []any
	for line := range strings.Lines(string(content)) {
		document, err := decode(line)
		if err != nil {
			return nil, err
		}
		all = append(all, document)
	}
	return all, nil
}

// awaitJSON runs a program until what it prints meets a condition.
func awaitJSON(ts *testscript.TestScript, args []string) func() error {
	split := slices.Index(args, "--")
	if split < 0 || split+1 == len(args) {
		ts.Fatalf(awaitUsage)
	}
	return func() error {
		text, err := quietly(ts, args[split+1], args[split+2:]...)
		if err != nil {
			return err
		}
		document, err := decode(text)
		if err != nil {
			return err
		}
		if err := meets(ts, document, args[:split]); err != nil {
			return fmt.Errorf("%w in\n%s", err, text)
		}
		return nil
	}
}

// meets says whether a document meets a condition. A wrong condition ends the
// script.
func meets(ts *testscript.TestScript, document any, condition []string) error {
	if len(condition) < 2 {
		ts.Fatalf(jsonUsage)
	}
	field, verb, rest := condition[0], condition[1], condition[2:]
	value, found := lookUp(document, field)
	shown := show(value)
	unmet := fmt.Errorf("%s: want %s, got %s (found: %v)", field, strings.Join(condition[1:], " "), shown, found)
	holds := false
	switch {
	case verb == "unset" && len(rest) == 0:
		holds = isEmpty(value)
	case verb == "set" && len(rest) == 0:
		holds = !isEmpty(value)
	case !found:
		return unmet
	case verb == "is" && len(rest) == 1:
		holds = shown == rest[0]
	case verb == "matches" && len(rest) == 1:
		pattern, err := regexp.Compile(rest[0])
		ts.Check(err)
		holds = pattern.MatchString(shown)
	case (verb == "atleast" || verb == "atmost") && len(rest) == 1:
		got, want := number(ts, value), bound(ts, document, rest[0])
		holds = verb == "atleast" && got >= want || verb == "atmost" && got <= want
	case verb == "within" && len(rest) == 3 && rest[1] == "of":
		got, want, percent := number(ts, value), bound(ts, document, rest[2]), bound(ts, document, rest[0])
		holds = math.Abs(got-want) <= math.Abs(want)*percent/100
	case verb == "counts" && len(rest) == 1:
		list, ok := value.([]any)
		holds = ok && strconv.Itoa(len(list)) == rest[0]
	case (verb == "future" || verb == "past") && len(rest) == 0:
		at, err := time.Parse(time.RFC3339Nano, shown)
		holds = err == nil && at.After(time.Now()) == (verb == "future")
	case verb == "to" && len(rest) == 1:
		ts.Setenv(rest[0], shown)
		holds = true
	default:
		ts.Fatalf(jsonUsage)
	}
	if !holds {
		return unmet
	}
	return nil
}

func lookUp(document any, field string) (any, bool) {
	if field == "." {
		return document, true
	}
	at := document
	for part := range strings.SplitSeq(field, ".") {
		switch node := at.(type) {
		case map[string]any:
			value, ok := node[part]
			if !ok {
				return nil, false
			}
			at = value
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(node) {
				return nil, false
			}
			at = node[i]
		default:
			return nil, false
		}
	}
	return at, true
}

// show writes a value as JSON, but a string as it is.
func show(value any) string {
	if text, ok := value.(string); ok {
		return text
	}
	text, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func isEmpty(value any) bool {
	switch show(value) {
	case "null", "", "0", "false", "[]", "{}":
		return true
	}
	return false
}

func number(ts *testscript.TestScript, value any) float64 {
	n, ok := value.(json.Number)
	if !ok {
		ts.Fatalf("%s is not a number", show(value))
	}
	f, err := n.Float64()
	ts.Check(err)
	return f
}

// bound is a number, or the value of another field.
func bound(ts *testscript.TestScript, document any, text string) float64 {
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		return f
	}
	value, ok := lookUp(document, text)
	if !ok {
		ts.Fatalf("%s is neither a number nor a field", text)
	}
	return number(ts, value)
}
