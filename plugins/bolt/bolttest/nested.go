package bolttest

import (
	"fmt"

	"go.etcd.io/bbolt"
)

// nested makes tenants with buckets in them, and deletes some of both, and
// some keys of what remains.
func (g *generator) nested() error {
	var put int64
	tenants := 0
	for ; put < g.total; tenants++ {
		size, err := g.tenant(tenants)
		if err != nil {
			return err
		}
		put += int64(size)
	}
	for i := range tenants {
		if g.random.Float64() >= g.spec.GarbageRatio {
			continue
		}
		if err := g.batched(int(g.batch/16), func(tx *bbolt.Tx) error {
			if i%2 == 0 {
				return tx.DeleteBucket(tenantName(i))
			}
			return g.thin(tx.Bucket(tenantName(i)))
		}); err != nil {
			return err
		}
	}
	return g.commit()
}

func tenantName(i int) []byte { return fmt.Appendf(nil, "tenant-%06d", i*7919%1000003) }

// tenant makes a bucket with one empty bucket, a few that lie inline, one of a
// few pages, and some keys. It returns the bytes put.
func (g *generator) tenant(i int) (size int, err error) {
	var todo []func(tenant *bbolt.Bucket) error
	bucket := func(name string, keys, least, most int) {
		entries := make([][2][]byte, keys)
		for j := range entries {
			entries[j] = [2][]byte{g.randomKey(j), g.value(least, most)}
			size += len(entries[j][0]) + len(entries[j][1])
		}
		sequence := g.random.Uint64N(1 << 40)
		todo = append(todo, func(tenant *bbolt.Bucket) error {
			b, err := tenant.CreateBucket([]byte(name))
			if err != nil {
				return err
			}
			for _, e := range entries {
				if err := b.Put(e[0], e[1]); err != nil {
					return err
				}
			}
			return b.SetSequence(sequence)
		})
	}
	bucket("empty", 0, 1, 1)
	for j := range 3 {
		bucket(fmt.Sprintf("inline-%d", j), 1+g.random.IntN(4), 0, 60)
	}
	bucket("pages", 10+g.random.IntN(60), 20, 300)
	key, value := g.randomKey(0), g.value(0, 200)
	size += len(key) + len(value)
	return size, g.batched(size, func(tx *bbolt.Tx) error {
		tenant, err := tx.CreateBucket(tenantName(i))
		if err != nil {
			return err
		}
		for _, f := range todo {
			if err := f(tenant); err != nil {
				return err
			}
		}
		return tenant.Put(key, value)
	})
}

// thin deletes a tenant's second inline bucket and two of three keys of its
// large one.
func (g *generator) thin(tenant *bbolt.Bucket) error {
	if err := tenant.DeleteBucket([]byte("inline-1")); err != nil {
		return err
	}
	pages := tenant.Bucket([]byte("pages"))
	var keys [][]byte
	if err := pages.ForEach(func(k, _ []byte) error {
		keys = append(keys, append([]byte(nil), k...))
		return nil
	}); err != nil {
		return err
	}
	for i, k := range keys {
		if i%3 == 0 {
			continue
		}
		if err := pages.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// deepest is how many buckets lie within each other in ShapeDeep.
const deepest = 40

// deep puts keys into each of a chain of buckets, and deletes some again.
func (g *generator) deep() error {
	each := int(g.total / deepest)
	for depth := range deepest {
		var keys [][]byte
		for put := 0; put < each; {
			k, v := g.randomKey(0), g.value(40, 400)
			put += len(k) + len(v)
			keys = append(keys, k)
			if err := g.batched(len(k)+len(v), func(tx *bbolt.Tx) error {
				b, err := chain(tx, depth)
				if err != nil {
					return err
				}
				return b.Put(k, v)
			}); err != nil {
				return err
			}
		}
		for _, k := range keys[:int(float64(len(keys))*g.spec.GarbageRatio)] {
			if err := g.batched(len(k), func(tx *bbolt.Tx) error {
				b, err := chain(tx, depth)
				if err != nil {
					return err
				}
				return b.Delete(k)
			}); err != nil {
				return err
			}
		}
		// The next depth's garbage must not be this one's free space.
		if err := g.commit(); err != nil {
			return err
		}
	}
	return nil
}

func chain(tx *bbolt.Tx, depth int) (*bbolt.Bucket, error) {
	b, err := tx.CreateBucketIfNotExists([]byte("depth-0"))
	for i := 1; i <= depth && err == nil; i++ {
		b, err = b.CreateBucketIfNotExists(fmt.Appendf(nil, "depth-%d", i))
	}
	return b, err
}
