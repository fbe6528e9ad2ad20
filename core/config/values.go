package config

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // zones must mean the same on a machine without the database

	"github.com/zclconf/go-cty/cty"

	"github.com/wringdb/wring/core/schedule"
	"github.com/wringdb/wring/sdk"
)

// The functions here parse one setting. Their errors read on from the name of
// the setting; what to do follows in a second line.

// maxDuration bounds durations, so that sums of them cannot overflow.
const maxDuration = 3650 * 24 * time.Hour

func text(v cty.Value) (string, error) {
	if v.Type() != cty.String {
		return "", fmt.Errorf("must be text, not %s\nput it in quotes", shown(v))
	}
	s := v.AsString()
	if s == "" {
		return "", errors.New("is empty\ngive it a value, or leave the setting out")
	}
	if strings.ContainsRune(s, 0) {
		return "", errors.New("has a zero byte in it\nremove it")
	}
	return s, nil
}

func texts(v cty.Value) ([]string, error) {
	if !v.Type().IsTupleType() {
		return nil, fmt.Errorf("must be a list, not %s\nwrite [\"…\", \"…\"]", shown(v))
	}
	list := make([]string, 0, v.LengthInt())
	for _, element := range v.AsValueSlice() {
		if element.IsNull() || element.Type() != cty.String {
			return nil, errors.New("must be a list of texts\nput each in quotes")
		}
		list = append(list, element.AsString())
	}
	return list, nil
}

// whole parses a whole number within bounds.
func whole(least, most int64) func(cty.Value) (int, error) {
	return func(v cty.Value) (int, error) {
		n, ok := toWhole(v)
		if !ok {
			return 0, fmt.Errorf("must be a whole number, not %s\nwrite one from %d to %d", shown(v), least, most)
		}
		if n < least || n > most {
			return 0, fmt.Errorf("must be from %d to %d, not %d\nchoose one within", least, most, n)
		}
		return int(n), nil
	}
}

// duration parses what time.ParseDuration knows, and days ("7d", "1d12h").
func duration(least time.Duration) func(cty.Value) (time.Duration, error) {
	return func(v cty.Value) (time.Duration, error) {
		if v.Type() != cty.String {
			return 0, fmt.Errorf("must be a duration, not %s\nwrite a number and a unit in quotes, such as \"90s\", \"6h\" or \"7d\"", shown(v))
		}
		d, err := parseDuration(v.AsString())
		switch {
		case err != nil:
			return 0, fmt.Errorf("is no duration, %s\nwrite a number and a unit, such as \"90s\", \"6h\" or \"7d\"", shown(v))
		case d < least && least > 0:
			return 0, fmt.Errorf("must be at least %s, not %s\nchoose a longer one", least, shown(v))
		case d < 0:
			return 0, fmt.Errorf("must not be negative, %s\nremove the minus sign", shown(v))
		case d > maxDuration:
			return 0, fmt.Errorf("must be at most 3650d, not %s\nchoose a shorter one", shown(v))
		}
		return d, nil
	}
}

// ParseDuration parses a duration as configurations have them, such as "90d".
func ParseDuration(s string) (time.Duration, error) { return parseDuration(s) }

func parseDuration(s string) (time.Duration, error) {
	s = strings.ReplaceAll(strings.TrimSpace(s), " ", "")
	number, rest, ok := strings.Cut(s, "d")
	if !ok {
		return time.ParseDuration(s)
	}
	days, err := strconv.ParseFloat(number, 64)
	if err != nil || math.IsNaN(days) || math.Abs(days) > 1e5 {
		return 0, fmt.Errorf("%q is no number of days", number)
	}
	d := time.Duration(days * float64(24*time.Hour))
	if rest == "" {
		return d, nil
	}
	more, err := time.ParseDuration(rest)
	if more < 0 {
		return 0, errors.New("a minus sign in the middle")
	}
	return d + more, err
}

