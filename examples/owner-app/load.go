package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

func loadMain(ctx context.Context, args []string) error {
	var c loadConfig
	flags := flag.NewFlagSet("load", flag.ExitOnError)
	flags.StringVar(&c.target, "target", "http.sock", "the `address` that the service listens on")
	flags.IntVar(&c.readers, "readers", 4, "clients that read")
	flags.IntVar(&c.writers, "writers", 4, "clients that write, every second time a deletion")
	flags.Float64Var(&c.rate, "rate", 100, "requests a second of each client; what comes too late is left out")
	flags.DurationVar(&c.duration, "duration", time.Minute, "how long; SIGINT and SIGTERM end it too")
	flags.IntVar(&c.keys, "keys", 300_000, "how many keys: as many as fill has put")
	flags.Uint64Var(&c.seed, "seed", 1, "where the randomness begins")
	parse(flags, args)
	return load(ctx, c, os.Stdout)
}

type loadConfig struct {
	target           string
	readers, writers int
	rate             float64
	duration         time.Duration
	keys             int
	seed             uint64
}

// requestTimeout ends a request that is not answered. The write is in doubt then.
const requestTimeout = 10 * time.Second

// load reads and writes until ctx or the duration ends, prints a line each
// second, and then looks whether every acknowledged write is there. Its error
// says that one is not, or that a read was wrong.
func load(ctx context.Context, c loadConfig, out io.Writer) error {
	if c.readers < 0 || c.writers < 1 || c.keys < c.writers || c.rate <= 0 {
		return errors.New("there must be a writer, a key for each, and a rate above 0")
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network(c.target), c.target)
		},
		MaxIdleConnsPerHost: c.readers + c.writers,
	}
	defer transport.CloseIdleConnections()
	l := &loader{c: c, client: &http.Client{Transport: transport, Timeout: requestTimeout}}
	l.ledger.keys = make([]entry, c.keys)

	// A request that has been sent is waited for, whatever ends the load.
	during, stop := context.WithTimeout(ctx, c.duration)
	defer stop()
	ctx = context.WithoutCancel(ctx)
	var clients sync.WaitGroup
	for i := range c.readers {
		random := rand.New(rand.NewPCG(c.seed, uint64(i)))
		clients.Go(func() { l.repeat(during, func() error { return l.read(ctx, random) }) })
	}
	for i := range c.writers {
		random := rand.New(rand.NewPCG(c.seed, uint64(c.readers+i)))
		clients.Go(func() { l.repeat(during, func() error { return l.write(ctx, i, random) }) })
	}
	l.report(during, out)
	clients.Wait()

	missing, err := l.check(ctx)
	if err != nil {
		return fmt.Errorf("look for the acknowledged writes: %w", err)
	}
	fmt.Fprintf(out, "%d acknowledged writes, %d missing; %d wrong reads; %d errors\n", l.ledger.acked, missing, l.wrong, l.failed)
	switch {
	case missing > 0 || l.wrong > 0:
		return errors.New("the service has lost writes")
	case l.ledger.acked == 0:
		return fmt.Errorf("no write was acknowledged, so that there is nothing to say: %w", l.failure)
	}
	return nil
}

// loader is the clients of a load.
type loader struct {
	c             loadConfig
	client        *http.Client
	ledger        ledger
	reads, writes meter

	mu      sync.Mutex
	failed  int // requests
	failure error
	wrong   int // reads that found what they may not
}

// repeat does something at the rate until ctx ends, and counts errors.
func (l *loader) repeat(ctx context.Context, do func() error) {
	ticker := time.NewTicker(time.Duration(float64(time.Second) / l.c.rate))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := do(); err != nil {
			l.mu.Lock()
			l.failed, l.failure = l.failed+1, err
			l.mu.Unlock()
		}
	}
}

func (l *loader) read(ctx context.Context, random *rand.Rand) error {
	key := random.IntN(l.c.keys)
	before, began := l.ledger.look(key), time.Now()
	found, exists, err := l.get(ctx, key)
	if err != nil {
		return err
	}
	l.reads.since(began)
	if !allows(before, l.ledger.look(key), found, exists) {
		l.mu.Lock()
		l.wrong++
		l.mu.Unlock()
	}
	return nil
}

// write puts or deletes one of the keys that a writer has for itself.
func (l *loader) write(ctx context.Context, writer int, random *rand.Rand) error {
	key := random.IntN(l.c.keys/l.c.writers)*l.c.writers + writer
	v, ok := l.ledger.try(key, random.IntN(2) == 0)
	if !ok {
		return nil
	}
	began := time.Now()
	var status int
	var err error
	if v < 0 {
		status, _, err = l.do(ctx, http.MethodDelete, l.path(key), nil)
	} else {
		status, _, err = l.do(ctx, http.MethodPut, l.path(key), value(key, v))
	}
	if err != nil {
		return err
	}
	if status != http.StatusNoContent {
		return fmt.Errorf("write %s: status %d", keyName(key), status)
	}
	l.writes.since(began)
	l.ledger.ack(key)
	return nil
}

// get returns the version of a key that the service has; -1 if it is none that
// was ever sent.
func (l *loader) get(ctx context.Context, key int) (found version, exists bool, err error) {
	status, body, err := l.do(ctx, http.MethodGet, l.path(key), nil)
	switch {
	case err != nil:
		return 0, false, err
	case status == http.StatusNotFound:
		return 0, false, nil
	case status != http.StatusOK:
		return 0, false, fmt.Errorf("read %s: status %d", keyName(key), status)
	}
	if v, ok := versionOf(key, body); ok {
		return v, true, nil
	}
	return -1, true, nil
}

func (l *loader) path(key int) string { return "/kv/" + items + "/" + keyName(key) }

func (l *loader) do(ctx context.Context, method, path string, body []byte) (status int, answer []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://owner-app"+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	response, err := l.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}

// report prints a line each second until ctx ends.
func (l *loader) report(ctx context.Context, out io.Writer) {
	fmt.Fprintf(out, "%6s  %8s %7s %7s %7s  %8s %7s %7s %7s  %6s  %s\n", "second",
		"reads/s", "p50 ms", "p99 ms", "max ms", "writes/s", "p50 ms", "p99 ms", "max ms", "errors", "file")
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for second := 1; ; second++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		l.mu.Lock()
		failed := l.failed
		l.mu.Unlock()
		fmt.Fprintf(out, "%6d  %v  %v  %6d  %s\n", second, l.reads.take(), l.writes.take(), failed, l.file(ctx))
	}
}

// file says how large the service's file is, and which one it is.
func (l *loader) file(ctx context.Context) string {
	var s stats
	_, body, err := l.do(context.WithoutCancel(ctx), http.MethodGet, "/stats", nil)
	if err == nil {
		err = json.Unmarshal(body, &s)
	}
	if err != nil {
		return "unknown"
	}
	return fmt.Sprintf("%d MiB, generation %d", s.FileBytes>>20, s.Generations)
}

// check counts the keys of which the last acknowledged write is not there.
func (l *loader) check(ctx context.Context) (missing int, err error) {
	for key, e := range l.ledger.keys {
		if e.acked == 0 {
			continue
		}
		found, exists, err := l.get(ctx, key)
		if err != nil {
			return missing, err
		}
		if !allows(e, e, found, exists) {
			missing++
		}
	}
	return missing, nil
}
