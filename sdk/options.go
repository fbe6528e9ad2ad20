package sdk

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// OptionType is the type of an option's value.
type OptionType string

const (
	// TypeString is a string, perhaps one of a few.
	TypeString OptionType = "string"
	// TypeBool is true or false.
	TypeBool OptionType = "bool"
	// TypeNumber is a number with or without a fraction: float64 in Options.
	TypeNumber OptionType = "number"
	// TypeSize is an amount of bytes, written as a whole number or as a string
	// such as "64MiB": int64 in Options.
	TypeSize OptionType = "size"
	// TypeDuration is a string such as "1m30s": time.Duration in Options.
	TypeDuration OptionType = "duration"
)

// Option is one setting of a backend.
type Option struct {
	// Name in snake_case.
	Name string     `json:"name"`
	Type OptionType `json:"type"`
	// Help is one sentence.
	Help string `json:"help"`
	// Default holds when no value is given; nil for none.
	Default any `json:"default,omitempty"`
	// OneOf are the values that a string may have; empty for any.
	OneOf []string `json:"one_of,omitempty"`
	// Min and Max bound a number, a size (bytes) or a duration (seconds).
	Min *float64 `json:"min,omitempty"`
	Max *float64 `json:"max,omitempty"`
	// Whole is set for a number without a fraction.
	Whole bool `json:"whole,omitempty"`
	// Modes are those in which the option means anything, and with others it is
	// refused; empty for all.
	Modes []string `json:"modes,omitempty"`
}

// Bound makes a Min or Max.
func Bound(v float64) *float64 { return &v }

// Check returns value as the type that Options holds for this option, or says
// what is wrong with it.
func (o Option) Check(value any) (any, error) {
	switch o.Type {
	case TypeString:
		s, ok := value.(string)
		if !ok {
			return nil, fmt.Errorf("%s must be a string, not %v", o.Name, value)
		}
		if len(o.OneOf) > 0 && !slices.Contains(o.OneOf, s) {
			return nil, fmt.Errorf("%s must be one of %s, not %q", o.Name, strings.Join(o.OneOf, ", "), s)
		}
		return s, nil
	case TypeBool:
		b, ok := value.(bool)
		if !ok {
			return nil, fmt.Errorf("%s must be true or false, not %v", o.Name, value)
		}
		return b, nil
	case TypeNumber:
		f, ok := toFloat(value)
		if !ok {
			return nil, fmt.Errorf("%s must be a number, not %v", o.Name, value)
		}
		if o.Whole && f != math.Trunc(f) {
			return nil, fmt.Errorf("%s must be a whole number, not %g", o.Name, f)
		}
		return f, o.checkBounds(f, func(f float64) string { return fmt.Sprintf("%g", f) })
	case TypeSize:
		n, err := toSize(value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.Name, err)
		}
		return n, o.checkBounds(float64(n), func(f float64) string { return FormatBytes(int64(f)) })
	case TypeDuration:
		d, err := toDuration(value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.Name, err)
		}
		return d, o.checkBounds(d.Seconds(), func(f float64) string {
			return time.Duration(f * float64(time.Second)).String()
		})
	default:
		return nil, fmt.Errorf("%s has the type %q, which this version does not know", o.Name, o.Type)
	}
}

func (o Option) checkBounds(v float64, show func(float64) string) error {
	if o.Min != nil && v < *o.Min {
		return fmt.Errorf("%s must be at least %s, not %s", o.Name, show(*o.Min), show(v))
	}
	if o.Max != nil && v > *o.Max {
		return fmt.Errorf("%s must be at most %s, not %s", o.Name, show(*o.Max), show(v))
	}
	return nil
}

func toFloat(value any) (float64, bool) {
	switch v := value.(type) {
	case float64:
		return v, v == v // NaN is no number
	case int:
		return float64(v), true
	case int64:
		return float64(v), true
	}
	return 0, false
}

func toSize(value any) (int64, error) {
	if s, ok := value.(string); ok {
		return ParseBytes(s)
	}
	f, ok := toFloat(value)
	if !ok || f < 0 || f > 1<<62 || f != float64(int64(f)) {
		return 0, fmt.Errorf("must be an amount of bytes such as 4096 or \"64MiB\", not %v", value)
	}
	return int64(f), nil
}

func toDuration(value any) (time.Duration, error) {
	switch v := value.(type) {
	case time.Duration:
		return v, nil
	case string:
		d, err := time.ParseDuration(v)
		if err != nil {
			return 0, fmt.Errorf("must be a duration such as \"30s\" or \"1h30m\", not %q", v)
		}
		return d, nil
	}
	return 0, fmt.Errorf("must be a duration such as \"30s\" or \"1h30m\", not %v", value)
}

// Schema is all options of a backend.
type Schema []Option

// Lookup finds an option by name.
func (s Schema) Lookup(name string) (Option, bool) {
	i := slices.IndexFunc(s, func(o Option) bool { return o.Name == name })
	if i < 0 {
		return Option{}, false
	}
	return s[i], true
}

// Resolve checks given options and fills in defaults. Its error is of kind
// ErrInvalidOption and names every mistake.
func (s Schema) Resolve(given map[string]any) (Options, error) {
	resolved := make(Options, len(s))
	var mistakes []string
	for name, value := range given {
		option, ok := s.Lookup(name)
		if !ok {
			mistakes = append(mistakes, fmt.Sprintf("there is no option %q", name))
			continue
		}
		v, err := option.Check(value)
		if err != nil {
			mistakes = append(mistakes, err.Error())
			continue
		}
		resolved[name] = v
	}
	for _, option := range s {
		if _, ok := resolved[option.Name]; ok || option.Default == nil {
			continue
		}
		v, err := option.Check(option.Default)
		if err != nil {
			mistakes = append(mistakes, fmt.Sprintf("default of %v", err))
			continue
		}
		resolved[option.Name] = v
	}
	if len(mistakes) > 0 {
		slices.Sort(mistakes)
		return nil, Errorf(ErrInvalidOption, "options: %s", strings.Join(mistakes, "; ")).WithHint("%s", s.advice())
	}
	return resolved, nil
}

func (s Schema) advice() string {
	if len(s) == 0 {
		return "this backend takes no options"
	}
	names := make([]string, len(s))
	for i, option := range s {
		names[i] = option.Name
	}
	return "the options are: " + strings.Join(names, ", ")
}

// Options are a backend's settings, checked and completed by its Schema.
// The getters return the zero value for an option without value.
type Options map[string]any

// String returns a TypeString option.
func (o Options) String(name string) string { v, _ := o[name].(string); return v }

// Bool returns a TypeBool option.
func (o Options) Bool(name string) bool { v, _ := o[name].(bool); return v }

// Number returns a TypeNumber option.
func (o Options) Number(name string) float64 { v, _ := o[name].(float64); return v }

// Size returns a TypeSize option in bytes.
func (o Options) Size(name string) int64 { v, _ := o[name].(int64); return v }

// Duration returns a TypeDuration option.
func (o Options) Duration(name string) time.Duration { v, _ := o[name].(time.Duration); return v }
