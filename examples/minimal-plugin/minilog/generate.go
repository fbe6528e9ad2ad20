package minilog

import (
	"fmt"
	"math/rand/v2"
)

// Generate makes a log of about size bytes, of which about the share dead (0 to
// 1) is dead space. The same seed makes the same log.
func Generate(path string, seed uint64, size int64, dead float64) error {
	l, err := Open(path)
	if err != nil {
		return err
	}
	if err := l.fill(rand.New(rand.NewPCG(seed, 0)), size, dead); err != nil {
		_ = l.Close()
		return err
	}
	return l.Close()
}

func (l *Log) fill(r *rand.Rand, size int64, dead float64) error {
	const valueSize = 1000
	for i := range size / (headSize + 8 + valueSize) {
		value := make([]byte, valueSize)
		for j := range value {
			value[j] = byte('a' + r.IntN(26))
		}
		key := fmt.Sprintf("key%05d", i)
		if err := l.Put(key, value); err != nil {
			return err
		}
		if r.Float64() < dead {
			if err := l.Delete(key); err != nil {
				return err
			}
		}
	}
	return nil
}
