package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// watcher looks at the memory of all processes that we have started, and of
// those that they have, every few milliseconds.
type watcher struct {
	end  chan struct{}
	done chan map[string]memory
}

const watchInterval = 3 * time.Millisecond

func watchMemory() *watcher {
	w := &watcher{end: make(chan struct{}), done: make(chan map[string]memory)}
	before := make(map[int]bool) // the host and its plugins
	for _, pid := range descendants(os.Getpid()) {
		before[pid] = true
	}
	self, err := statusOf("self")
	if err != nil {
		return nil
	}
	go func() {
		found := make(map[string]memory)
		again := time.NewTicker(watchInterval)
		defer again.Stop()
		for {
			for _, pid := range descendants(os.Getpid()) {
				if !before[pid] {
					look(pid, found)
				}
			}
			select {
			case <-again.C:
			case <-w.end:
				// What was seen between its fork and its exec was still us.
				delete(found, self.Process)
				w.done <- found
				return
			}
		}
	}()
	return w
}

// stop returns what each program took at its worst.
func (w *watcher) stop() []memory {
	if w == nil {
		return nil
	}
	close(w.end)
	found := <-w.done
	var used []memory
	for _, name := range slices.Sorted(maps.Keys(found)) {
		used = append(used, found[name])
	}
	return used
}

// look adds what a process holds now to what it was seen to hold.
func look(pid int, found map[string]memory) {
	now, err := statusOf(strconv.Itoa(pid))
	if err != nil || now.HighWaterBytes == 0 {
		return // it has ended
	}
	most := found[now.Process]
	found[now.Process] = memory{
		Process:        now.Process,
		HighWaterBytes: max(most.HighWaterBytes, now.HighWaterBytes),
		AnonBytes:      max(most.AnonBytes, now.AnonBytes),
		FileBytes:      max(most.FileBytes, now.FileBytes),
	}
}

// descendants of a process, whichever of its threads has started them.
func descendants(pid int) []int {
	var found []int
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil
	}
	for _, list := range lists {
		content, err := os.ReadFile(list)
		if err != nil {
			continue
		}
		for word := range strings.FieldsSeq(string(content)) {
			if child, err := strconv.Atoi(word); err == nil {
				found = append(append(found, child), descendants(child)...)
			}
		}
	}
	return found
}

// statusOf reads what the kernel says of a process ("self" for this one).
func statusOf(pid string) (memory, error) {
	content, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return memory{}, err
	}
	var m memory
	// The kernel's own name for a process has 15 letters at most.
	if arguments, err := os.ReadFile("/proc/" + pid + "/cmdline"); err == nil {
		program, _, _ := strings.Cut(string(arguments), "\x00")
		m.Process = filepath.Base(program)
	}
	for line := range strings.Lines(string(content)) {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		kib, _ := strconv.ParseInt(strings.TrimSuffix(value, " kB"), 10, 64)
		switch name {
		case "VmHWM":
			m.HighWaterBytes = kib << 10
		case "RssAnon":
			m.AnonBytes = kib << 10
		case "RssFile":
			m.FileBytes = kib << 10
		}
	}
	return m, nil
}
