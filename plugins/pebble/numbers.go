package pebble

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"

	"github.com/wringdb/wring/plugins/pebble/internal/engine"
)

// highest is the highest number that a file of the store has or had.
func (d *directory) highest() (uint64, error) {
	name, err := atomicfs.ReadMarker(vfs.Default, d.path, "manifest")
	if err != nil {
		return 0, engine.ReadError("read the manifest's marker of", d.path, err)
	}
	manifest, err := os.Open(filepath.Join(d.path, name))
	if err != nil {
		return 0, pathError(d.path, err)
	}
	defer manifest.Close()
	next, err := nextNumber(manifest)
	if err != nil {
		return 0, engine.ReadError("read "+name+" of", d.path, err)
	}
	highest := max(1, next) - 1
	for _, f := range d.files { // one that is to come may be there before the manifest knows
		number, _ := f.Serial()
		highest = max(highest, number)
	}
	return highest, nil
}

// Tags of what the records of a manifest begin with, in Pebble's internal/manifest.
const (
	tagComparer   = 1 // a string; the others are numbers
	tagLog        = 2
	tagNextFile   = 3
	tagLastNumber = 4
	tagFormerLog  = 9
)

// nextNumber is that of the next file, as the last record says: a store counts on, though
// none of those before may be there any more.
func nextNumber(manifest io.Reader) (next uint64, err error) {
	records := record.NewReader(manifest, 0)
	for {
		r, err := records.Next()
		if errors.Is(err, io.EOF) || record.IsInvalidRecord(err) {
			return next, nil // the end, perhaps torn by a crash: Pebble has read as far
		}
		if err != nil {
			return 0, err
		}
		var text bytes.Buffer
		if _, err := io.Copy(&text, r); err != nil {
			return next, nil //nolint:nilerr // the same
		}
		next = max(next, nextOf(&text))
	}
}

// nextOf reads a record as far as its beginning, where the number is; 0 where it has none.
func nextOf(text *bytes.Buffer) uint64 {
	for {
		tag, err := binary.ReadUvarint(text)
		if err != nil {
			return 0
		}
		value, err := binary.ReadUvarint(text)
		switch {
		case err != nil:
			return 0
		case tag == tagNextFile:
			return value
		case tag == tagComparer:
			text.Next(int(min(value, uint64(text.Len()))))
		case tag == tagLog, tag == tagLastNumber, tag == tagFormerLog:
		default:
			return 0
		}
	}
}
