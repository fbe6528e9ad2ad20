package sdk

import (
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseBytes(t *testing.T) {
	for in, want := range map[string]int64{
		"0":         0,
		"512":       512,
		"512B":      512,
		"64KiB":     64 << 10,
		" 1.5 GiB ": 3 << 29,
		"10MB":      10_000_000,
		"2kB":       2000,
		"2KB":       2000,
		"1TiB":      1 << 40,
	} {
		if got, err := ParseBytes(in); err != nil || got != want {
			t.Errorf("ParseBytes(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "MiB", "many", "-1", "-1KiB", "NaN", "inf", "9999999TiB", "64mib", "1 2"} {
		if got, err := ParseBytes(in); err == nil || !strings.Contains(err.Error(), "write a number and a unit") {
			t.Errorf("ParseBytes(%q) = %d, %v; want an error that says what to write", in, got, err)
		}
	}
}

func TestFormatBytes(t *testing.T) {
	for in, want := range map[int64]string{
		0:             "0 B",
		1023:          "1023 B",
		1024:          "1.0 KiB",
		3 << 19:       "1.5 MiB",
		1<<20 - 1:     "1.0 MiB",
		1 << 30:       "1.0 GiB",
		-(5 << 20):    "-5.0 MiB",
		-3:            "-3 B",
		math.MaxInt64: "8388608.0 TiB",
		math.MinInt64: "-8388608.0 TiB",
	} {
		if got := FormatBytes(in); got != want {
			t.Errorf("FormatBytes(%d) = %q, want %q", in, got, want)
		}
	}
}

// What is written for people reads back as about the same amount.
func TestFormatBytesReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, 1<<60).Draw(t, "n")
		back, err := ParseBytes(FormatBytes(n))
		if err != nil {
			t.Fatal(err)
		}
		if diff := math.Abs(float64(back - n)); diff > 0.051*float64(n)+1 {
			t.Fatalf("%d is written %q, which is %d", n, FormatBytes(n), back)
		}
	})
}
