package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// mode is how commits reach the disk.
type mode struct {
	Name     string      `json:"name"`
	Steady   steady      `json:"steady"`
	Full     full        `json:"full_speed"`
	Criteria []criterion `json:"criteria"`
}

// steady is what requests at a fixed rate came to.
type steady struct {
	Rest    row `json:"rest"`
	Live    row `json:"live"`
	Stopped row `json:"stopped"`
	// RestLongestReadsMS is the longest read at rest of each round.
	RestLongestReadsMS []float64 `json:"rest_longest_reads_ms"`
	// SlowestWrites and SlowestReads are those during compactions.
	SlowestWrites []slow `json:"slowest_writes"`
	SlowestReads  []slow `json:"slowest_reads"`
}

// full is what as many requests as possible came to.
type full struct {
	Rest row `json:"rest"`
	Live row `json:"live"`
	// Ratios are the writes during a compaction over those before it, by round.
	Ratios []float64 `json:"write_ratios"`
}

// row is a phase of all rounds.
type row struct {
	Rounds  int     `json:"rounds"`
	Seconds float64 `json:"seconds"` // in all
	// Reads and Writes have no latencies at full speed, where nothing is due.
	Reads      latencies `json:"reads"`
	Writes     latencies `json:"writes"`
	ReadsPerS  float64   `json:"reads_per_s"`
	WritesPerS float64   `json:"writes_per_s"`
	// What follows is of each compaction.
	DurationsMS []float64 `json:"durations_ms,omitempty"`
	PausesMS    []float64 `json:"pauses_ms,omitempty"`
	GrownBytes  []int64   `json:"grown_bytes,omitempty"`
	AfterBytes  []int64   `json:"after_bytes,omitempty"`
	Notes       []string  `json:"notes,omitempty"`
	GaveUp      []string  `json:"gave_up,omitempty"`
}

// rowOf brings the spans of all rounds together.
func rowOf(all []observed) row {
	var samples [kinds][]sample
	var served [kinds]int64
	var length time.Duration
	for _, o := range all {
		length += o.length()
		for kind := range samples {
			samples[kind] = append(samples[kind], o.samples[kind]...)
			served[kind] += o.served[kind]
		}
	}
	seconds := length.Seconds()
	return row{
		Rounds: len(all), Seconds: seconds,
		Reads: latenciesOf(samples[reads]), Writes: latenciesOf(samples[writes]),
		ReadsPerS: ratio(float64(served[reads]), seconds), WritesPerS: ratio(float64(served[writes]), seconds),
	}
}

func restOf(rounds []round) row {
	var all []observed
	for _, r := range rounds {
		all = append(all, r.rest)
	}
	return rowOf(all)
}

func compactionsOf(rounds []round) row {
	var all []observed
	for _, r := range rounds {
		all = append(all, r.compaction)
	}
	made := rowOf(all)
	for _, r := range rounds {
		made.DurationsMS = append(made.DurationsMS, milliseconds(r.compaction.length()))
		made.PausesMS = append(made.PausesMS, milliseconds(r.pause))
		made.GrownBytes = append(made.GrownBytes, r.grown)
		made.AfterBytes = append(made.AfterBytes, r.after)
		if r.note != "" {
			made.Notes = append(made.Notes, r.note)
		}
		if r.gaveUp != nil {
			made.GaveUp = append(made.GaveUp, r.gaveUp.Error())
		}
	}
	return made
}

func steadyOf(rounds, stopped []round) steady {
	made := steady{Rest: restOf(rounds), Live: compactionsOf(rounds), Stopped: compactionsOf(stopped)}
	for _, r := range rounds {
		made.RestLongestReadsMS = append(made.RestLongestReadsMS, latenciesOf(r.rest.samples[reads]).LongestMS)
	}
	made.SlowestWrites, made.SlowestReads = slowest(rounds, writes), slowest(rounds, reads)
	return made
}

func fullOf(rounds []round) full {
	made := full{Rest: restOf(rounds), Live: compactionsOf(rounds)}
	for _, r := range rounds {
		rest, live := rowOf([]observed{r.rest}), rowOf([]observed{r.compaction})
		made.Ratios = append(made.Ratios, ratio(live.WritesPerS, rest.WritesPerS))
	}
	return made
}

// slow is one of the requests that took longest, and what went on meanwhile.
type slow struct {
	Round     int     `json:"round"`
	LatencyMS float64 `json:"latency_ms"`
	// LateMS of it had passed before the request was begun.
	LateMS float64 `json:"late_ms"`
	// AtMS is when it was due, from the beginning of the compaction, which took OfMS.
	AtMS  float64 `json:"at_ms"`
	OfMS  float64 `json:"of_ms"`
	Phase string  `json:"phase"`
}

// shownSlow is how many slow requests are told of.
const shownSlow = 8

func slowest(rounds []round, kind int) []slow {
	var all []slow
	for i, r := range rounds {
		for _, s := range r.compaction.samples[kind] {
			all = append(all, slow{
				Round: i + 1, LatencyMS: milliseconds(s.latency()), LateMS: milliseconds(s.begun.Sub(s.due)),
				AtMS: milliseconds(s.due.Sub(r.compaction.from)), OfMS: milliseconds(r.compaction.length()),
				Phase: r.phaseOf(s),
			})
		}
	}
	slices.SortStableFunc(all, func(a, b slow) int { return cmp.Compare(b.LatencyMS, a.LatencyMS) })
	return all[:min(len(all), shownSlow)]
}

// phaseOf names the phases that a request has seen: "copy", "copy to sync".
func (r *round) phaseOf(s sample) string {
	at := func(t time.Time) string {
		name := "start"
		for _, p := range r.phases {
			if p.at.After(t) {
				break
			}
			name = p.name
		}
		return name
	}
	from, to := at(s.due), at(s.done)
	if from == to {
		return from
	}
	return fmt.Sprintf("%s to %s", from, to)
}
