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
)

// pendingWrites are those that a store has in its write-ahead log alone. A
// compaction flushes them into tables of level 0 first.
type pendingWrites struct {
	writes            int
	smallest, largest []byte
	// everywhere is set when their key range is not known.
	everywhere bool
}

// readPending reads the log files that Pebble replayed.
func readPending(dirs []string, replayed map[string]bool, compare pebbledb.Compare) (*pendingWrites, error) {
	sources := make([]wal.Dir, len(dirs))
	for i, dir := range dirs {
		sources[i] = wal.Dir{FS: readOnly(vfs.Default), Dirname: dir}
	}
	logs, err := wal.Scan(sources...)
	if err != nil {
		return nil, fmt.Errorf("list logs in %v: %w", dirs, err)
	}
	p := &pendingWrites{}
	for _, log := range logs {
		live := false
		for i := range log.NumSegments() {
			fs, path := log.SegmentLocation(i)
			live = live || replayed[fs.PathBase(path)]
		}
		if !live {
			continue
		}
		if err := p.readLog(log, compare); err != nil {
			return nil, fmt.Errorf("read log %s: %w", log, err)
		}
	}
	return p, nil
}

func (p *pendingWrites) readLog(log wal.LogicalLog, compare pebbledb.Compare) (err error) {
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
		if err := p.readBatch(buf.Bytes(), compare); err != nil {
			return err
		}
	}
}

func (p *pendingWrites) readBatch(repr []byte, compare pebbledb.Compare) error {
	batch := batchrepr.Read(repr)
	for {
		kind, key, value, ok, err := batch.Next()
		if !ok {
			return err
		}
		switch kind {
		case pebbledb.InternalKeyKindLogData:
			continue
		case pebbledb.InternalKeyKindSet, pebbledb.InternalKeyKindSetWithDelete, pebbledb.InternalKeyKindMerge,
			pebbledb.InternalKeyKindDelete, pebbledb.InternalKeyKindDeleteSized, pebbledb.InternalKeyKindSingleDelete:
			p.widen(key, compare)
		case pebbledb.InternalKeyKindRangeDelete:
			p.widen(key, compare)
			p.widen(value, compare)
		default: // range keys and ingested tables
			p.everywhere = true
		}
		p.writes++
	}
}

func (p *pendingWrites) widen(key []byte, compare pebbledb.Compare) {
	if p.smallest == nil || compare(key, p.smallest) < 0 {
		p.smallest = bytes.Clone(key)
	}
	if p.largest == nil || compare(key, p.largest) > 0 {
		p.largest = bytes.Clone(key)
	}
}

// span gives the key range, both ends inclusive; ok is false where nothing
// bounds it.
func (p *pendingWrites) span(tables []table, compare pebbledb.Compare) (from, to []byte, ok bool) {
	from, to = p.smallest, p.largest
	if p.everywhere {
		for _, t := range tables {
			if from == nil || compare(t.smallest, from) < 0 {
				from = t.smallest
			}
			if to == nil || compare(t.largest, to) > 0 {
				to = t.largest
			}
		}
	}
	return from, to, from != nil
}
