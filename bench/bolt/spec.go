package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
)

// shape is what a file's content looks like and how it came to be.
type shape string

const (
	// shapeRandom has small values under random keys, half of them deleted.
	shapeRandom shape = "random"
	// shapeAppend has ascending keys of which the older half was deleted.
	shapeAppend shape = "append"
	// shapeNested has many small buckets within buckets, half of them deleted.
	shapeNested shape = "nested"
	// shapeBig has values from 1 to 64 KiB under random keys, half deleted.
	shapeBig shape = "big"
	// shapeEtcd is the file of an etcd server, after overwriting every key many
	// times and compacting its history.
	shapeEtcd shape = "etcd"
)

// generation is raised when a generator makes other files than before.
const generation = 1

// spec of a file.
type spec struct {
	Name  string `json:"name"`
	Shape shape  `json:"shape"`
	// Live bytes of keys and values remain, about.
	Live int64  `json:"live_bytes"`
	Seed uint64 `json:"seed"`
}

// fileName is another for each spec.
func (s spec) fileName() string {
	return fmt.Sprintf("%s-%dk-seed%d-g%d.db", s.Shape, s.Live>>10, s.Seed, generation)
}

// specs are the files to measure. The large one is for the heap alone.
func specs(quick bool, seed uint64) (files []spec, large spec) {
	const mb = 1_000_000
	scale := int64(mb)
	if quick {
		scale = mb / 30
	}
	files = []spec{
		{Name: "random", Shape: shapeRandom, Live: 300 * scale},
		{Name: "append", Shape: shapeAppend, Live: 150 * scale},
		{Name: "nested", Shape: shapeNested, Live: 60 * scale},
		{Name: "big values", Shape: shapeBig, Live: 300 * scale},
		{Name: "etcd", Shape: shapeEtcd, Live: 40 * scale},
	}
	for i := range files {
		files[i].Seed = seed
	}
	return files, spec{Name: "large", Shape: shapeRandom, Live: 2000 * scale, Seed: seed}
}

// file is one that was made.
type file struct {
	spec
	Path   string `json:"-"`
	Bytes  int64  `json:"bytes"`
	Digest string `json:"digest"`
	// MadeMS is how long making it took.
	MadeMS int64 `json:"made_ms"`
}

// openFile finds the file of a spec in dir, or makes it. What is half made has
// another name, and is removed.
func openFile(ctx context.Context, progress io.Writer, dir string, s spec) (*file, error) {
	f := &file{spec: s, Path: filepath.Join(dir, s.fileName())}
	about := f.Path + ".json"
	if content, err := os.ReadFile(about); err == nil {
		if err := json.Unmarshal(content, f); err != nil {
			return nil, fmt.Errorf("read what is known of %s: %w", f.Path, err)
		}
		f.spec = s
		if info, err := os.Stat(f.Path); err == nil && info.Size() == f.Bytes {
			return f, nil
		}
	}
	fmt.Fprintf(progress, "making %s\n", filepath.Base(f.Path))
	temp := f.Path + ".part"
	if err := os.RemoveAll(temp); err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	began := time.Now()
	fill := generate
	if s.Shape == shapeEtcd {
		fill = generateEtcd
	}
	if err := fill(ctx, temp, s); err != nil {
		return nil, err
	}
	f.MadeMS = time.Since(began).Milliseconds()
	var err error
	if f.Digest, err = bolttest.Digest(temp); err != nil {
		return nil, err
	}
	info, err := os.Stat(temp)
	if err != nil {
		return nil, err
	}
	f.Bytes = info.Size()
	content, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := os.Rename(temp, f.Path); err != nil {
		return nil, err
	}
	return f, os.WriteFile(about, content, 0o600)
}
