package main

import (
	"context"
	"path/filepath"
	"time"
)

// contestant is a way to compact a file.
type contestant struct {
	// store is the base name of the file that it finds in the directory
	// member/snap of its run: etcd's layout, which only one of them needs.
	store string
	steps []step
	cold  bool // measured with a cold cache too
}

// step is a part of a contestant's work. Where it has a row, what has passed
// since the beginning of the first step is that row's time.
type step struct {
	row string
	run func(ctx context.Context, r place) (time.Duration, error)
}

// place is where a contestant runs.
type place struct {
	dir    string // of the run; removed after it
	store  string // to compact, and where the result is in the end
	fresh  string // for a result that is moved to store
	result string // what wring made of the same file earlier, for the floor
}

// Rows that others are compared with.
const (
	rowWring  = "wring compact"
	rowFloor  = "floor: cp + sync + rm"
	rowBbolt  = "bbolt compact"
	rowMoved  = rowBbolt + " + sync + mv"
	rowDefrag = "etcdutl defrag"
)

// contestants for a file, wring first: the floor needs its result.
func (b *bench) contestants(f *file) []contestant {
	all := []contestant{{
		store: "db", cold: true,
		steps: []step{{rowWring, b.wring}},
	}, {
		store: storeFull + ".db",
		steps: []step{{"wring, verify = full (host runs)", b.wringByHost(storeFull)}},
	}, {
		store: storeFill + ".db",
		steps: []step{{"wring, fill_percent = 1 (host runs)", b.wringByHost(storeFill)}},
	}, {
		store: "db", cold: true,
		steps: []step{{rowBbolt, b.bbolt()}, {rowMoved, move}},
	}, {
		// As its users make it faster: one sync, large transactions.
		store: "db",
		steps: []step{{"", b.bbolt("--no-sync", "--tx-max-size", "67108864")}, {"bbolt, no-sync, 64 MiB tx + sync + mv", move}},
	}}
	if f.Shape == shapeEtcd {
		all = append(all, contestant{store: "db", cold: true, steps: []step{{rowDefrag, b.defrag}}})
	}
	return append(all, contestant{store: "db", cold: true, steps: []step{{rowFloor, floor}}})
}

func (b *bench) wring(ctx context.Context, p place) (time.Duration, error) {
	out, took, err := b.isolated(command(ctx, b.tools.wring, "compact", "--json", p.store)).timed()
	if err != nil {
		return 0, err
	}
	return took, compacted(out)
}

// isolated keeps the configuration of whoever runs the benchmark away.
func (b *bench) isolated(p program) program {
	p.Env = append(p.Environ(), "WRING_CONFIG="+b.host.config)
	return p
}

func (b *bench) wringByHost(store string) func(context.Context, place) (time.Duration, error) {
	return func(ctx context.Context, _ place) (time.Duration, error) {
		out, took, err := command(ctx, b.tools.wring, "compact", "--json", "--force", "--config", b.host.config, store).timed()
		if err != nil {
			return 0, err
		}
		return took, compacted(out)
	}
}

func (b *bench) bbolt(options ...string) func(context.Context, place) (time.Duration, error) {
	return func(ctx context.Context, p place) (time.Duration, error) {
		arguments := append([]string{"compact", "-o", p.fresh}, options...)
		_, took, err := command(ctx, b.tools.bbolt, append(arguments, p.store)...).timed()
		return took, err
	}
}

// move puts a result in the store's place so that it survives a power cut.
func move(ctx context.Context, p place) (time.Duration, error) {
	c := command(ctx, "sh", "-c", `sync "$1" && mv -f "$1" "$2" && sync "$3"`, "sh", p.fresh, p.store, filepath.Dir(p.store))
	_, took, err := c.timed()
	return took, err
}

func (b *bench) defrag(ctx context.Context, p place) (time.Duration, error) {
	_, took, err := command(ctx, b.tools.etcdutl, "defrag", "--data-dir", p.dir).timed()
	return took, err
}

// floor is the least that any replacing must do: write the result, wait for the
// disk, and give the original's space back. It is cp without a flag, which lets
// the kernel copy and is the faster for it.
func floor(ctx context.Context, p place) (time.Duration, error) {
	c := command(ctx, "sh", "-c", `cp "$1" "$2" && sync "$2" && rm "$3"`, "sh", p.result, p.fresh, p.store)
	_, took, err := c.timed()
	return took, err
}
