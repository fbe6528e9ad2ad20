package schedule

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/adhocore/gronx"
)

// cronField is one of the five parts of an expression.
type cronField struct {
	name     string
	min, max int
	names    []string // for min and what follows
}

func cronFields() []cronField {
	return []cronField{
		{name: "minute", min: 0, max: 59},
		{name: "hour", min: 0, max: 23},
		{name: "day of the month", min: 1, max: 31},
		{name: "month", min: 1, max: 12, names: strings.Fields("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC")},
		{name: "day of the week", min: 0, max: 7, names: strings.Fields("SUN MON TUE WED THU FRI SAT")},
	}
}

// CheckCron says what is wrong with a five-field expression, one that never
// fires included.
func CheckCron(expr string) error {
	fields := strings.Fields(expr)
	if len(fields) == 1 && strings.HasPrefix(fields[0], "@") {
		return fmt.Errorf("%q is a short form that wring does not know: write the five fields, such as \"0 3 * * *\" for every day at 03:00", expr)
	}
	if len(fields) != 5 {
		return fmt.Errorf("%q has %d fields, not five: minute, hour, day of the month, month, day of the week", expr, len(fields))
	}
	for i, field := range cronFields() {
		for part := range strings.SplitSeq(fields[i], ",") {
			if err := field.check(part); err != nil {
				return fmt.Errorf("%s %q: %w", field.name, fields[i], err)
			}
		}
	}
	if !gronx.IsValid(expr) {
		return fmt.Errorf("%q is no cron expression", expr)
	}
	if (cron{expr: expr, loc: time.UTC}).after(reference()).IsZero() {
		return fmt.Errorf("%q never fires: no month has such a day", expr)
	}
	return nil
}

// reference is where questions about a schedule in general, not about the next
// time, begin; so that their answers do not change from day to day.
func reference() time.Time { return time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC) }

// check looks at one part of a list: "*", "5", "1-5", "*/15", "MON-FRI", and
// for days "L", "15W", "5L" and "1#2".
func (f cronField) check(part string) error {
	rest, step, stepped := strings.Cut(part, "/")
	if stepped {
		if n, ok := number(step); !ok || n < 1 {
			return fmt.Errorf("the step %q is not a whole number from 1 on", step)
		}
	}
	rest = strings.ToUpper(rest)
	days := strings.HasPrefix(f.name, "day")
	switch {
	case rest == "*", rest == "?" && days && !stepped:
		return nil
	case f.max == 31 && rest == "L" && !stepped:
		return nil
	case f.max == 31 && strings.HasSuffix(rest, "W") && !stepped:
		_, err := f.value(strings.TrimSuffix(rest, "W"))
		return err
	case f.max == 7 && strings.HasSuffix(rest, "L") && !stepped:
		_, err := f.value(strings.TrimSuffix(rest, "L"))
		return err
	case f.max == 7 && strings.Contains(rest, "#") && !stepped:
		day, nth, _ := strings.Cut(rest, "#")
		if n, ok := number(nth); !ok || n < 1 || n > 5 {
			return fmt.Errorf("%q is not from 1 to 5, as in 1#2 for the second Monday", nth)
		}
		_, err := f.value(day)
		return err
	}
	low, high, isRange := strings.Cut(rest, "-")
	from, err := f.value(low)
	if err != nil || !isRange {
		return err
	}
	to, err := f.value(high)
	if err != nil {
		return err
	}
	if to < from && (f.max != 7 || from != 7) {
		return fmt.Errorf("the range %s runs backwards", rest)
	}
	return nil
}

func (f cronField) value(s string) (int, error) {
	if i := slices.Index(f.names, s); i >= 0 {
		return f.min + i, nil
	}
	n, ok := number(s)
	if !ok {
		if len(f.names) > 0 {
			return 0, fmt.Errorf("%q is neither a number nor a name such as %s", s, f.names[1])
		}
		return 0, fmt.Errorf("%q is not a number", s)
	}
	if n < f.min || n > f.max {
		return 0, fmt.Errorf("%d is not from %d to %d", n, f.min, f.max)
	}
	return n, nil
}

// number reads digits alone, few enough not to overflow.
func number(s string) (int, bool) {
	if s == "" || len(s) > 4 || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

// cron is an expression that CheckCron has passed.
type cron struct {
	expr string
	loc  *time.Location
}

// everyHour is set where every hour counts, so that the one that is shown twice
// counts twice.
func (c cron) everyHour() bool { return c.hour() == "*" }

// hour returns the second field.
func (c cron) hour() string {
	fields := strings.Fields(c.expr)
	if len(fields) < 2 {
		return ""
	}
	return fields[1]
}

// maxSearch bounds the stretches between two changes of clocks, and the
// repeated times in them, that after looks at: some 30 years.
const maxSearch = 64

// after returns the next time after t, or zero for none.
//
// Clocks jump, so the search goes from change to change: between two of them
// wall-clock time passes evenly and can be reckoned with as if it were UTC. A
// time that is skipped when clocks go forward is thereby not found, and one
// that is shown again when they go back is found twice; unless the expression
// means every hour, the second is passed over.
func (c cron) after(t time.Time) time.Time {
	at := t.Unix()
	for range maxSearch {
		local := time.Unix(at, 0).In(c.loc)
		off := offset(at, c.loc)
		wall, err := tick(c.expr, time.Unix(at+off, 0).UTC())
		if err != nil {
			return time.Time{}
		}
		found := time.Unix(wall.Unix()-off, 0).In(c.loc)
		_, end := local.ZoneBounds()
		switch {
		case !end.IsZero() && !found.Before(end):
			// Beyond a change of clocks, where off does not hold. A second
			// before it would still have off, so the change itself is asked for.
			if c.dueAt(end) && (c.everyHour() || !repeated(end)) {
				return end.In(c.loc)
			}
			at = end.Unix()
		case repeated(found) && !c.everyHour():
			at = found.Unix()
		default:
			return found
		}
	}
	return time.Time{}
}

// dueAt says whether the expression holds for what clocks show at t.
func (c cron) dueAt(t time.Time) bool {
	return due(c.expr, time.Unix(t.Unix()+offset(t.Unix(), c.loc), 0).UTC())
}

func due(expr string, wall time.Time) bool {
	ok, err := gronx.New().IsDue(expr, wall)
	return err == nil && ok
}

var errNeverFires = errors.New("never fires")

// tick returns the next time that the expression holds for, in UTC.
func tick(expr string, after time.Time) (time.Time, error) {
	next, err := gronx.NextTickAfter(expr, after, false)
	if err != nil {
		return time.Time{}, err
	}
	// An answer that is not due is what a search that gave up looks like.
	if !next.After(after) || !due(expr, next) {
		return time.Time{}, errNeverFires
	}
	return next, nil
}
