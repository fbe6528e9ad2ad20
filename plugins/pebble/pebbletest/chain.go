package pebbletest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// ChainWriter is a store that a chain is written to, by whatever version of Pebble.
type ChainWriter interface {
	Set(key, value []byte) error
	Delete(key []byte) error
	DeleteRange(start, end []byte) error
	// Settle moves what was written so far into the lowest level: start to end are all
	// keys.
	Settle(start, end []byte) error
}

// WriteChain writes what an Ethereum node does, with its keys and about its sizes: a
// header, a body and receipts for each block, its transactions' index, and the nodes of
// the state trie that it changes. In the middle all is settled; then blocks and index
// entries are removed that are old, as a node does once it has put them elsewhere. Half
// of what was written is dead in the end, about.
func WriteChain(seed uint64, blocks int, w ChainWriter) error {
	c := &chain{ChainWriter: w, rng: rand.New(rand.NewPCG(seed, 1))}
	for number := range blocks / 2 {
		c.block(number)
	}
	c.do(c.Settle([]byte{0}, []byte{0xff}))
	for number := blocks / 2; number < blocks; number++ {
		c.block(number)
	}
	for _, old := range c.blocks[:blocks/3] {
		for _, kind := range "hbr" {
			c.do(c.Delete(blockKey(byte(kind), old)))
		}
		for _, transaction := range old.transactions {
			c.do(c.Delete(hashKey('l', transaction)))
		}
	}
	// The snapshot of the state is thrown away as a whole.
	c.do(c.DeleteRange([]byte("a"), []byte("b")))
	return c.err
}

// chain keeps the first error.
type chain struct {
	ChainWriter
	rng    *rand.Rand
	blocks []chainBlock
	err    error
}

type chainBlock struct {
	number       int
	hash         [32]byte
	transactions [][32]byte
}

func blockKey(kind byte, b chainBlock) []byte {
	key := binary.BigEndian.AppendUint64([]byte{kind}, uint64(b.number))
	return append(key, b.hash[:]...)
}

func hashKey(kind byte, hash [32]byte) []byte { return append([]byte{kind}, hash[:]...) }

func (c *chain) do(err error) {
	if c.err == nil {
		c.err = err
	}
}

func (c *chain) set(key, value []byte) {
	if c.err == nil {
		c.err = c.Set(key, value)
	}
}

func (c *chain) hash() (h [32]byte) {
	copy(h[:], c.noise(len(h)))
	return h
}

// noise does not compress, as hashes and signatures do not.
func (c *chain) noise(n int) []byte {
	b := make([]byte, 0, n+8)
	for len(b) < n {
		b = binary.LittleEndian.AppendUint64(b, c.rng.Uint64())
	}
	return b[:n]
}

// value is half noise and half zeros.
func (c *chain) value(least, most int) []byte {
	n := least + c.rng.IntN(most-least+1)
	return append(c.noise(n/2), make([]byte, n-n/2)...)
}

const (
	transactions = 12  // of a block
	accounts     = 400 // of all
)

func (c *chain) block(number int) {
	b := chainBlock{number: number, hash: c.hash()}
	c.set(blockKey('h', b), c.value(500, 620))
	c.set(append(binary.BigEndian.AppendUint64([]byte{'h'}, uint64(number)), 'n'), b.hash[:])
	c.set(hashKey('H', b.hash), binary.BigEndian.AppendUint64(nil, uint64(number)))
	c.set(blockKey('b', b), c.value(100, 4000))
	c.set(blockKey('r', b), c.value(100, 2000))
	for range transactions {
		transaction := c.hash()
		b.transactions = append(b.transactions, transaction)
		c.set(hashKey('l', transaction), binary.BigEndian.AppendUint16(nil, uint16(number)))
		c.state(c.rng.IntN(accounts))
	}
	c.set([]byte("LastBlock"), b.hash[:])
	c.blocks = append(c.blocks, b)
}

// state changes an account: the nodes of the trie on the way to it, which are named by
// where they are, its entry in the snapshot, and at times its code.
func (c *chain) state(account int) {
	path := fmt.Appendf([]byte{'A'}, "%03x", account)
	for end := 1; end <= len(path); end++ {
		c.set(path[:end:end], c.value(100, 532))
	}
	hash := [32]byte{byte(account), byte(account >> 8), 'x'}
	c.set(hashKey('a', hash), c.value(70, 110))
	if c.rng.IntN(30) == 0 {
		c.set(hashKey('c', c.hash()), c.value(1000, 12000))
	}
}
