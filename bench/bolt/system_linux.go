package main

import (
	"context"
	"fmt"
	"os"
	"strings"
)

// plainCopy keeps cp from sharing blocks with the original, where the file
// system could: that would be no copy.
const plainCopy = "--reflink=never"

const dropCachesFile = "/proc/sys/vm/drop_caches"

// canDropCaches says whether we may empty the page cache.
func canDropCaches() bool {
	f, err := os.OpenFile(dropCachesFile, os.O_WRONLY, 0)
	if err != nil {
		return false
	}
	return f.Close() == nil
}

// dropCaches empties the page cache; what is dirty stays.
func dropCaches() error {
	if err := os.WriteFile(dropCachesFile, []byte("3"), 0o600); err != nil {
		return fmt.Errorf("drop caches: %w", err)
	}
	return nil
}

// load is the load average of the last minute.
func load() string {
	content, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(content), " ")
	return first
}

// fileSystem is the kind of the one that a directory is on.
func fileSystem(ctx context.Context, dir string) string {
	kind, err := command(ctx, "stat", "--file-system", "--format", "%T", dir).output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(kind))
}

// processor is its model's name.
func processor() string {
	content, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(content)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
