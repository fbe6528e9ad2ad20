// Package minilog is a toy database: a key-value store in one file to which
// records are only ever appended. It stands for the engine that you already
// have; nothing in it knows of wring.
//
// The file begins with Magic. A record is, little-endian,
//
//	crc32 of the rest (4 bytes) · kind (1) · key length (2) · value length (4) · key · value
//
// and the newest record of a key decides. Older ones, and deleted keys with
// their tombstones, are the dead space.
package minilog

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"maps"
	"os"
	"syscall"
)

// Magic is how every log begins.
const Magic = "MINILOG1"

const (
	headSize = 4 + 1 + 2 + 4
	kindPut  = 1
	kindDel  = 2
	maxValue = 64 << 20
)

// What can be wrong with a log.
var (
	ErrLocked  = errors.New("log is in use")
	ErrCorrupt = errors.New("not a log, or a damaged one")
)

// Record is one entry of a log.
type Record struct {
	Key     string
	Value   []byte
	Deleted bool
	// Offset and Size say where the record is in the file, in bytes.
	Offset, Size int64
}

// Log is an open log. One process has it at a time.
type Log struct {
	file  *os.File
	items map[string][]byte
}

// Open opens a log, or begins one.
func Open(path string) (*Log, error) {
	file, err := Lock(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, true)
	if err != nil {
		return nil, err
	}
	l := &Log{file: file, items: make(map[string][]byte)}
	if info, err := file.Stat(); err == nil && info.Size() == 0 {
		if _, err := file.WriteString(Magic); err != nil {
			return nil, errors.Join(err, file.Close())
		}
		return l, nil
	}
	err = Scan(file, func(r Record) error {
		l.items[r.Key] = r.Value
		if r.Deleted {
			delete(l.items, r.Key)
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return l, nil
}

// Lock opens a log's file, symbolic links followed, and locks it, for oneself or
// shared with other readers, until the file is closed. It does not wait:
// ErrLocked.
func Lock(path string, flag int, exclusive bool) (*os.File, error) {
	path = resolve(path)
	for {
		file, err := os.OpenFile(path, flag, 0o600)
		if err != nil {
			return nil, err
		}
		how := syscall.LOCK_SH
		if exclusive {
			how = syscall.LOCK_EX
		}
		if err := syscall.Flock(int(file.Fd()), how|syscall.LOCK_NB); err != nil {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, ErrLocked), file.Close())
		}
		// A compaction may have put a new file there in the meantime.
		mine, err1 := file.Stat()
		there, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(mine, there) {
			return file, nil
		}
		if err := errors.Join(err1, err2, file.Close()); err != nil {
			return nil, err
		}
	}
}

// Scan calls visit for every record of a log, the oldest first.
func Scan(file *os.File, visit func(Record) error) error {
	in := bufio.NewReaderSize(io.NewSectionReader(file, 0, 1<<62), 1<<20)
	magic := make([]byte, len(Magic))
	if _, err := io.ReadFull(in, magic); err != nil || string(magic) != Magic {
		return fmt.Errorf("read %s: %w: it does not begin with %s", file.Name(), ErrCorrupt, Magic)
	}
	for offset := int64(len(Magic)); ; {
		r, err := read(in)
		if err == io.EOF { //nolint:errorlint // read returns it bare
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s at %d: %w", file.Name(), offset, err)
		}
		r.Offset = offset
		offset += r.Size
		if err := visit(r); err != nil {
			return err
		}
	}
}

func read(in io.Reader) (Record, error) {
	var head [headSize]byte
	if _, err := io.ReadFull(in, head[:]); err == io.EOF { // the end between records
		return Record{}, io.EOF
	} else if err != nil {
		return Record{}, fmt.Errorf("%w: half a record", ErrCorrupt)
	}
	keySize, valueSize := int(binary.LittleEndian.Uint16(head[5:])), int(binary.LittleEndian.Uint32(head[7:]))
	if valueSize > maxValue {
		return Record{}, fmt.Errorf("%w: a value of %d bytes", ErrCorrupt, valueSize)
	}
	body := make([]byte, keySize+valueSize)
	if _, err := io.ReadFull(in, body); err != nil {
		return Record{}, fmt.Errorf("%w: half a record", ErrCorrupt)
	}
	sum := crc32.Update(crc32.ChecksumIEEE(head[4:]), crc32.IEEETable, body)
	if sum != binary.LittleEndian.Uint32(head[:]) {
		return Record{}, fmt.Errorf("%w: wrong checksum", ErrCorrupt)
	}
	return Record{
		Key: string(body[:keySize]), Value: body[keySize:], Deleted: head[4] == kindDel,
		Size: int64(headSize + len(body)),
	}, nil
}

// Put sets a key.
func (l *Log) Put(key string, value []byte) error {
	if err := l.append(kindPut, key, value); err != nil {
		return err
	}
	l.items[key] = value
	return nil
}

// Delete removes a key.
func (l *Log) Delete(key string) error {
	if err := l.append(kindDel, key, nil); err != nil {
		return err
	}
	delete(l.items, key)
	return nil
}

func (l *Log) append(kind byte, key string, value []byte) error {
	if len(key) > 1<<16-1 || len(value) > maxValue {
		return fmt.Errorf("append to %s: key or value too long", l.file.Name())
	}
	record := make([]byte, headSize, headSize+len(key)+len(value))
	record[4] = kind
	binary.LittleEndian.PutUint16(record[5:], uint16(len(key)))
	binary.LittleEndian.PutUint32(record[7:], uint32(len(value)))
	record = append(append(record, key...), value...)
	binary.LittleEndian.PutUint32(record, crc32.ChecksumIEEE(record[4:]))
	_, err := l.file.Write(record)
	return err
}

// All gives every key and its value, in no order.
func (l *Log) All() iter.Seq2[string, []byte] { return maps.All(l.items) }

// Close releases the log.
func (l *Log) Close() error { return errors.Join(l.file.Sync(), l.file.Close()) }
