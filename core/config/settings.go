package config

import (
	"fmt"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/wringdb/wring/core/policy"
	"github.com/wringdb/wring/core/schedule"
	"github.com/wringdb/wring/sdk"
)

// settings are what both defaults and a store have.
type settings struct {
	every      value[time.Duration]
	cron       value[string]
	zone       value[*time.Location]
	jitter     value[float64]
	startDelay value[time.Duration]
	windows    []schedule.Window

	fragmentation   value[float64]
	minReclaim      value[int64]
	maxFree         value[int64]
	minGap          value[time.Duration]
	quarantineAfter value[int]

	attempts     value[int]
	retryDelay   value[time.Duration]
	stallTimeout value[time.Duration]
	overdueAfter value[time.Duration]
	diskFull     value[time.Duration]
	mode         value[string]
	limit        value[int64]
	ioPriority   value[sdk.IOPriority]
}

func settingNames() []string {
	return []string{
		"every", "cron", "zone", "jitter", "start_delay", "min_gap", "quarantine_after",
		"stall_timeout", "overdue_after", "disk_full_within", "mode", "limit", "io_priority",
	}
}

func settingBlocks() []string { return []string{"threshold", "retry", "window"} }

// settings reads them from defaults or a store.
func (b *block) settings() settings {
	s := settings{
		every:           setting(b, "every", duration(time.Second)),
		cron:            setting(b, "cron", cronExpression),
		zone:            setting(b, "zone", location),
		jitter:          setting(b, "jitter", share),
		startDelay:      setting(b, "start_delay", duration(0)),
		minGap:          setting(b, "min_gap", duration(0)),
		quarantineAfter: setting(b, "quarantine_after", whole(0, 1000)),
		stallTimeout:    setting(b, "stall_timeout", duration(time.Second)),
		overdueAfter:    setting(b, "overdue_after", duration(time.Second)),
		diskFull:        setting(b, "disk_full_within", duration(time.Second)),
		mode:            setting(b, "mode", text),
		limit:           setting(b, "limit", rate),
		ioPriority:      setting(b, "io_priority", ioPriority),
	}
	if _, both := b.body.Attributes["every"]; both {
		if cron, ok := b.body.Attributes["cron"]; ok {
			b.report(cron.NameRange, fmt.Sprintf("%s has both every and cron", b.what), "leave one of the two out")
		}
	}
	if t := b.one("threshold"); t != nil {
		inner := b.open(t.Body, "threshold", t.TypeRange, []string{"fragmentation", "min_reclaim", "max_free"}, nil)
		s.fragmentation = setting(inner, "fragmentation", share)
		s.minReclaim = setting(inner, "min_reclaim", size)
		s.maxFree = setting(inner, "max_free", size)
	}
	if r := b.one("retry"); r != nil {
		inner := b.open(r.Body, "retry", r.TypeRange, []string{"attempts", "delay"}, nil)
		s.attempts = setting(inner, "attempts", whole(0, 10))
		s.retryDelay = setting(inner, "delay", duration(0))
	}
	for _, w := range b.blocks("window", false) {
		if window, ok := b.window(w); ok {
			s.windows = append(s.windows, window)
		}
	}
	return s
}

func (b *block) window(w *hclsyntax.Block) (schedule.Window, bool) {
	before := len(b.found)
	names := []string{"days", "from", "to", "zone"}
	inner := b.open(w.Body, "window", w.TypeRange, names, nil)
	from := setting(inner, "from", timeOfDay)
	to := setting(inner, "to", timeOfDay)
	if !to.set {
		to.v = 24 * 60
	}
	window := schedule.Window{
		Days: setting(inner, "days", weekdays).v, From: from.v, To: to.v, Zone: setting(inner, "zone", location).v,
	}
	if len(b.found) > before {
		return window, false
	}
	switch {
	case len(w.Body.Attributes) == 0:
		b.reportMissing(w.TypeRange, "the window is always open", "give it days, or from and to; without any window a store may be compacted at all times")
	case from.v == 24*60:
		b.report(from.at, "from is 24:00", "write \"00:00\", and the day after")
	case from.v == to.v:
		b.report(to.at, "the window closes when it opens", "choose another to; for the whole day leave out from and to")
	default:
		return window, true
	}
	return window, false
}

// over returns s completed by what lies under it. A schedule is taken as a
// whole, and so are windows.
func (s settings) over(base settings) settings {
	if !s.every.set && !s.cron.set {
		s.every, s.cron = base.every, base.cron
	}
	if len(s.windows) == 0 {
		s.windows = base.windows
	}
	s.zone = s.zone.or(base.zone)
	s.jitter = s.jitter.or(base.jitter)
	s.startDelay = s.startDelay.or(base.startDelay)
	s.fragmentation = s.fragmentation.or(base.fragmentation)
	s.minReclaim = s.minReclaim.or(base.minReclaim)
	s.maxFree = s.maxFree.or(base.maxFree)
	s.minGap = s.minGap.or(base.minGap)
	s.quarantineAfter = s.quarantineAfter.or(base.quarantineAfter)
	s.attempts = s.attempts.or(base.attempts)
	s.retryDelay = s.retryDelay.or(base.retryDelay)
	s.stallTimeout = s.stallTimeout.or(base.stallTimeout)
	s.overdueAfter = s.overdueAfter.or(base.overdueAfter)
	s.diskFull = s.diskFull.or(base.diskFull)
	s.mode = s.mode.or(base.mode)
	s.limit = s.limit.or(base.limit)
	s.ioPriority = s.ioPriority.or(base.ioPriority)
	return s
}

// apply gives complete settings to a store.
func (s settings) apply(to *Store) {
	to.Schedule = schedule.Settings{
		Every: s.every.v, Cron: s.cron.v, Zone: s.zone.v, Jitter: s.jitter.v, StartDelay: s.startDelay.v, Windows: s.windows,
	}
	to.Policy = policy.Settings{
		MinRatio: s.fragmentation.v, MinReclaim: s.minReclaim.v, MaxFree: s.maxFree.v,
		MinGap: s.minGap.v, QuarantineAfter: s.quarantineAfter.v,
	}
	to.Retry = Retry{Attempts: s.attempts.v, Delay: s.retryDelay.v}
	to.StallTimeout = s.stallTimeout.v
	to.OverdueAfter = s.overdueAfter.v
	if !s.overdueAfter.set {
		to.OverdueAfter = overdueIntervals * to.Schedule.Interval()
	}
	to.DiskFullWithin = s.diskFull.v
	to.Mode = s.mode.v
	to.LimitBytesPerSecond = s.limit.v
	to.IOPriority = s.ioPriority.v
}

// checkBounds holds the lower bound of what is worth it against the upper.
func (d *decoder) checkBounds(s settings) {
	if s.maxFree.v == 0 || s.minReclaim.v <= s.maxFree.v {
		return
	}
	place := s.maxFree.at
	if later(s.minReclaim.at, place) {
		place = s.minReclaim.at
	}
	d.report(place, fmt.Sprintf("min_reclaim, %s, is more than max_free, %s", sdk.FormatBytes(s.minReclaim.v), sdk.FormatBytes(s.maxFree.v)),
		"max_free is the amount from which a store is compacted whatever its ratio: choose one that is larger")
}

func later(a, b hcl.Range) bool { return a.Start.Byte > b.Start.Byte }
