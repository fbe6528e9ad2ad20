package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"
)

// report is all that was found. It is published as text and as JSON.
type report struct {
	Machine string        `json:"machine"`
	Live    int64         `json:"live_bytes"`
	Seed    uint64        `json:"seed"`
	Rounds  int           `json:"rounds"`
	Quick   bool          `json:"quick"`
	Stores  []storeResult `json:"stores"`
}

func thisMachine() string {
	return fmt.Sprintf("%s, %s/%s, %d cores, %s", time.Now().UTC().Format("2006-01-02 15:04 UTC"), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
}

func (r *report) publish(stdout io.Writer, dir string) error {
	name := "pebble"
	if r.Quick {
		name = "pebble-quick" // beside figures that count
	}
	var text bytes.Buffer
	if err := r.render(&text); err != nil {
		return err
	}
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

func (r *report) render(out io.Writer) error {
	fmt.Fprintf(out, "wring beside Pebble's DB.Compact\n%s\n%s of content in each store, seed %d, medians of %d rounds\n\n", r.Machine, mb(r.Live), r.Seed, r.Rounds)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "store\t\tms\tof it verifying\tmin–max\t× DB.Compact\twritten MB\treclaimed MB\textra disk MB\tcancel ms\t")
	for _, s := range r.Stores {
		peer := s.Sides[len(s.Sides)-1]
		for _, side := range s.Sides {
			cancel := "-"
			if side.CancelMS >= 0 {
				cancel = fmt.Sprintf("%.0f", side.CancelMS)
			}
			fmt.Fprintf(table, "%s\t%s\t%.0f\t%.0f\t%.0f–%.0f\t%.2f\t%s\t%s\t%s\t%s\t\n", s.Name, side.Name, side.TookMS, side.VerifyMS, side.LeastMS, side.MostMS,
				side.TookMS/peer.TookMS, mb(side.Written), mb(side.Reclaimed), mb(side.Extra), cancel)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nWhat was foretold, in MB, and how far from what wring gave back, in %% of that\n")
	fmt.Fprintln(table, "store\tallocated\treclaimed\tquick\toff\tms\tsampled\toff\tms\tread\t")
	for _, s := range r.Stores {
		given := s.Sides[0].Reclaimed
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%.0f\t%s\t%s\t%.0f\t%s\t\n", s.Name, mb(s.Allocated), mb(given),
			mb(s.Quick.Reclaimable), off(s.Quick.Reclaimable, given), s.Quick.TookMS,
			mb(s.Sampled.Reclaimable), off(s.Sampled.Reclaimable, given), s.Sampled.TookMS, mb(s.Sampled.Read))
	}
	return table.Flush()
}

// off is the error of a prediction. Below a MB there is nothing to foretell.
func off(foretold, given int64) string {
	if given < 1e6 {
		return "-"
	}
	return fmt.Sprintf("%+.1f", 100*float64(foretold-given)/float64(given))
}

func mb(bytes int64) string { return fmt.Sprintf("%.1f", float64(bytes)/1e6) }

// sample of a figure.
type sample []float64

func (s sample) median() float64 {
	sorted := slices.Sorted(slices.Values(s))
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}

func (s sample) least() float64 { return slices.Min(s) }
func (s sample) most() float64  { return slices.Max(s) }
