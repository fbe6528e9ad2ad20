// The program that compacts one file by the bolt backend in its own process and
// prints how much memory that took, as JSON.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"github.com/wringdb/wring/plugins/bolt"
	"github.com/wringdb/wring/sdk"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "heap: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	if len(arguments) != 1 {
		return errors.New("want the path of a bbolt file, which is compacted")
	}
	path, err := filepath.Abs(arguments[0])
	if err != nil {
		return err
	}
	s := startSampling()
	result, err := sdk.Guard(bolt.New()).Compact(ctx, sdk.CompactRequest{Store: sdk.Store{Path: path}}, func(sdk.Progress) {})
	peak := s.stop()
	if err != nil {
		return err
	}
	if result.NoOp {
		return fmt.Errorf("compact %s: there was nothing to do: %s", path, result.Note)
	}
	return json.NewEncoder(os.Stdout).Encode(peak)
}

// system is what the kernel counts, in bytes.
type system struct {
	Process        string `json:"process"`
	HighWaterBytes int64  `json:"high_water_bytes"`
	AnonBytes      int64  `json:"anon_bytes"`
	FileBytes      int64  `json:"file_bytes"`
}

// use is the most that was seen, in bytes.
type use struct {
	ObjectsBytes uint64 `json:"heap_objects_bytes"`
	InUseBytes   uint64 `json:"heap_in_use_bytes"`
	StartBytes   uint64 `json:"heap_start_bytes"`
	Samples      int    `json:"samples"`
	System       system `json:"system"`
}

// sampler looks at this process again and again.
type sampler struct {
	end  chan struct{}
	done chan use
}

const interval = 2 * time.Millisecond

func startSampling() *sampler {
	s := &sampler{end: make(chan struct{}), done: make(chan use)}
	classes := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
	}
	metrics.Read(classes)
	peak := use{StartBytes: classes[0].Value.Uint64(), System: system{Process: "backend"}}
	go func() {
		again := time.NewTicker(interval)
		defer again.Stop()
		for {
			metrics.Read(classes)
			objects, unused := classes[0].Value.Uint64(), classes[1].Value.Uint64()
			peak.ObjectsBytes = max(peak.ObjectsBytes, objects)
			peak.InUseBytes = max(peak.InUseBytes, objects+unused)
			peak.Samples++
			peak.System.look()
			select {
			case <-again.C:
			case <-s.end:
				s.done <- peak
				return
			}
		}
	}()
	return s
}

func (s *sampler) stop() use {
	close(s.end)
	return <-s.done
}

// look reads what Linux says of this process; elsewhere all stays 0.
func (s *system) look() {
	content, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(content)) {
		name, value, _ := strings.Cut(line, ":")
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			continue
		}
		switch name {
		case "VmHWM":
			s.HighWaterBytes = kib << 10
		case "RssAnon":
			s.AnonBytes = max(s.AnonBytes, kib<<10)
		case "RssFile":
			s.FileBytes = max(s.FileBytes, kib<<10)
		}
	}
}
