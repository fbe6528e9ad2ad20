package engine

import (
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/wal"

	"github.com/wringdb/wring/sdk"
)

// HostLock is wring's own file in a store that is being compacted. It is no part
// of the store.
const HostLock = ".wring.lock"

// Signatures recognise a directory as a store.
func Signatures() []sdk.Signature {
	return []sdk.Signature{
		{DirEntry: "marker.format-version.*"},
		{DirEntry: "marker.manifest.*"},
		{DirEntry: "CURRENT"},
	}
}

// File is a regular file in a store's directory.
type File struct {
	Name            string
	Size, Allocated int64
}

// Number of a table or blob file by its name; ok is false for other files.
func (f File) Number(extension string) (number uint64, ok bool) {
	digits, ok := strings.CutSuffix(f.Name, extension)
	if !ok {
		return 0, false
	}
	number, err := strconv.ParseUint(digits, 10, 64)
	return number, err == nil
}

// Serial is the number in the name of a file of any kind, and ok is false for what
// Pebble does not call its own.
func (f File) Serial() (number uint64, ok bool) {
	if number, _, ok := wal.ParseLogFilename(f.Name); ok {
		return uint64(number), true
	}
	for _, kind := range []struct{ prefix, suffix string }{
		{"", ".sst"}, {"", ".blob"}, {"OPTIONS-", ""}, {"MANIFEST-", ""},
		{"temporary.", ".dbtmp"}, {"CURRENT.", ".dbtmp"},
	} {
		rest, begins := strings.CutPrefix(f.Name, kind.prefix)
		digits, ends := strings.CutSuffix(rest, kind.suffix)
		if number, err := strconv.ParseUint(digits, 10, 64); begins && ends && err == nil {
			return number, true
		}
	}
	return 0, f.Name == "LOCK" || f.Name == "CURRENT" || strings.HasPrefix(f.Name, "marker.")
}

// IsLog says whether it is of the write-ahead log.
func (f File) IsLog() bool {
	_, _, ok := wal.ParseLogFilename(f.Name)
	return ok
}

// Used says how many bytes tables use of each file, by its number.
func Used(tables ...[]Table) map[uint64]int64 {
	used := map[uint64]int64{}
	for _, list := range tables {
		for _, t := range list {
			used[t.Backing] += t.Size
		}
	}
	return used
}

// UsedBy is Used of the tables in regions.
func UsedBy(regions []Region) map[uint64]int64 {
	tables := make([][]Table, 0, len(regions))
	for _, r := range regions {
		tables = append(tables, r.Tables)
	}
	return Used(tables...)
}

// Hole is what virtual tables leave of their file: it comes back when all of
// them are rewritten.
func (f File) Hole(used, rewritten map[uint64]int64) int64 {
	number, ok := f.Number(".sst")
	if !ok || used[number] == 0 || rewritten[number] != used[number] {
		return 0
	}
	return max(0, f.Size-used[number])
}
