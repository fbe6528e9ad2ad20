package metrics

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wringdb/wring/core/history"
)

// row is what is shown of one store, or of several together: then what can be
// summed is the sum, a yes is how many of them, and times are left out.
type row struct {
	name          string
	lastSuccessAt time.Time
	size          *history.Sample
	growthPerDay  *float64
	diskFree      *int64
	fullAt        time.Time
	totals        *history.Totals
	timetable     *timetable
}

type timetable struct {
	nextAt                                                            time.Time
	failures, overdue, degraded, unresolved, away, paused, compacting float64
}

func rowOf(s Store) row {
	r := row{
		name: labelOf(s.Name), lastSuccessAt: s.LastSuccessAt, size: s.Size, growthPerDay: s.GrowthPerDay,
		diskFree: s.DiskFreeBytes, fullAt: s.FullAt, totals: s.Totals,
	}
	if t := s.Timetable; t != nil {
		r.timetable = &timetable{
			nextAt: t.NextAt, failures: float64(t.Failures), overdue: number(t.Overdue), degraded: number(t.Degraded),
			unresolved: number(t.Unresolved), away: number(t.Away), paused: number(t.Paused), compacting: number(t.Compacting),
		}
	}
	return r
}

// labelOf is a name as a label may have it: in UTF-8, which names of files need
// not be. Their other bytes are shown as \xff, so that two such files are told
// apart.
func labelOf(name string) string {
	if utf8.ValidString(name) {
		return name
	}
	var label strings.Builder
	for len(name) > 0 {
		r, size := utf8.DecodeRuneInString(name)
		if r == utf8.RuneError && size == 1 {
			fmt.Fprintf(&label, `\x%02x`, name[0])
		} else {
			label.WriteString(name[:size])
		}
		name = name[size:]
	}
	return label.String()
}

// distinct gives rows that have the name of another, as a file may be called
// like what is shown of another or like (other), a name of their own: two series
// with the same labels are an error.
func distinct(rows []row) []row {
	taken := make(map[string]bool, len(rows))
	for i := range rows {
		for taken[rows[i].name] {
			rows[i].name += "~"
		}
		taken[rows[i].name] = true
	}
	return rows
}

// groups are the stores that were found, by what has found them.
type groups map[string]*group

// group remembers from scrape to scrape which of its stores are shown by name,
// so that those stay the same, and what the rest has come to.
type group struct {
	named map[string]bool
	// rest is what those that were not named at the scrape before had come to
	// then, and sum what all have come to while they were not named. It never
	// goes down, whoever comes and goes.
	rest map[string]history.Totals
	sum  history.Totals
}

// rows returns those of stores that are configured themselves, and of each group
// at most MaxFound and one for the rest.
func (g groups) rows(stores []Store) []row {
	var rows []row
	found := map[string][]Store{}
	for _, s := range stores {
		if s.FoundBy == "" {
			rows = append(rows, rowOf(s))
		} else {
			found[s.FoundBy] = append(found[s.FoundBy], s)
		}
	}
	maps.DeleteFunc(g, func(by string, _ *group) bool { return found[by] == nil })
	for _, by := range slices.Sorted(maps.Keys(found)) {
		if g[by] == nil {
			g[by] = &group{}
		}
		rows = append(rows, g[by].rows(by, found[by])...)
	}
	return distinct(rows)
}

func (g *group) rows(by string, stores []Store) []row {
	slices.SortFunc(stores, func(a, b Store) int { return cmp.Compare(a.Name, b.Name) })
	named := map[string]bool{}
	for _, again := range []bool{true, false} { // those first that were named before
		for _, s := range stores {
			if len(named) < MaxFound && g.named[s.Name] == again {
				named[s.Name] = true
			}
		}
	}
	g.named = named
	var rows []row
	other := row{name: by + "/(other)"}
	rest := map[string]history.Totals{}
	for _, s := range stores {
		if named[s.Name] {
			rows = append(rows, rowOf(s))
			continue
		}
		other.add(rowOf(s))
		if s.Totals != nil {
			rest[s.Name] = *s.Totals
		}
	}
	for name, now := range rest {
		if before, there := g.rest[name]; there {
			g.sum = addSince(g.sum, before, now)
		}
	}
	g.rest = rest
	if len(rows) == len(stores) {
		return rows
	}
	other.totals = &g.sum
	return append(rows, other)
}

// add adds what can be summed.
func (r *row) add(s row) {
	if s.size != nil {
		if r.size == nil {
			r.size = &history.Sample{}
		}
		r.size.TotalBytes += s.size.TotalBytes
		r.size.AllocatedBytes += s.size.AllocatedBytes
		r.size.LiveBytes += s.size.LiveBytes
		r.size.ReclaimableBytes += s.size.ReclaimableBytes
	}
	if s.growthPerDay != nil {
		if r.growthPerDay == nil {
			r.growthPerDay = new(float64)
		}
		*r.growthPerDay += *s.growthPerDay
	}
	if t := s.timetable; t != nil {
		if r.timetable == nil {
			r.timetable = &timetable{}
		}
		r.timetable.failures += t.failures
		r.timetable.overdue += t.overdue
		r.timetable.degraded += t.degraded
		r.timetable.unresolved += t.unresolved
		r.timetable.away += t.away
		r.timetable.paused += t.paused
		r.timetable.compacting += t.compacting
	}
}

// addSince adds to sum by how much a store's totals have grown.
func addSince(sum, before, now history.Totals) history.Totals {
	outcomes := maps.Clone(sum.Outcomes)
	if outcomes == nil {
		outcomes = map[history.Outcome]int64{}
	}
	for outcome, n := range now.Outcomes {
		outcomes[outcome] += max(0, n-before.Outcomes[outcome])
	}
	return history.Totals{
		Outcomes:       outcomes,
		ReclaimedBytes: sum.ReclaimedBytes + max(0, now.ReclaimedBytes-before.ReclaimedBytes),
		Duration:       sum.Duration.Plus(now.Duration.Since(before.Duration)),
		Pause:          sum.Pause.Plus(now.Pause.Since(before.Pause)),
	}
}
