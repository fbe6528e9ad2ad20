package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"os"
)

// leaves is how full the leaves of a file are that take one page, in the order
// of keys. It is what a choice of the fill could go by.
type leaves struct {
	Count int     `json:"count"`
	Mean  float64 `json:"mean"`
	// Deviation is the standard deviation.
	Deviation float64 `json:"deviation"`
	// Step is the mean difference of neighbours.
	Step float64 `json:"step"`
	// Middle is the part of all that is within 0.05 of the median.
	Middle float64 `json:"near_median"`
	// Ascending is the part of all that lie behind their left neighbour in the
	// file.
	Ascending float64 `json:"ascending"`
}

// The layout is bbolt's (internal/common in its source); integers are in the
// machine's order, and this reads little-endian files only.
const (
	pageHeader  = 16
	elementSize = 16
	metaMagic   = 0xED0CDAED
	flagBranch  = 1
	flagLeaf    = 2
	leafBucket  = 1
)

// image is a file that nobody writes to.
type image struct {
	bytes    []byte
	pageSize uint64
	root     uint64
	pages    uint64 // the high-water mark
}

var errDamaged = errors.New("it is not the bbolt file that it should be")

func openImage(path string) (*image, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	if len(content) < 2<<10 || le.Uint32(content[pageHeader:]) != metaMagic {
		return nil, fmt.Errorf("read %s: %w", path, errDamaged)
	}
	found := &image{bytes: content, pageSize: uint64(le.Uint32(content[pageHeader+8:]))}
	var newest uint64
	for page := range uint64(2) {
		at := page*found.pageSize + pageHeader
		if at+64 > uint64(len(content)) {
			continue
		}
		meta := content[at : at+64]
		sum := fnv.New64a()
		sum.Write(meta[:56]) // never fails
		if txid := le.Uint64(meta[48:]); sum.Sum64() == le.Uint64(meta[56:]) && txid >= newest {
			newest, found.root, found.pages = txid, le.Uint64(meta[16:]), le.Uint64(meta[40:])
		}
	}
	if found.pages == 0 {
		return nil, fmt.Errorf("read %s: %w", path, errDamaged)
	}
	return found, nil
}

// highWater is how many bytes of the file have ever been in use.
func (m *image) highWater() int64 { return int64(m.pages * m.pageSize) }

// page returns a page with its overflow.
func (m *image) page(id uint64) ([]byte, error) {
	if id < 2 || id >= m.pages || (id+1)*m.pageSize > uint64(len(m.bytes)) {
		return nil, errDamaged
	}
	overflow := uint64(binary.LittleEndian.Uint32(m.bytes[id*m.pageSize+12:]))
	if (id+1+overflow)*m.pageSize > uint64(len(m.bytes)) {
		return nil, errDamaged
	}
	return m.bytes[id*m.pageSize : (id+1+overflow)*m.pageSize], nil
}

// eachLeaf visits the leaves below a page, those of nested buckets where their
// bucket's entry lies: with the page's id, the bytes in use, and its size.
func (m *image) eachLeaf(id uint64, visit func(id uint64, used, size int)) error {
	page, err := m.page(id)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	flags, count := le.Uint16(page[8:]), int(le.Uint16(page[10:]))
	if pageHeader+count*elementSize > len(page) {
		return errDamaged
	}
	used := pageHeader + count*elementSize
	for i := range count {
		at := pageHeader + i*elementSize
		element := page[at : at+elementSize]
		if flags == flagBranch {
			if err := m.eachLeaf(le.Uint64(element[8:]), visit); err != nil {
				return err
			}
			continue
		}
		from, key, value := at+int(le.Uint32(element[4:])), int(le.Uint32(element[8:])), int(le.Uint32(element[12:]))
		used += key + value
		if le.Uint32(element)&leafBucket == 0 {
			continue
		}
		if from+key+value > len(page) || value < 16 {
			return errDamaged
		}
		if root := le.Uint64(page[from+key:]); root != 0 {
			if err := m.eachLeaf(root, visit); err != nil {
				return err
			}
		}
	}
	if flags == flagLeaf {
		visit(id, used, len(page))
	}
	return nil
}

// measureLeaves reads all of a file.
func measureLeaves(path string) (leaves, error) {
	m, err := openImage(path)
	if err != nil {
		return leaves{}, err
	}
	var fills []float64
	var before uint64
	ascending := 0
	if err := m.eachLeaf(m.root, func(id uint64, used, size int) {
		if uint64(size) != m.pageSize {
			return
		}
		fills = append(fills, float64(used)/float64(size))
		if id > before {
			ascending++
		}
		before = id
	}); err != nil {
		return leaves{}, fmt.Errorf("read %s: %w", path, err)
	}
	return summarise(fills, ascending), nil
}

func summarise(fills []float64, ascending int) leaves {
	n := float64(len(fills))
	if n == 0 {
		return leaves{}
	}
	found := leaves{Count: len(fills), Ascending: float64(ascending) / n}
	for i, fill := range fills {
		found.Mean += fill / n
		if i > 0 {
			found.Step += math.Abs(fill-fills[i-1]) / n
		}
	}
	middle := medianOf(fills)
	for _, fill := range fills {
		found.Deviation += (fill - found.Mean) * (fill - found.Mean) / n
		if math.Abs(fill-middle) <= 0.05 {
			found.Middle += 1 / n
		}
	}
	found.Deviation = math.Sqrt(found.Deviation)
	return found
}
