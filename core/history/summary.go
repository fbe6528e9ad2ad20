package history

import (
	"fmt"
	"slices"
	"strings"
)

// severity orders outcomes, the worst first: a pattern is as well off as the
// worst of its files.
func severity() []Outcome {
	return []Outcome{Unknown, Failed, Cancelled, Deferred, Compacted, NoOp, Skipped}
}

// sum is the result of a pattern.
type sum struct {
	Result

	files []string // all that it has in the run: it is unresolved while one of them is
}

// isFile says whether a result counts for a pattern too.
func isFile(r Result) bool { return r.Configured != "" && r.Configured != r.Store }

// addedStores are those whose result was added while the run went on.
func addedStores(run Run) map[string]bool {
	added := map[string]bool{}
	for _, r := range run.Results {
		added[r.Store] = r.Outcome != ""
	}
	return added
}

// summedUp are the patterns whose sum was added with the last of their files
// while the run went on.
func summedUp(run Run) map[string]bool {
	summed := map[string]bool{}
	for _, r := range run.Results {
		if isFile(r) {
			before, seen := summed[r.Configured]
			summed[r.Configured] = r.Outcome != "" && (before || !seen)
		}
	}
	return summed
}

// summaries sums up the files of each pattern in a run, in the order in which
// the patterns appear. Files that nobody looked at do not count.
func summaries(run Run) []sum {
	var patterns []string
	files, names := map[string][]Result{}, map[string][]string{}
	for _, r := range run.Results {
		if !isFile(r) {
			continue
		}
		names[r.Configured] = append(names[r.Configured], r.Store)
		if r.Code == CodeAlreadyRunning || r.Code == CodeNotReached {
			continue
		}
		if files[r.Configured] == nil {
			patterns = append(patterns, r.Configured)
		}
		files[r.Configured] = append(files[r.Configured], r)
	}
	all := make([]sum, 0, len(patterns))
	for _, pattern := range patterns {
		all = append(all, sum{Result: summary(pattern, files[pattern]), files: names[pattern]})
	}
	return all
}

func summary(pattern string, files []Result) Result {
	s := Result{
		Store: pattern, Plugin: files[0].Plugin, Engine: files[0].Engine, Run: files[0].Run,
		StartedAt: files[0].StartedAt,
	}
	for _, r := range files {
		s.Attempts += r.Attempts
		s.TotalBytesBefore += r.TotalBytesBefore
		s.TotalBytesAfter += r.TotalBytesAfter
		s.ReclaimedBytes += r.ReclaimedBytes
		s.PredictedBytes += r.PredictedBytes
		s.DurationMS += r.DurationMS
		s.PauseMS = max(s.PauseMS, r.PauseMS)
		if r.StartedAt.Before(s.StartedAt) {
			s.StartedAt = r.StartedAt
		}
		s.FinishedAt = later(s.FinishedAt, r.FinishedAt)
	}
	worst := worstOf(files)
	s.Outcome, s.Code, s.Error, s.Hint = worst.Outcome, worst.Code, worst.Error, worst.Hint
	s.Reason = counts(files)
	if s.Outcome == Failed || s.Outcome == Unknown {
		s.Reason += "; " + worst.Store + ": " + worst.Reason
	}
	return s
}

// worstOf is the first of the worst files. Among those that were skipped one
// within its min gap comes first, since it may hide a failure.
func worstOf(files []Result) Result {
	for _, outcome := range severity() {
		of := func(r Result) bool { return r.Outcome == outcome }
		i := slices.IndexFunc(files, of)
		if i < 0 {
			continue
		}
		gap := slices.IndexFunc(files, func(r Result) bool { return of(r) && r.Code == codeMinGap })
		return files[max(i, gap)]
	}
	return files[0]
}

// counts is "3 files: 1 failed, 2 skipped", or of owners "3 stores: …".
func counts(files []Result) string {
	var parts []string
	for _, outcome := range severity() {
		n := 0
		for _, r := range files {
			if r.Outcome == outcome {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, outcome))
		}
	}
	noun := "file"
	if files[0].Owner != "" {
		noun = "store"
	}
	if len(files) != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s: %s", len(files), noun, strings.Join(parts, ", "))
}