// share parses "10%" or 0.1.
func share(v cty.Value) (float64, error) {
	const write = "write a share such as \"10%\" or 0.1"
	f, ok := toNumber(v)
	if v.Type() == cty.String {
		number, percent := strings.CutSuffix(strings.TrimSpace(v.AsString()), "%")
		parsed, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if f, ok = parsed, err == nil && percent && !math.IsNaN(parsed); ok {
			f /= 100
		}
	}
	switch {
	case !ok:
		return 0, fmt.Errorf("is no share, %s\n%s", shown(v), write)
	case f > 1 && f <= 100 && v.Type() == cty.Number:
		return 0, fmt.Errorf("must be from 0 to 1, not %s\nfor percent write \"%s%%\"", shown(v), shown(v))
	case f < 0 || f > 1:
		return 0, fmt.Errorf("must be from 0%% to 100%%, not %s\n%s", shown(v), write)
	}
	return f, nil
}

// size parses an amount of bytes.
func size(v cty.Value) (int64, error) {
	if v.Type() == cty.String {
		n, err := sdk.ParseBytes(v.AsString())
		if err != nil {
			return 0, fmt.Errorf("is no amount of bytes, %s\nwrite a number and a unit, such as \"64MiB\"", shown(v))
		}
		return n, nil
	}
	n, ok := toWhole(v)
	if !ok || n < 0 || n > 1<<62 {
		return 0, fmt.Errorf("is no amount of bytes, %s\nwrite a whole number, or a number and a unit such as \"64MiB\"", shown(v))
	}
	return n, nil
}

// leastRate is the lowest limit in bytes per second. At less a compaction takes
// for ever, so that it is rather a unit that was left out.
const leastRate = 64 << 10

// rate parses an amount of bytes in a second; 0 is no limit.
func rate(v cty.Value) (int64, error) {
	if v.Type() == cty.String {
		v = cty.StringVal(strings.TrimSuffix(strings.TrimSpace(v.AsString()), "/s"))
	}
	n, err := size(v)
	if err == nil && n > 0 && n < leastRate {
		return 0, fmt.Errorf("is too low, %s/s\nwrite at least 64KiB/s, with the unit, such as \"50MiB/s\"; 0 is no limit", sdk.FormatBytes(n))
	}
	return n, err
}

func ioPriority(v cty.Value) (sdk.IOPriority, error) {
	s, err := text(v)
	if err != nil {
		return "", err
	}
	switch p := sdk.IOPriority(s); p {
	case sdk.IOIdle, sdk.IONormal:
		return p, nil
	}
	return "", fmt.Errorf("is no I/O priority, %q\nwrite \"idle\" or \"normal\"", s)
}

func cronExpression(v cty.Value) (string, error) {
	s, err := text(v)
	if err != nil {
		return "", err
	}
	if err := schedule.CheckCron(s); err != nil {
		return "", fmt.Errorf("is no schedule\n%w", err)
	}
	return s, nil
}

func location(v cty.Value) (*time.Location, error) {
	s, err := text(v)
	if err != nil {
		return nil, err
	}
	if strings.EqualFold(s, "local") {
		return time.Local, nil
	}
	zone, err := time.LoadLocation(s)
	if err != nil {
		return nil, fmt.Errorf("is no time zone, %q\nwrite a name such as \"Europe/Madrid\" or \"UTC\", or \"local\" for that of the machine", s)
	}
	return zone, nil
}

var clockTime = regexp.MustCompile(`^([0-9]{1,2}):([0-9]{2})$`)

// timeOfDay parses "HH:MM" to minutes since midnight, up to 24:00.
func timeOfDay(v cty.Value) (int, error) {
	s, err := text(v)
	if err != nil {
		return 0, err
	}
	parts := clockTime.FindStringSubmatch(s)
	if parts == nil {
		return 0, fmt.Errorf("is no time of day, %q\nwrite one such as \"01:30\"", s)
	}
	hour, _ := strconv.Atoi(parts[1])
	minute, _ := strconv.Atoi(parts[2])
	if minute > 59 || hour*60+minute > 24*60 {
		return 0, fmt.Errorf("is no time of day, %q\nwrite one from \"00:00\" to \"24:00\"", s)
	}
	return hour*60 + minute, nil
}

func weekdays(v cty.Value) ([]time.Weekday, error) {
	names, err := texts(v)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, errors.New("is empty\nname days such as \"sat\", or leave the setting out for every day")
	}
	var days []time.Weekday
	var wrong []error
	for _, name := range names {
		day, ok := weekday(name)
		if !ok {
			wrong = append(wrong, fmt.Errorf("has no day %q\nthe days are mon, tue, wed, thu, fri, sat, sun", name))
		} else if !slices.Contains(days, day) {
			days = append(days, day)
		}
	}
	return days, errors.Join(wrong...)
}

