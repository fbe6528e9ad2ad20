package sdk

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

var byteUnits = []struct {
	name string
	size float64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3}, {"B", 1},
}

// ParseBytes reads an amount such as "512", "64KiB", "1.5 GiB" or "10MB".
func ParseBytes(s string) (int64, error) {
	number, unit := strings.TrimSpace(s), 1.0
	for _, u := range byteUnits {
		if rest, ok := strings.CutSuffix(number, u.name); ok {
			number, unit = strings.TrimSpace(rest), u.size
			break
		}
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || math.IsNaN(v) || v < 0 || v*unit > 1<<62 {
		return 0, fmt.Errorf("%q is no amount of bytes: write a number and a unit, such as \"64MiB\"", s)
	}
	return int64(v * unit), nil
}

// FormatBytes writes an amount for people, in powers of 1024: "1.5 MiB".
func FormatBytes(n int64) string {
	sign, v := "", float64(n)
	if n < 0 {
		sign, v = "-", -v
	}
	for _, u := range byteUnits[:4] {
		if v >= u.size*(1-0.05/1024) { // what would be written as 1024.0 of the next unit
			return fmt.Sprintf("%s%.1f %s", sign, v/u.size, u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}
