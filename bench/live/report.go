package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report is all that was found. It is published as text and as JSON.
type report struct {
	Machine    machine `json:"machine"`
	FileBytes  int64   `json:"file_bytes"`
	Keys       int     `json:"keys"`
	Seed       uint64  `json:"seed"`
	Quick      bool    `json:"quick"`
	ReadRate   int     `json:"read_rate"`
	WriteRate  int     `json:"write_rate"`
	Freelist   bool    `json:"freelist_synced"`
	PaceBytes  int64   `json:"pace_bytes_per_s"`
	LoadBefore string  `json:"load_before"`
	LoadAfter  string  `json:"load_after"`
	Modes      []mode  `json:"modes"`
}

// machine is what it was measured on, and with.
type machine struct {
	Date      string `json:"date"`
	Platform  string `json:"platform"`
	Processor string `json:"processor"`
	Cores     int    `json:"cores"`
	Files     string `json:"file_system"`
	Go        string `json:"go"`
	Bbolt     string `json:"bbolt"`
}

func thisMachine(dir string) machine {
	m := machine{
		Date: time.Now().UTC().Format("2006-01-02 15:04 UTC"), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Processor: processor(), Cores: runtime.NumCPU(), Files: fileSystem(dir), Go: runtime.Version(),
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == "go.etcd.io/bbolt" {
				m.Bbolt = module.Version
			}
		}
	}
	return m
}

// publish prints the report and keeps it in dir.
func (r *report) publish(stdout io.Writer, dir string) error {
	name := "live"
	if r.Quick {
		name = "live-quick" // beside figures that count
	}
	var text bytes.Buffer
	r.render(&text)
	document, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, name+".json"), append(document, '\n'), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, name+".txt"), text.Bytes(), 0o600); err != nil {
		return err
	}
	_, err = stdout.Write(text.Bytes())
	return err
}

func (r *report) render(w io.Writer) {
	m := r.Machine
	fmt.Fprintf(w, "A bbolt store compacted in use: %.1f MB, %d keys, seed %d, bbolt %s\n", float64(r.FileBytes)/1e6, r.Keys, r.Seed, m.Bbolt)
	fmt.Fprintf(w, "%s, %s, %d cores of %s, files on %s, %s; load before %s, after %s\n",
		m.Date, m.Platform, m.Cores, m.Processor, m.Files, m.Go, r.LoadBefore, r.LoadAfter)
	freelist := "the list of free pages is not written"
	if r.Freelist {
		freelist = "the list of free pages is written with each commit at rest"
	}
	fmt.Fprintf(w, "steady: %d reads/s and %d writes/s; %s\n", r.ReadRate, r.WriteRate, freelist)
	if r.PaceBytes > 0 {
		fmt.Fprintf(w, "the compaction keeps to %.0f MB/s\n", float64(r.PaceBytes)/1e6)
	}
	if r.Quick {
		fmt.Fprintf(w, "\n-quick: these figures say nothing about larger files.\n")
	}
	for i := range r.Modes {
		r.Modes[i].render(w)
	}
}

// table prints rows whose columns line up.
func table(w io.Writer, title string, header string, rows func(row func(format string, arguments ...any))) {
	fmt.Fprintf(w, "\n%s\n", title)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, header+"\t")
	rows(func(format string, arguments ...any) { fmt.Fprintf(t, format+"\t\n", arguments...) })
	// It writes to a buffer.
	_ = t.Flush()
}

const (
	nameRest    = "(a) at rest"
	nameLive    = "(b) compacted live"
	nameStopped = "(c) world stopped"
)

func (m *mode) render(w io.Writer) {
	s := &m.Steady
	rows := []struct {
		name string
		row
	}{{nameRest, s.Rest}, {nameLive, s.Live}, {nameStopped, s.Stopped}}
	table(w, m.Name+", steady: latency in ms from when a request was due",
		"\tseconds\treads\tp50\tp99\tp99.9\tlongest\twrites\tp50\tp99\tp99.9\tlongest", func(line func(string, ...any)) {
			for _, r := range rows {
				line("%s\t%.1f\t%s\t%s", r.name, r.Seconds, r.Reads, r.Writes)
			}
		})
	table(w, m.Name+", steady: throughput, and each compaction",
		"\treads/s\t× (a)\twrites/s\t× (a)\tduration s\tpause ms\told file grown MB\tnew file MB", func(line func(string, ...any)) {
			for _, r := range rows {
				line("%s\t%s", r.name, r.throughput(s.Rest))
			}
		})
	f := &m.Full
	table(w, m.Name+", full speed", "\treads/s\t× (a)\twrites/s\t× (a)\tduration s\tpause ms\told file grown MB\tnew file MB", func(line func(string, ...any)) {
		line("%s\t%s", nameRest, f.Rest.throughput(f.Rest))
		line("%s\t%s", nameLive, f.Live.throughput(f.Rest))
	})
	printSlow(w, m.Name+", steady: the slowest writes of (b)", s.SlowestWrites)
	printSlow(w, m.Name+", steady: the slowest reads of (b)", s.SlowestReads)
	fmt.Fprintf(w, "\n%s: notes of compactions\n", m.Name)
	for _, note := range slices.Concat(s.Live.Notes, f.Live.Notes, s.Live.GaveUp, f.Live.GaveUp) {
		fmt.Fprintf(w, "  %s\n", note)
	}
	fmt.Fprintf(w, "\n%s: criteria\n", m.Name)
	for _, c := range m.Criteria {
		fmt.Fprintf(w, "  %-6s  %s: %s\n", c.verdict(), c.Name, c.Figure)
	}
}

// String has the columns of a table.
func (l latencies) String() string {
	return fmt.Sprintf("%d\t%.2f\t%.2f\t%.2f\t%.2f", l.Count, l.P50MS, l.P99MS, l.P999MS, l.LongestMS)
}

// throughput has the columns of a table.
func (r row) throughput(rest row) string {
	return fmt.Sprintf("%.0f\t%.2f\t%.0f\t%.2f\t%s\t%s\t%s\t%s",
		r.ReadsPerS, ratio(r.ReadsPerS, rest.ReadsPerS), r.WritesPerS, ratio(r.WritesPerS, rest.WritesPerS),
		list(r.DurationsMS, "%.2f", 1000), list(r.PausesMS, "%.1f", 1), list(r.GrownBytes, "%.1f", 1e6), list(r.AfterBytes, "%.0f", 1e6))
}

// list is all of some numbers in another unit.
func list[N int64 | float64](numbers []N, format string, unit float64) string {
	words := make([]string, len(numbers))
	for i, n := range numbers {
		words[i] = fmt.Sprintf(format, float64(n)/unit)
	}
	return strings.Join(words, ", ")
}

func printSlow(w io.Writer, title string, all []slow) {
	table(w, title, "round\tms\tbefore it began\tdue at s\tof s\tphase", func(line func(string, ...any)) {
		for _, s := range all {
			line("%d\t%.2f\t%.2f\t%.3f\t%.3f\t%s", s.Round, s.LatencyMS, s.LateMS, s.AtMS/1000, s.OfMS/1000, s.Phase)
		}
	})
}
