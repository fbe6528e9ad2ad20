package minilog

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"os"
	"slices"
)

// Census is what one pass over a log finds.
type Census struct {
	// Live is where the newest record of each key is.
	Live    map[string]Place
	Records int
	// LiveBytes is the size of a log with nothing but the live records.
	LiveBytes int64
	// Sum stands for the live content, in whatever order it lies.
	Sum uint64
}

// Place is where a record is in the file, in bytes.
type Place struct {
	Offset, Size int64
	hash         uint64
}

// piece is about how many bytes of work lie between two steps.
const piece = 64 << 10

// Survey reads a whole log. It calls step with the number of bytes that it has
// read since the last time, and ends when step returns an error.
func Survey(log *os.File, step func(int64) error) (Census, error) {
	c := Census{Live: make(map[string]Place), LiveBytes: int64(len(Magic))}
	done := c.LiveBytes
	err := Scan(log, func(r Record) error {
		c.add(r)
		if done += r.Size; done < piece {
			return nil
		}
		n := done
		done = 0
		return step(n)
	})
	if err != nil {
		return c, err
	}
	return c, step(done)
}

func (c *Census) add(r Record) {
	c.Records++
	if was, ok := c.Live[r.Key]; ok {
		c.LiveBytes, c.Sum = c.LiveBytes-was.Size, c.Sum-was.hash
		delete(c.Live, r.Key)
	}
	if r.Deleted {
		return
	}
	hash := fnv.New64a()
	fmt.Fprintf(hash, "%d %s %s", len(r.Key), r.Key, r.Value)
	c.Live[r.Key] = Place{r.Offset, r.Size, hash.Sum64()}
	c.LiveBytes, c.Sum = c.LiveBytes+r.Size, c.Sum+hash.Sum64()
}

// CopyLive writes a new log with the live records of an old one, in the order
// in which they were appended. It calls step as Survey does.
func CopyLive(to, from *os.File, c Census, step func(int64) error) error {
	if _, err := to.WriteString(Magic); err != nil {
		return err
	}
	done := int64(len(Magic))
	oldest := func(a, b Place) int { return cmp.Compare(a.Offset, b.Offset) }
	for _, r := range slices.SortedFunc(maps.Values(c.Live), oldest) {
		if _, err := io.Copy(to, io.NewSectionReader(from, r.Offset, r.Size)); err != nil {
			return err
		}
		if done += r.Size; done < piece {
			continue
		}
		if err := step(done); err != nil {
			return err
		}
		done = 0
	}
	return step(done)
}
