package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"

	"go.etcd.io/bbolt"
)

// generator fills one bbolt file. Keys come in the order in which they lie, so
// that many of them are put in seconds, but every transaction takes its keys
// from all over the file, so that the pages end up where many small random
// transactions would have put them: neighbours in the order of keys are far
// apart in the file.
type generator struct {
	ctx  context.Context
	db   *bbolt.DB
	spec spec
}

// generate makes a file that does not exist yet.
func generate(ctx context.Context, path string, s spec) (err error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		PageSize: 4 << 10, NoSync: true, FreelistType: bbolt.FreelistMapType,
		InitialMmapSize: int(8 * s.Live),
	})
	if err != nil {
		return fmt.Errorf("generate %s: %w", path, err)
	}
	g := &generator{ctx: ctx, db: db, spec: s}
	err = g.fill()
	if syncErr := db.Sync(); err == nil {
		err = syncErr
	}
	if closeErr := db.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("generate %s: %w", path, err)
	}
	return nil
}

func (g *generator) fill() error {
	switch g.spec.Shape {
	case shapeRandom:
		return g.random(leastValue, mostValue, 4)
	case shapeBig:
		return g.random(1<<10, 64<<10, 1)
	case shapeAppend:
		return g.append()
	case shapeNested:
		return g.nested()
	default:
	}
	return fmt.Errorf("there is no shape %q", g.spec.Shape)
}

// hash mixes the seed, a number and what it is for (splitmix64).
func (g *generator) hash(n, purpose uint64) uint64 {
	x := n ^ g.spec.Seed*0x9E3779B97F4A7C15 ^ purpose*0xD1B54A32D192ED03
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// What hash is asked for.
const (
	forKey = iota + 1
	forValue
	forPut
	forDelete
	forFate
	forLength
)

// key is 16 to 23 bytes, of which the first 8 give the order.
func (g *generator) key(prefix uint64) []byte {
	rest := g.hash(prefix, forLength)
	k := binary.BigEndian.AppendUint64(make([]byte, 0, 24), prefix)
	k = binary.BigEndian.AppendUint64(k, rest)
	k = append(k, k[:8]...)
	return k[:16+rest%8]
}

// value is of a length between least and most, of bytes that do not compress.
// It is good until the transaction that it was put in has ended.
func (g *generator) value(n uint64, least, most int) []byte {
	random := rand.NewPCG(g.spec.Seed, g.hash(n, forValue))
	b := make([]byte, least+int(random.Uint64()%uint64(most-least+1)))
	for i := 0; i+8 <= len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], random.Uint64())
	}
	return b
}

// update runs f in a transaction, unless the generator is to stop.
func (g *generator) update(f func(tx *bbolt.Tx) error) error {
	if err := g.ctx.Err(); err != nil {
		return err
	}
	return g.db.Update(f)
}

// random puts values under random keys and deletes a random half. So many keys
// that are neighbours are put by the same transaction.
func (g *generator) random(least, most, together int) error {
	average := int64(20 + (least+most)/2)
	prefixes := make([]uint64, 2*g.spec.Live/average)
	for i := range prefixes {
		prefixes[i] = g.hash(uint64(i), forKey)
	}
	slices.Sort(prefixes)
	prefixes = slices.Compact(prefixes)
	name := []byte("random")
	if err := g.scattered(len(prefixes), together, forPut, func(tx *bbolt.Tx, i int) error {
		b, err := tx.CreateBucketIfNotExists(name)
		if err != nil {
			return err
		}
		return b.Put(g.key(prefixes[i]), g.value(prefixes[i], least, most))
	}); err != nil {
		return err
	}
	return g.scattered(len(prefixes), together, forDelete, func(tx *bbolt.Tx, i int) error {
		if g.hash(prefixes[i], forFate)%2 == 0 {
			return nil
		}
		return tx.Bucket(name).Delete(g.key(prefixes[i]))
	})
}

// scattered calls f for each number below all: so many together in the same
// transaction, of which there are 64, and in order within each.
func (g *generator) scattered(all, together int, purpose uint64, f func(tx *bbolt.Tx, i int) error) error {
	const transactions = 64
	parts := make([][]int, transactions)
	for first := 0; first < all; first += together {
		t := g.hash(uint64(first), purpose) % transactions
		parts[t] = append(parts[t], first)
	}
	for _, part := range parts {
		if err := g.update(func(tx *bbolt.Tx) error {
			for _, first := range part {
				for i := first; i < min(all, first+together); i++ {
					if err := f(tx, i); err != nil {
						return err
					}
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// Sizes of small values, and of such a value with an ascending key, in bytes.
const (
	leastValue    = 40
	mostValue     = 400
	appendAverage = 14 + (leastValue+mostValue)/2
)

// append puts ascending keys, as a log or a queue does, and deletes the older
// half.
func (g *generator) append() error {
	const perTransaction = 16 << 20 / appendAverage
	name, all := []byte("append"), uint64(2*g.spec.Live/appendAverage)
	if err := g.inTurn(all, perTransaction, func(tx *bbolt.Tx, i uint64) error {
		b, err := tx.CreateBucketIfNotExists(name)
		if err != nil {
			return err
		}
		return b.Put(ascendingKey(i), g.value(i, leastValue, mostValue))
	}); err != nil {
		return err
	}
	return g.inTurn(all/2, perTransaction, func(tx *bbolt.Tx, i uint64) error {
		return tx.Bucket(name).Delete(ascendingKey(i))
	})
}

func ascendingKey(i uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte("event/"), i)
}

// inTurn calls f for each number below all, so many of them in a transaction.
func (g *generator) inTurn(all, perTransaction uint64, f func(tx *bbolt.Tx, i uint64) error) error {
	for first := uint64(0); first < all; first += perTransaction {
		if err := g.update(func(tx *bbolt.Tx) error {
			for i := first; i < min(all, first+perTransaction); i++ {
				if err := f(tx, i); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// nested makes a bucket for each of many tenants, with two in it: settings so
// few that they lie within their parent's page, and a log that mostly does not.
// Half of the tenants go.
func (g *generator) nested() error {
	const average = 2300 // bytes of a tenant
	tenants := int(2 * g.spec.Live / average)
	name := func(i int) []byte { return fmt.Appendf(nil, "tenant-%07d", i) }
	if err := g.scattered(tenants, 1, forPut, func(tx *bbolt.Tx, i int) error {
		return g.tenant(tx, name(i), uint64(i))
	}); err != nil {
		return err
	}
	return g.scattered(tenants, 1, forDelete, func(tx *bbolt.Tx, i int) error {
		if g.hash(uint64(i), forFate)%2 == 0 {
			return nil
		}
		return tx.DeleteBucket(name(i))
	})
}

func (g *generator) tenant(tx *bbolt.Tx, name []byte, i uint64) error {
	tenant, err := tx.CreateBucket(name)
	if err != nil {
		return err
	}
	if err := tenant.SetSequence(i); err != nil {
		return err
	}
	length := g.hash(i, forLength)
	for _, part := range []struct {
		name        string
		keys        uint64
		least, most int
	}{
		{"settings", 1 + length%8, 10, 70},
		{"log", length >> 8 % 61, 20, 80},
	} {
		b, err := tenant.CreateBucket([]byte(part.name))
		if err != nil {
			return err
		}
		for k := range part.keys {
			if err := b.Put(fmt.Appendf(nil, "%s-%04d", part.name, k), g.value(i<<16|k, part.least, part.most)); err != nil {
				return err
			}
		}
	}
	return nil
}
