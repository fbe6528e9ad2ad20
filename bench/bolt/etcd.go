package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"
)

// etcd is a real server of one member, in this process.
type etcd struct {
	server *embed.Etcd
	client *clientv3.Client
}

// etcdStore is the file of a data directory that compaction is about.
func etcdStore(dataDir string) string { return filepath.Join(dataDir, "member", "snap", "db") }

// startEtcd starts a server on a data directory. With fsync off it writes as
// much, and waits for nothing.
func startEtcd(ctx context.Context, dataDir string, fsync bool) (*etcd, error) {
	anyPort := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	config := embed.NewConfig()
	config.Dir = dataDir
	config.Name = "one"
	config.ListenPeerUrls, config.ListenClientUrls = anyPort, anyPort
	config.AdvertisePeerUrls, config.AdvertiseClientUrls = anyPort, anyPort
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.QuotaBackendBytes = 8 << 30
	config.UnsafeNoFsync = !fsync
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	server, err := embed.StartEtcd(config)
	if err != nil {
		return nil, fmt.Errorf("start etcd on %s: %w", dataDir, err)
	}
	select {
	case <-server.Server.ReadyNotify():
	case err = <-server.Err():
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(time.Minute):
		err = errors.New("it is not ready after a minute")
	}
	if err != nil {
		server.Close()
		return nil, fmt.Errorf("start etcd on %s: %w", dataDir, err)
	}
	return &etcd{server: server, client: v3client.New(server.Server)}, nil
}

// stop ends the server as SIGTERM would, and waits until its files are closed.
func (e *etcd) stop() {
	// Closing the client of a server in this process gives no error that means
	// anything: the server goes with it.
	_ = e.client.Close()
	e.server.Close()
	<-e.server.Server.StopNotify()
}

// puts in one transaction; etcd takes 128 at most.
const etcdPuts = 100

// overwrite puts every one of so many keys so many times, in random order, and
// deletes a few on the way.
func (e *etcd) overwrite(ctx context.Context, random *rand.Rand, keys, times, valueBytes int) error {
	value := make([]byte, valueBytes)
	for range keys * times / etcdPuts {
		var ops []clientv3.Op
		taken := make(map[int]bool)
		for len(ops) < min(etcdPuts, keys/2) {
			i := random.IntN(keys)
			if taken[i] {
				continue // etcd refuses a key twice in one transaction
			}
			taken[i] = true
			key := fmt.Sprintf("/registry/pods/namespace-%03d/pod-%06d", i%97, i)
			if random.IntN(200) == 0 {
				ops = append(ops, clientv3.OpDelete(key))
				continue
			}
			for b := range value {
				value[b] = byte('a' + random.IntN(26))
			}
			ops = append(ops, clientv3.OpPut(key, string(value)))
		}
		if _, err := e.client.Txn(ctx).Then(ops...).Commit(); err != nil {
			return fmt.Errorf("overwrite keys of etcd: %w", err)
		}
	}
	return nil
}

// revision is the newest.
func (e *etcd) revision(ctx context.Context) (int64, error) {
	response, err := e.client.Get(ctx, "/", clientv3.WithCountOnly())
	if err != nil {
		return 0, fmt.Errorf("ask etcd for its revision: %w", err)
	}
	return response.Header.Revision, nil
}

// compact forgets all history before a revision, and waits until it is gone.
func (e *etcd) compact(ctx context.Context, revision int64) error {
	if _, err := e.client.Compact(ctx, revision, clientv3.WithCompactPhysical()); err != nil {
		return fmt.Errorf("compact the history of etcd: %w", err)
	}
	return nil
}

// How an etcd file comes to be: each key is written so many times.
const (
	etcdValueBytes = 1900
	etcdTimes      = 9
)

// generateEtcd makes a file by a server that runs for as long as that takes.
func generateEtcd(ctx context.Context, path string, s spec) (err error) {
	dir := path + ".etcd"
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	e, err := startEtcd(ctx, dir, false)
	if err != nil {
		return err
	}
	err = func() error {
		defer e.stop()
		random := rand.New(rand.NewPCG(s.Seed, 0))
		if err := e.overwrite(ctx, random, int(s.Live/(etcdValueBytes+100)), etcdTimes, etcdValueBytes); err != nil {
			return err
		}
		revision, err := e.revision(ctx)
		if err != nil {
			return err
		}
		return e.compact(ctx, revision)
	}()
	if err != nil {
		return fmt.Errorf("generate %s: %w", path, err)
	}
	return os.Rename(etcdStore(dir), path)
}
