package pebble

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
)

// readPending reads the log files that Pebble replayed.
func readPending(dirs []string, replayed map[string]bool, compare pebbledb.Compare) (*engine.Pending, error) {
	sources := make([]wal.Dir, len(dirs))
	for i, dir := range dirs {
		sources[i] = wal.Dir{FS: readOnly(vfs.Default), Dirname: dir}
	}
	logs, err := wal.Scan(sources...)
	if err != nil {
		return nil, fmt.Errorf("list logs in %v: %w", dirs, err)
	}
	p := &engine.Pending{}
	for _, log := range logs {
		live := false
		for i := range log.NumSegments() {
			fs, path := log.SegmentLocation(i)
			live = live || replayed[fs.PathBase(path)]
		}
		if !live {
			continue
		}
		if err := readLog(p, log, compare); err != nil {
			return nil, fmt.Errorf("read log %s: %w", log, err)
		}
	}
	return p, nil
}

func readLog(p *engine.Pending, log wal.LogicalLog, compare pebbledb.Compare) (err error) {
	reader := log.OpenForRead()
	defer func() {
		if cerr := reader.Close(); err == nil {
			err = cerr
		}
	}()
	var buf bytes.Buffer
	for {
		r, _, err := reader.NextRecord()
		if err == nil {
			buf.Reset()
			_, err = io.Copy(&buf, r)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, record.ErrUnexpectedEOF) {
			return nil // the end, perhaps torn by a crash: Pebble replayed as far
		}
		if err != nil {
			return err
		}
		if buf.Len() < batchrepr.HeaderLen {
			return errors.New("a batch is shorter than its header")
		}
		if err := p.ReadBatch(buf.Bytes(), compare); err != nil {
			return err
		}
	}
}
