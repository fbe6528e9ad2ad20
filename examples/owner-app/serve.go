package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt/live"
)

func serveMain(ctx context.Context, args []string) error {
	var c serveConfig
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	flags.StringVar(&c.db, "db", "", "the store, a bbolt `file`")
	flags.StringVar(&c.socket, "socket", "", "the unix `socket` for the wring host")
	flags.StringVar(&c.listen, "listen", "http.sock", "the `address` for HTTP: the path of a unix socket, or HOST:PORT")
	parse(flags, args)
	return serve(ctx, c)
}

type serveConfig struct{ db, socket, listen string }

// lastRequests is how long requests under way may take when the service ends.
const lastRequests = 10 * time.Second

// serve is all that an application needs to be compacted: live.Open in the place
// of bbolt.Open, and live.Serve beside its own server. It ends with ctx.
func serve(ctx context.Context, c serveConfig) (err error) {
	path, err := filepath.Abs(c.db) // the host's calls are made from anywhere
	if err != nil {
		return err
	}
	db, err := live.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		return fmt.Errorf("open %s: %w", c.db, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()

	// The host may compact until the last request has been answered. That it
	// cannot is no reason for the service to end.
	owner, stop := context.WithCancel(context.WithoutCancel(ctx))
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		if err := live.Serve(owner, c.socket, live.Store{Name: "kv", DB: db}); err != nil {
			log.Printf("nobody can compact %s: %v", c.db, err)
		}
	}()
	defer func() { stop(); <-stopped }()

	kv := newService(db)
	go kv.watch(owner)
	listener, err := listen(c.listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: kv.routes(), ReadHeaderTimeout: lastRequests}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	log.Printf("%s: HTTP on %s, wring on %s", c.db, c.listen, c.socket)
	select {
	case err := <-failed:
		return fmt.Errorf("serve on %s: %w", c.listen, err)
	case <-ctx.Done():
	}
	// The order of the end: HTTP, then wring, then the store.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastRequests)
	defer cancel()
	return server.Shutdown(last)
}

// network tells the path of a unix socket from an address for TCP.
func network(address string) string {
	if strings.Contains(address, "/") || !strings.Contains(address, ":") {
		return "unix"
	}
	return "tcp"
}

// listen takes the place of a socket that a dead process left.
func listen(address string) (net.Listener, error) {
	if network(address) == "tcp" {
		return net.Listen("tcp", address)
	}
	if info, err := os.Lstat(address); err == nil && info.Mode().Type() == fs.ModeSocket {
		if conn, err := net.Dial("unix", address); err == nil {
			_ = conn.Close()
			return nil, fmt.Errorf("listen on %s: another process does", address)
		}
		if err := os.Remove(address); err != nil {
			return nil, err
		}
	}
	listener, err := net.Listen("unix", address)
	if err != nil {
		return nil, err
	}
	return listener, os.Chmod(address, 0o600)
}
