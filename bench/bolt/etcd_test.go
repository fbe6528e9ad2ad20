// It builds etcd's tools and takes minutes: see make bench-etcd.

//go:build etcd

package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
)

// TestEtcdStartsOnWhatWringCompacted is about a real data directory and the
// real command: whatever etcd keeps in its file beside keys and values has to
// be there as well, or it does not start, or replays its log once more.
func TestEtcdStartsOnWhatWringCompacted(t *testing.T) {
	ctx := t.Context()
	tools, err := buildTools(ctx, io.Discard, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "empty.hcl")
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	start := func() *etcd {
		t.Helper()
		e, err := startEtcd(ctx, dir, true)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	state := func(e *etcd) (revision int64, hash uint32) {
		t.Helper()
		revision, err := e.revision(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if hash, err = e.hash(ctx, revision); err != nil {
			t.Fatal(err)
		}
		return revision, hash
	}

	random := rand.New(rand.NewPCG(1, 1))
	e := start()
	for round := range 2 { // the second on a file that was compacted before
		if err := e.overwrite(ctx, random, 1000, 10, 2000); err != nil {
			t.Fatal(err)
		}
		newest, _ := state(e)
		if err := e.compact(ctx, newest-20); err != nil {
			t.Fatal(err)
		}
		// What is left of the history counts too.
		revision, before := state(e)
		e.stop()

		digest, size := digestAndSize(t, etcdStore(dir))
		out, err := command(ctx, tools.wring, "compact", "--json", "--config", config, etcdStore(dir)).output()
		if err != nil {
			t.Fatal(err)
		}
		if err := compacted(out); err != nil {
			t.Fatal(err)
		}
		digestAfter, sizeAfter := digestAndSize(t, etcdStore(dir))
		if digestAfter != digest {
			t.Errorf("round %d: the content differs", round)
		}
		if sizeAfter > size/2 {
			t.Errorf("round %d: %d bytes became %d: want less than half", round, size, sizeAfter)
		}

		e = start()
		revisionAfter, after := state(e)
		if revisionAfter != revision || after != before {
			t.Errorf("round %d: revision %d with hash %08x before, revision %d with hash %08x after",
				round, revision, before, revisionAfter, after)
		}
		if older, err := e.hash(ctx, revision-10); err != nil || older == after {
			t.Errorf("round %d: hash of an older revision: %08x, %v", round, older, err)
		}
	}
	if _, err := e.client.Put(ctx, "after", "compaction"); err != nil {
		t.Fatal(err)
	}
	revision, before := state(e)
	e.stop()
	e = start()
	defer e.stop()
	if revisionAfter, after := state(e); revisionAfter != revision || after != before {
		t.Errorf("once more: revision %d with hash %08x became %d with %08x", revision, before, revisionAfter, after)
	}
	got, err := e.client.Get(ctx, "after")
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "compaction" {
		t.Errorf("a later write is gone: %v", got.Kvs)
	}
	if _, err := e.client.Get(ctx, "after", clientv3.WithRev(1)); err == nil {
		t.Error("a revision that was compacted away can be read")
	}
}

func digestAndSize(t *testing.T, path string) (digest string, size int64) {
	t.Helper()
	digest, err := bolttest.Digest(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return digest, info.Size()
}

// hash is etcd's own over all keys and values at a revision.
func (e *etcd) hash(ctx context.Context, revision int64) (uint32, error) {
	response, err := e.client.HashKV(ctx, "", revision)
	if err != nil {
		return 0, fmt.Errorf("ask etcd for its hash at revision %d: %w", revision, err)
	}
	return response.Hash, nil
}
