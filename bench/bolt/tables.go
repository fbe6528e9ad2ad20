package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// table prints rows whose columns line up.
func table(w io.Writer, title string, header string, rows func(row func(format string, arguments ...any))) {
	fmt.Fprintf(w, "\n%s\n", title)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, header+"\t")
	rows(func(format string, arguments ...any) { fmt.Fprintf(t, format+"\t\n", arguments...) })
	// It writes to a buffer.
	_ = t.Flush()
}

func mb(bytes int64) string { return fmt.Sprintf("%.1f", float64(bytes)/1e6) }

func (r *report) printStart(w io.Writer) {
	if len(r.Start) == 0 {
		return
	}
	table(w, "Start: what every run of a tool costs (part of the times below)", "\tms\tmin–max", func(row func(string, ...any)) {
		for _, s := range r.Start {
			row("%s\t%.1f\t%.1f–%.1f", s.Name, s.Time.MedianMS, s.Time.MinMS, s.Time.MaxMS)
		}
	})
}

func printFile(w io.Writer, f fileResults) {
	base := f.row(rowWring)
	title := fmt.Sprintf("File %q: %s MB, %s MB of it live", f.Name, mb(f.Bytes), mb(f.Live))
	table(w, title, "\tms\tmin–max\tMAD\t× wring\tcold ms\tmin–max\tresult MB\ton disk MB", func(row func(string, ...any)) {
		for _, r := range f.Rows {
			cold := "\t"
			if r.Cold != nil {
				cold = fmt.Sprintf("%.0f\t%.0f–%.0f", r.Cold.MedianMS, r.Cold.MinMS, r.Cold.MaxMS)
			}
			// The end of a file that bbolt has made may have no blocks.
			size := "\t"
			if r.ResultBytes > 0 {
				size = mb(r.ResultBytes) + "\t" + mb(r.ResultAllocatedBytes)
			}
			row("%s\t%.0f\t%.0f–%.0f\t%.0f\t%.2f\t%s\t%s", r.Name, r.Warm.MedianMS, r.Warm.MinMS, r.Warm.MaxMS, r.Warm.MADMS,
				ratio(r.Warm.MedianMS, base.Warm.MedianMS), cold, size)
		}
	})
}

func (r *report) printRatios(w io.Writer) {
	if len(r.Files) == 0 {
		return
	}
	against := func(of, in *row) string {
		if of == nil || in == nil {
			return "-"
		}
		found := of.warm.over(in.warm)
		return fmt.Sprintf("%.2f (%.2f–%.2f)", found.Median, found.Min, found.Max)
	}
	table(w, "Ratios, warm: the median of those of each round (and the least and the most)",
		"\tbbolt compact / wring\t+ sync + mv / wring\tetcdutl defrag / wring\twring / floor", func(line func(string, ...any)) {
			for _, f := range r.Files {
				wring := f.row(rowWring)
				line("%s\t%s\t%s\t%s\t%s", f.Name, against(f.row(rowBbolt), wring), against(f.row(rowMoved), wring),
					against(f.row(rowDefrag), wring), against(wring, f.row(rowFloor)))
			}
		})
}

func (r *report) printMemory(w io.Writer) {
	for _, f := range r.Files {
		title := fmt.Sprintf("Memory of the processes on file %q, at the worst (MB; mapped files count as file)", f.Name)
		table(w, title, "\tprocess\tresident\tanonymous\tfile", func(row func(string, ...any)) {
			for _, r := range f.Rows {
				for _, m := range r.Memory {
					if helper := m.Process == "sh" || m.Process == "sync" || m.Process == "mv" || m.Process == "rm"; helper {
						continue
					}
					row("%s\t%s\t%s\t%s\t%s", r.Name, m.Process, mb(m.HighWaterBytes), mb(m.AnonBytes), mb(m.FileBytes))
				}
			}
		})
	}
}

func (r *report) printHeap(w io.Writer) {
	if len(r.Heap) == 0 {
		return
	}
	const mib = 1 << 20
	table(w, "The bolt backend alone in a process (MiB at the worst)",
		"file\tGo heap objects\twith gaps\tat the start\tresident\tanonymous\tfile\tsamples", func(row func(string, ...any)) {
			for _, h := range r.Heap {
				row("%s\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%d", h.File,
					float64(h.ObjectsBytes)/mib, float64(h.InUseBytes)/mib, float64(h.StartBytes)/mib,
					float64(h.System.HighWaterBytes)/mib, float64(h.System.AnonBytes)/mib, float64(h.System.FileBytes)/mib, h.Samples)
			}
		})
}

func (r *report) printRegrow(w io.Writer) {
	for _, g := range r.Regrow {
		title := fmt.Sprintf("Regrowth of file %q by %s, %d in a transaction: high-water mark in MB\n"+
			"(leaves of the source: %d, mean fill %.2f, deviation %.2f, step to the next %.2f, near the median %.2f, ascending %.2f)",
			g.File, g.Insert, g.Transaction, g.Leaves.Count, g.Leaves.Mean, g.Leaves.Deviation, g.Leaves.Step, g.Leaves.Middle, g.Leaves.Ascending)
		table(w, title, "fill\tcompacted\tgrown\tgrowth", func(row func(string, ...any)) {
			for _, f := range g.Fills {
				row("%.2f\t%s\t%s\t× %.2f", f.Fill, mb(f.Compacted), mb(f.Grown), ratio(float64(f.Grown), float64(f.Compacted)))
			}
		})
	}
}
