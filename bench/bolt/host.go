package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// host is a running `wring run`: options that are not the defaults are set in a
// configuration, which only a host reads.
type host struct {
	config  string
	dir     string
	process program
	ended   chan struct{}
}

// Stores of the host, and the files that they are.
const (
	storeFull = "verified"
	storeFill = "packed"
)

// hostStores is the directory of those files.
func (b *bench) hostStores() string { return filepath.Join(b.work, "run", "member", "snap") }

const hostConfig = `
data_dir = %[1]q
defaults {
  every       = "8760h"
  start_delay = "8760h" # nothing but what we ask for
  io_priority = "normal"
}
store %[3]q {
  plugin  = "bolt"
  path    = "%[2]s/%[3]s.db"
  options {
    verify = "full"
  }
}
store %[4]q {
  plugin  = "bolt"
  path    = "%[2]s/%[4]s.db"
  options {
    fill_percent = 1.0
  }
}
`

func startHost(ctx context.Context, b *bench) (_ *host, err error) {
	// Sockets live in it, so its path must be short.
	dir, err := os.MkdirTemp("", "wring-bench-")
	if err != nil {
		return nil, err
	}
	h := &host{dir: dir, config: filepath.Join(dir, "wring.hcl"), ended: make(chan struct{})}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(dir) // in the directory for temporary files
		}
	}()
	text := fmt.Sprintf(hostConfig, filepath.Join(dir, "state"), b.hostStores(), storeFull, storeFill)
	if err := os.WriteFile(h.config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// Not ended with ctx, but by stop: what runs at that time ends first.
	h.process = command(context.WithoutCancel(ctx), b.tools.wring, "run", "--config", h.config)
	h.process.Stderr = log
	if err := h.process.Start(); err != nil {
		return nil, fmt.Errorf("start the host: %w", err)
	}
	go func() {
		defer close(h.ended)
		_ = h.process.Wait() // how it ended is in its log
	}()
	if err := h.awaitReady(ctx, b.tools.wring); err != nil {
		h.end()
		words, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("start the host: %w: %s", err, words)
	}
	return h, nil
}

func (h *host) awaitReady(ctx context.Context, wring string) error {
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	limit := time.After(15 * time.Second)
	for {
		_, err := command(ctx, wring, "status", "--config", h.config).output()
		if err == nil {
			return nil
		}
		select {
		case <-h.ended:
			return errors.New("it ended")
		case <-limit:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-again.C:
		}
	}
}

func (h *host) end() {
	_ = h.process.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-h.ended:
	case <-time.After(grace):
		_ = h.process.Process.Kill()
		<-h.ended
	}
}

// stop ends the host and removes its state.
func (h *host) stop() {
	h.end()
	_ = os.RemoveAll(h.dir) // in the directory for temporary files
}

// compacted makes sure that wring says so: a store that was skipped would be
// fast.
func compacted(document []byte) error {
	var result struct {
		Outcome, Reason, Error string
		Verified               bool
	}
	if err := json.Unmarshal(document, &result); err != nil {
		return fmt.Errorf("read the answer of wring: %w: %s", err, document)
	}
	if result.Outcome != "compacted" || !result.Verified {
		return fmt.Errorf("wring did not compact and verify: %s", document)
	}
	return nil
}