func weekday(name string) (time.Weekday, bool) {
	for day := time.Sunday; day <= time.Saturday; day++ {
		if strings.EqualFold(name, day.String()) || strings.EqualFold(name, day.String()[:3]) {
			return day, true
		}
	}
	return 0, false
}

var hexDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)

func checksum(v cty.Value) (string, error) {
	s, err := text(v)
	if err != nil {
		return "", err
	}
	s = strings.ToLower(strings.TrimSpace(s))
	if !hexDigest.MatchString(s) {
		return "", errors.New("is not 64 hexadecimal digits\nprint the right ones with `wring plugin pin NAME`")
	}
	return s, nil
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func variables(v cty.Value) ([]string, error) {
	names, err := texts(v)
	if err != nil {
		return nil, err
	}
	var wrong []error
	for _, name := range names {
		if before, _, ok := strings.Cut(name, "="); ok {
			wrong = append(wrong, fmt.Errorf("has a value in it, for %s\nwrite the name alone; the value is that of wring's own environment", before))
		} else if !variableName.MatchString(name) {
			wrong = append(wrong, fmt.Errorf("has %q, which is no name of a variable\nwrite names such as \"AWS_REGION\"", name))
		}
	}
	return names, errors.Join(wrong...)
}

// path returns a parser of paths, which are absolute or begin in the directory
// of the file.
func (d *decoder) path(v cty.Value) (string, error) {
	s, err := text(v)
	if err != nil {
		return "", err
	}
	if s == "~" || strings.HasPrefix(s, "~/") {
		return "", errors.New("begins with ~, which nobody expands here\nwrite the whole path")
	}
	if !filepath.IsAbs(s) {
		s = filepath.Join(d.dir, s)
	}
	return filepath.Clean(s), nil
}

func (d *decoder) storePath(v cty.Value) (string, error) {
	s, err := d.path(v)
	if err == nil && strings.Contains(s, "*") {
		return "", errors.New("has a * in it\nfor a family of stores write glob instead of path")
	}
	return s, err
}

func (d *decoder) glob(v cty.Value) (string, error) {
	s, err := d.path(v)
	if err != nil {
		return "", err
	}
	if _, err := filepath.Match(s, ""); err != nil {
		return "", errors.New("is no pattern\nclose every [, and write \\[ for the character itself")
	}
	if strings.Contains(s, "**") {
		return "", errors.New("has ** in it, which means no more than *\na * matches within one directory, so write one for each level")
	}
	return s, nil
}

// maxSocketPath is how many bytes the path of a unix socket may have.
func maxSocketPath() int {
	if runtime.GOOS == "linux" {
		return 107
	}
	return 103
}

func (d *decoder) socket(v cty.Value) (string, error) {
	s, err := d.path(v)
	if err == nil && len(s) > maxSocketPath() {
		return "", fmt.Errorf("is too long for a unix socket, %d bytes\nthe system allows %d, so choose a shorter path", len(s), maxSocketPath())
	}
	return s, err
}

func (d *decoder) socketDir(v cty.Value) (string, error) {
	const least = len("/a.sock")
	s, err := d.path(v)
	if most := maxSocketPath() - least; err == nil && len(s) > most {
		return "", fmt.Errorf("is too long for unix sockets in it, %d bytes\nthe system allows %d, so choose a shorter path", len(s), most)
	}
	return s, err
}

func (d *decoder) paths(v cty.Value) ([]string, error) {
	list, err := texts(v)
	if err != nil {
		return nil, err
	}
	var wrong []error
	for i, element := range list {
		if list[i], err = d.path(cty.StringVal(element)); err != nil {
			wrong = append(wrong, err)
		}
	}
	return list, errors.Join(wrong...)
}

// maxDataDir leaves room for the admin socket, with the shortest limit that
// systems have for the path of one: 103 bytes. Sockets of plugins, which have
// longer names, go elsewhere where there is no room for them.
const maxDataDir = 103 - len("/wring.sock")

func (d *decoder) dataDir(v cty.Value) (string, error) {
	s, err := d.path(v)
	if err == nil && len(s) > maxDataDir {
		return "", fmt.Errorf("is too long, %d bytes\nthe path of the admin socket in it would be longer than systems allow, so choose one of at most %d bytes", len(s), maxDataDir)
	}
	return s, err
}
