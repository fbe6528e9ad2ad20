// Package holder finds out which processes hold the lock of a file, for
// messages to people.
package holder

import (
	"fmt"
	"strings"
)

// Process that holds a lock.
type Process struct {
	PID int
	// Command is its name, or "" where that cannot be told.
	Command string
}

func (p Process) String() string {
	if p.Command == "" {
		return fmt.Sprintf("process %d", p.PID)
	}
	return fmt.Sprintf("process %d (%s)", p.PID, p.Command)
}

// Describe names processes: "process 12 (etcd) and process 14 (bbolt)".
// For none it says "another process".
func Describe(processes []Process) string {
	if len(processes) == 0 {
		return "another process"
	}
	names := make([]string, len(processes))
	for i, p := range processes {
		names[i] = p.String()
	}
	return strings.Join(names, " and ")
}
