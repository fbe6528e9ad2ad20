package sdk

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

func TestOptionCheck(t *testing.T) {
	number := Option{Name: "n", Type: TypeNumber, Min: Bound(0.1), Max: Bound(1)}
	size := Option{Name: "s", Type: TypeSize, Min: Bound(1024), Max: Bound(1 << 20)}
	duration := Option{Name: "d", Type: TypeDuration, Min: Bound(1), Max: Bound(60)}
	whole := Option{Name: "b", Type: TypeNumber, Min: Bound(1), Whole: true}
	word := Option{Name: "w", Type: TypeString, OneOf: []string{"up", "down"}}
	for _, c := range []struct {
		option Option
		value  any
		want   any
		wrong  string // part of the error
	}{
		{number, 0.5, 0.5, ""},
		{number, 1, 1.0, ""},
		{number, int64(1), 1.0, ""},
		{number, "0.5", nil, "n must be a number, not 0.5"},
		{number, math.NaN(), nil, "n must be a number"},
		{number, 0.01, nil, "n must be at least 0.1, not 0.01"},
		{number, 1.5, nil, "n must be at most 1, not 1.5"},
		{whole, 9, 9.0, ""},
		{whole, 9.5, nil, "b must be a whole number, not 9.5"},
		{whole, 0, nil, "b must be at least 1, not 0"},
		{size, 4096, int64(4096), ""},
		{size, 4096.0, int64(4096), ""},
		{size, "64KiB", int64(64 << 10), ""},
		{size, 4096.5, nil, "an amount of bytes"},
		{size, -1, nil, "an amount of bytes"},
		{size, true, nil, "an amount of bytes"},
		{size, "lots", nil, `s: "lots" is no amount of bytes`},
		{size, "1B", nil, "s must be at least 1.0 KiB, not 1 B"},
		{size, "1GiB", nil, "s must be at most 1.0 MiB, not 1.0 GiB"},
		{duration, "30s", 30 * time.Second, ""},
		{duration, 5 * time.Second, 5 * time.Second, ""},
		{duration, 30, nil, "a duration such as"},
		{duration, "soon", nil, `not "soon"`},
		{duration, "1ms", nil, "d must be at least 1s, not 1ms"},
		{duration, "2m", nil, "d must be at most 1m0s, not 2m0s"},
		{word, "up", "up", ""},
		{word, "left", nil, `w must be one of up, down, not "left"`},
		{word, 3, nil, "w must be a string, not 3"},
		{Option{Name: "b", Type: TypeBool}, true, true, ""},
		{Option{Name: "b", Type: TypeBool}, "true", nil, "b must be true or false"},
		{Option{Name: "x", Type: "colour"}, "red", nil, `the type "colour"`},
	} {
		got, err := c.option.Check(c.value)
		switch {
		case c.wrong == "" && (err != nil || got != c.want):
			t.Errorf("%s: Check(%v) = %v (%T), %v; want %v (%T)", c.option.Name, c.value, got, got, err, c.want, c.want)
		case c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)):
			t.Errorf("%s: Check(%v) = %v, want an error with %q", c.option.Name, c.value, err, c.wrong)
		}
	}
}

func TestSchemaResolve(t *testing.T) {
	schema := fakeDescription().Options
	options, err := schema.Resolve(map[string]any{"fill": 0.9})
	if err != nil {
		t.Fatal(err)
	}
	if options.Number("fill") != 0.9 || options.Size("chunk") != 64<<10 || options.Duration("wait") != 90*time.Second || !options.Bool("fast") {
		t.Errorf("options = %v", options)
	}
	if options.String("order") != "" || options.Number("chunk") != 0 {
		t.Error("an option without value, or of another type, is not zero")
	}
	again, err := schema.Resolve(options)
	if err != nil || again.Duration("wait") != options.Duration("wait") || again.Size("chunk") != options.Size("chunk") {
		t.Errorf("resolved again: %v, %v", again, err)
	}
}

func TestSchemaResolveNamesEveryMistake(t *testing.T) {
	_, err := fakeDescription().Options.Resolve(map[string]any{"fill": 7, "colour": "red", "wait": false, "fast": true})
	if !errors.Is(err, ErrInvalidOption) || Retryable(err) {
		t.Fatalf("err = %v", err)
	}
	for _, part := range []string{"fill must be at most 1", `there is no option "colour"`, "wait: must be a duration"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
	if hint := HintOf(err); hint != "the options are: fill, chunk, wait, fast, order" {
		t.Errorf("hint = %q", hint)
	}
	if _, err := (Schema{}).Resolve(map[string]any{"a": 1}); HintOf(err) != "this backend takes no options" {
		t.Errorf("hint of an empty schema = %q", HintOf(err))
	}
}

func TestSchemaResolveRefusesWrongDefault(t *testing.T) {
	schema := Schema{{Name: "n", Type: TypeNumber, Default: "many"}}
	if _, err := schema.Resolve(nil); err == nil || !strings.Contains(err.Error(), "default of n must be a number") {
		t.Errorf("err = %v", err)
	}
}
