package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// report is all that was found. It is published as text and as JSON.
type report struct {
	Machine machine `json:"machine"`
	// Rounds that count.
	Rounds     int           `json:"rounds"`
	ColdRounds int           `json:"cold_rounds"`
	Seed       uint64        `json:"seed"`
	Quick      bool          `json:"quick"`
	LoadBefore string        `json:"load_before"`
	LoadAfter  string        `json:"load_after"`
	Start      []start       `json:"start,omitempty"`
	Files      []fileResults `json:"files,omitempty"`
	Heap       []heapUse     `json:"heap,omitempty"`
	Regrow     []regrowth    `json:"regrow,omitempty"`
}

// machine is what it was measured on, and with.
type machine struct {
	Date      string            `json:"date"`
	Platform  string            `json:"platform"`
	Processor string            `json:"processor"`
	Cores     int               `json:"cores"`
	Files     string            `json:"file_system"`
	Go        string            `json:"go"`
	Wring     string            `json:"wring"` // commit, "dirty" when changed since
	Peers     map[string]string `json:"peers"`
}

func newReport(ctx context.Context, b *bench) (*report, error) {
	describe := command(ctx, "git", "describe", "--always", "--dirty")
	describe.Dir = b.tools.root
	commit, err := describe.output()
	if err != nil {
		commit = []byte("unknown") // not a checkout
	}
	made := &report{
		Rounds: b.rounds, ColdRounds: b.coldRounds, Seed: b.seed, Quick: b.quick, LoadBefore: load(),
		Machine: machine{
			Date: time.Now().UTC().Format("2006-01-02 15:04 UTC"), Platform: runtime.GOOS + "/" + runtime.GOARCH,
			Files:     fileSystem(ctx, b.out),
			Processor: processor(), Cores: runtime.NumCPU(), Go: runtime.Version(),
			Wring: strings.TrimSpace(string(commit)), Peers: make(map[string]string),
		},
	}
	if !canDropCaches() {
		made.ColdRounds = 0
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			switch module.Path {
			case "go.etcd.io/bbolt":
				made.Machine.Peers["bbolt"] = module.Version
			case "go.etcd.io/etcd/server/v3":
				made.Machine.Peers["etcd"] = module.Version
			}
		}
	}
	return made, nil
}

// publish prints the report and keeps it in dir.
func (r *report) publish(stdout io.Writer, dir string) error {
	name := "bolt"
	if r.Quick {
		name = "bolt-quick" // beside figures that count
	}
	var text bytes.Buffer
	r.print(&text)
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

func (r *report) print(w io.Writer) {
	m := r.Machine
	fmt.Fprintf(w, "wring %s beside bbolt %s and etcd %s\n", m.Wring, m.Peers["bbolt"], m.Peers["etcd"])
	fmt.Fprintf(w, "%s, %s, %d cores of %s, files on %s, %s\n", m.Date, m.Platform, m.Cores, m.Processor, m.Files, m.Go)
	fmt.Fprintf(w, "%d rounds warm, %d cold, seed %d; load before %s, after %s\n", r.Rounds, r.ColdRounds, r.Seed, r.LoadBefore, r.LoadAfter)
	if r.Quick {
		fmt.Fprintf(w, "\n-quick: these figures say nothing about larger files.\n")
	}
	r.printStart(w)
	for _, f := range r.Files {
		printFile(w, f)
	}
	r.printRatios(w)
	r.printMemory(w)
	r.printHeap(w)
	r.printRegrow(w)
}
