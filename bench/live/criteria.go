package main

import "fmt"

// What is demanded of a compaction of a store in use.
const (
	// pauseShare of the longest wait of a writer when the world is stopped, at most.
	pauseShare = 1.0 / 50
	// mostPauseMS is the longest wait of a writer, in milliseconds.
	mostPauseMS = 50
	// leastThroughput is the least part of the writes at rest.
	leastThroughput = 0.7
)

// criterion is one demand, and what was found.
type criterion struct {
	Name   string `json:"name"`
	Figure string `json:"figure"`
	Met    bool   `json:"met"`
}

func (c criterion) verdict() string {
	if c.Met {
		return "met"
	}
	return "MISSED"
}

// judge holds the results of a mode against the demands. Latencies are those at a
// steady rate, throughput that at full speed.
func (m *mode) judge() []criterion {
	rest, live, stopped := m.Steady.Rest, m.Steady.Live, m.Steady.Stopped
	bound := readBound(m.Steady.RestLongestReadsMS)
	gaveUp := len(live.GaveUp) + len(m.Full.Live.GaveUp)
	full := ratio(m.Full.Live.WritesPerS, m.Full.Rest.WritesPerS)
	share := ratio(live.Writes.LongestMS, stopped.Writes.LongestMS)
	return []criterion{
		{
			Name: fmt.Sprintf("longest write in (b) at most 1/%.0f of (c)", 1/pauseShare),
			Figure: fmt.Sprintf("%.1f ms, 1/%.0f of %.1f ms", live.Writes.LongestMS,
				ratio(stopped.Writes.LongestMS, live.Writes.LongestMS), stopped.Writes.LongestMS),
			Met: live.Writes.Count > 0 && stopped.Writes.Count > 0 && share <= pauseShare,
		}, {
			Name:   fmt.Sprintf("longest write in (b) under %d ms", mostPauseMS),
			Figure: fmt.Sprintf("%.1f ms; at rest %.1f ms", live.Writes.LongestMS, rest.Writes.LongestMS),
			Met:    live.Writes.Count > 0 && live.Writes.LongestMS < mostPauseMS,
		}, {
			Name: "longest read in (b) not above (a) by more than noise",
			Figure: fmt.Sprintf("%.1f ms in %.1f s; at rest %.1f to %.1f ms in each of %d rounds, %.1f s in all, which allows %.1f ms",
				live.Reads.LongestMS, live.Seconds, most(m.Steady.RestLongestReadsMS)-spread(m.Steady.RestLongestReadsMS), most(m.Steady.RestLongestReadsMS),
				len(m.Steady.RestLongestReadsMS), rest.Seconds, bound),
			Met: live.Reads.Count > 0 && live.Reads.LongestMS <= bound,
		}, {
			Name:   fmt.Sprintf("writes at full speed in (b) at least %.0f %% of (a)", 100*leastThroughput),
			Figure: fmt.Sprintf("%.0f %%: %.0f of %.0f writes/s", 100*full, m.Full.Live.WritesPerS, m.Full.Rest.WritesPerS),
			Met:    full >= leastThroughput,
		}, {
			Name:   "every compaction came to its end",
			Figure: fmt.Sprintf("%d of %d gave up", gaveUp, live.Rounds+m.Full.Live.Rounds),
			Met:    live.Rounds > 0 && m.Full.Live.Rounds > 0 && gaveUp == 0,
		},
	}
}

// readBound is the longest read that is not above those at rest by more than
// noise, given the longest one of each round: the longest of all, and beyond it as
// much as the rounds differ among themselves.
func readBound(longest []float64) float64 { return most(longest) + spread(longest) }
