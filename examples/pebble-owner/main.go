// Pebble-owner is an application that has a Pebble store with an order of its own
// open, and writes to it all the time. A wring host compacts the store meanwhile:
// run is how.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/wringdb/wring/plugins/pebble/live"
)

func main() {
	dir := flag.String("dir", "events", "the `directory` of the store")
	socket := flag.String("socket", "run/wring.sock", "the unix `socket` for the wring host")
	every := flag.Duration("every", 2*time.Millisecond, "the `time` from one write to the next")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	if err := run(ctx, *dir, *socket, *every); err != nil {
		log.Fatalf("pebble-owner: %v", err)
	}
}

// run writes until ctx ends or a write fails.
func run(ctx context.Context, dir, socket string, every time.Duration) (err error) {
	stalls := new(live.Stalls)
	options := &pebble.Options{
		Comparer:           newestFirst(),
		FormatMajorVersion: pebble.FormatNewest,
		// Pebble begins by itself when reading becomes slow; most is left for the
		// hour that the host is told.
		L0CompactionThreshold: 24,
		L0StopWritesThreshold: 96,
	}
	stalls.Listen(options) // before the store is opened
	db, err := pebble.Open(dir, options)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	// What is deferred runs from the last to the first: the host's calls end, and
	// then the store is closed.
	defer func() { err = errors.Join(err, db.Close()) }()

	owner, stop := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan struct{})
	go func() {
		defer close(served)
		store := live.Store{Name: "events", DB: db, Options: options, Dir: dir, Stalls: stalls}
		if err := live.Serve(owner, socket, store); err != nil {
			// The application goes on all the same.
			log.Printf("nobody can compact %s: %v", dir, err)
		}
	}()
	defer func() { stop(); <-served }()

	return writeOn(ctx, db, every)
}

// writeOn goes on from the last write that the store has, and says each second,
// and in the end, how many were acknowledged.
func writeOn(ctx context.Context, db *pebble.DB, every time.Duration) error {
	n, err := lastWrite(db)
	if err != nil {
		return fmt.Errorf("look for the last write: %w", err)
	}
	next, second := time.NewTicker(every), time.NewTicker(time.Second)
	defer next.Stop()
	defer second.Stop()
	for {
		select {
		case <-ctx.Done():
			fmt.Printf("%d acknowledged writes\n", n)
			return nil
		case <-second.C:
			fmt.Printf("%d acknowledged writes\n", n)
		case <-next.C:
			if err := write(db, n+1); err != nil {
				return fmt.Errorf("write %d: %w", n+1, err)
			}
			n++
		}
	}
}
