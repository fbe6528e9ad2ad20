//go:build linux

package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// killWithWaiters kills an application for which other processes wait, who write
// to the store as soon as they have it. What was acknowledged to them must be in
// the store, or in an old file that is kept and named.
//
// Where files cannot be exchanged, the old file has no name once the new one is
// in place, and what is written to it after a kill is lost until it is spoilt:
// there is no kill there.
func (c *campaign) killWithWaiters() {
	window := []string{"after: syncdir 1", "after: poison 1", "after: poison 2"}
	times := 1
	if c.whole {
		times = 4
	}
	var cases []func()
	for _, way := range []string{wayExchange, wayRename} {
		sites := c.sites[way]
		if way == wayRename {
			sites = slices.DeleteFunc(slices.Clone(sites), func(site string) bool { return slices.Contains(window, site) })
		}
		if !c.whole {
			sites = []string{"hold: exchange 1", "after: release 1"}
			if way == wayExchange {
				sites = append(sites, window...)
			}
		}
		kind := "killed with others waiting, " + way
		for _, p := range c.variants(way) {
			if !c.whole && p.NoSync {
				continue
			}
			cases = append(cases, c.history(kind, p, times*len(sites), func(s *subject, i int, random *rand.Rand) error {
				p := p
				p.Site, p.Nth, p.Told = sites[i%len(sites)], 1+i/len(sites)%2, true
				return c.killAwaited(kind, s, p, i)
			}))
		}
	}
	c.parallel(cases)
}

func (c *campaign) killAwaited(kind string, s *subject, p part, i int) error {
	p.Role, p.Path = roleOwner, s.path
	q, err := p.start(s.counts)
	if err != nil {
		return err
	}
	defer func() { _ = q.cmd.Process.Kill() }()
	if err := q.heard("ready"); err != nil {
		return err
	}
	waiters := map[string]*process{}
	for w := range 3 {
		name := fmt.Sprintf("%d-%d", i, w)
		one := part{Role: roleWaiter, Path: s.path, Name: name, Live: w == 2}
		if waiters[name], err = one.start([loadWriters]uint64{}); err != nil {
			return err
		}
		defer func() { _ = waiters[name].cmd.Process.Kill() }()
		if err := waiters[name].heard("opened"); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(q.stdin, "compact\n"); err != nil {
		return err
	}
	if err := c.ended(kind, s, q, false); err != nil {
		return err
	}
	for name, w := range waiters {
		killed, err := w.wait()
		if err != nil || killed || w.said["wrote"] != 1 {
			return fmt.Errorf("waiter %s, killed %v: %w", name, killed, err)
		}
		c.note(kind, "openings refused", len(w.refusals))
		for _, refusal := range w.refusals {
			if !strings.Contains(refusal, berrors.ErrInvalid.Error()) {
				return fmt.Errorf("waiter %s was refused: %s", name, refusal)
			}
		}
	}
	kept, err := c.checkWaiters(kind, s, p, waiters)
	if err != nil {
		return err
	}
	if err := c.check(s, p, q.acknowledged, kept...); err != nil {
		return err
	}
	for _, name := range kept {
		if err := os.Remove(filepath.Join(filepath.Dir(s.path), name)); err != nil {
			return err
		}
	}
	return nil
}

// checkWaiters looks for what the waiters wrote, and returns the old files that
// are kept.
func (c *campaign) checkWaiters(kind string, s *subject, p part, waiters map[string]*process) (kept []string, err error) {
	p.Path = s.path
	db, err := p.open() // which sweeps
	if err != nil {
		return nil, err
	}
	here, err := waitersIn(db)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	paths, err := filepath.Glob(filepath.Join(filepath.Dir(s.path), ".a.db.wring-*.tmp"))
	for _, path := range paths {
		kept = append(kept, filepath.Base(path))
	}
	if len(kept) > 0 {
		err = errors.Join(err, litter(db))
		result, compactErr := db.Compact(context.Background(), p.compactOptions())
		for _, name := range kept {
			if compactErr != nil || !strings.Contains(result.Note, name) {
				err = errors.Join(err, fmt.Errorf("%s is kept, and not named by %q, error %w", name, result.Note, compactErr))
			}
		}
	}
	if err := errors.Join(err, db.Close()); err != nil {
		return nil, err
	}
	aside := map[string]bool{}
	for _, path := range paths {
		old, err := bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true})
		if err != nil {
			return nil, err
		}
		there, err := waitersIn(old)
		if err := errors.Join(err, old.Close()); err != nil {
			return nil, err
		}
		for name := range there {
			aside[name] = true
		}
	}
	for name := range waiters {
		switch {
		case here[name]:
			c.note(kind, "waiters who wrote to the store", 1)
		case aside[name]:
			c.note(kind, "waiters who wrote to an old file, which is kept and named", 1)
		default:
			return nil, violated("what waiter %s wrote is lost", name)
		}
	}
	return kept, nil
}

// waitersIn are the names that waiters have written.
func waitersIn(db interface {
	View(fn func(*bbolt.Tx) error) error
}) (map[string]bool, error) {
	names := map[string]bool{}
	return names, db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte("waiters"))
		if b == nil {
			return nil
		}
		return b.ForEach(func(k, _ []byte) error {
			names[string(k)] = true
			return nil
		})
	})
}
