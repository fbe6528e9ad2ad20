package main

import (
	"context"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// start is how long a program takes that has next to nothing to do.
type start struct {
	Name string `json:"name"`
	Time spread `json:"time"`
}

// measureStart measures what every run of a tool costs whatever its file is.
func (b *bench) measureStart(ctx context.Context) ([]start, error) {
	tiny := filepath.Join(b.work, "tiny.db")
	db, err := bbolt.Open(tiny, 0o600, nil)
	if err != nil {
		return nil, err
	}
	if err := db.Close(); err != nil {
		return nil, err
	}
	defer os.Remove(tiny)
	// No configuration: as everybody has it who has not written one.
	empty := filepath.Join(b.work, "empty.hcl")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		return nil, err
	}
	wring := func(arguments ...string) []string {
		return append([]string{b.tools.wring, "--config", empty}, arguments...)
	}
	var found []start
	for _, c := range []struct {
		name      string
		arguments []string
	}{
		{"wring version: the host alone", wring("version")},
		{"wring inspect --depth quick: host and plugin", wring("inspect", "--depth", "quick", tiny)},
		{"bbolt version", []string{b.tools.bbolt, "version"}},
		{"etcdutl version", []string{b.tools.etcdutl, "version"}},
	} {
		var times sample
		for i := range 1 + 4*b.rounds {
			_, took, err := command(ctx, c.arguments[0], c.arguments[1:]...).timed()
			if err != nil {
				return nil, err
			}
			if i > 0 { // the first reads the program from the disk
				times = append(times, took)
			}
		}
		found = append(found, start{Name: c.name, Time: times.spread()})
	}
	return found, nil
}
