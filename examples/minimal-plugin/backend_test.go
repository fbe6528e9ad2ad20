package main

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"testing"

	"example.com/wring-plugin-minilog/minilog"
	"github.com/wringdb/wring/sdk"
	"github.com/wringdb/wring/sdk/sdktest"
)

// TestConformance is all the test that a plugin needs: the suite calls the
// backend here, builds this program, and cancels, locks, damages and kills.
func TestConformance(t *testing.T) {
	sdktest.Run(t, sdktest.Factory{
		Backend:   func() sdk.Backend { return backend{} },
		Program:   sdktest.Build("."),
		StoreName: "events.log",
		Make:      makeLog,
		Digest:    digest,
		Hold:      hold,
	})
}

func makeLog(path string, spec sdktest.Spec) error {
	switch spec.Shape {
	case sdktest.Dense:
		return minilog.Generate(path, spec.Seed, spec.Bytes, 0)
	case sdktest.Fragmented:
		return minilog.Generate(path, spec.Seed, spec.Bytes, 0.5)
	default:
		return minilog.Generate(path, spec.Seed, 0, 0)
	}
}

// digest reads a log the way an application does.
func digest(path string) (string, error) {
	log, err := minilog.Open(path)
	if err != nil {
		return "", err
	}
	content := maps.Collect(log.All())
	sum := sha256.New()
	for _, key := range slices.Sorted(maps.Keys(content)) {
		fmt.Fprintf(sum, "%q %q\n", key, content[key])
	}
	return fmt.Sprintf("%x", sum.Sum(nil)), log.Close()
}

func hold(path string) (func() error, error) {
	log, err := minilog.Open(path)
	if err != nil {
		return nil, err
	}
	return log.Close, nil
}
