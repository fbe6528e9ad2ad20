//go:build linux

package bolt

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/sdk"
)

// waiters lets processes open, write to and close a store all the time, while
// that is compacted, and compactions are killed. No write that was acknowledged
// may be lost: it is in the store, or in a file that a sweep keeps and names.
func (c *campaign) waiters() {
	const kind = "waiting writers"
	rounds, names := 5, []string{"anna", "bert"}
	if c.whole {
		rounds, names = 150, []string{"anna", "bert", "carl", "dora", "emil"}
	}
	dir, err := os.MkdirTemp(c.scratch, "")
	if err != nil {
		c.t.Fatal(err)
	}
	path, err := c.subjects[0].put(dir)
	if err != nil {
		c.t.Fatal(err)
	}
	exchanged, err := c.afterExchange(c.subjects[0])
	if err != nil {
		c.t.Fatal(err)
	}
	var writers []*writerProcess
	for _, name := range names {
		writers = append(writers, c.startWriter(name, path))
	}
	aside := map[string]bool{}
	for round := range rounds {
		c.one(kind, fmt.Sprintf("round %d", round), func(_ string, random *rand.Rand) error {
			return c.compactAmongWriters(kind, path, round, exchanged, aside, random)
		})
	}
	if c.count(kind).notes["compactions that were killed"] == 0 {
		c.t.Errorf("%s: no compaction was killed", kind)
	}
	c.one(kind, "all that was acknowledged", func(string, *rand.Rand) error {
		var acknowledged []string
		for _, w := range writers {
			keys, refused, err := w.end()
			if err != nil {
				return err
			}
			acknowledged = append(acknowledged, keys...)
			c.add(kind, "openings refused", refused)
		}
		c.add(kind, "acknowledged writes", len(acknowledged))
		if err := c.sweepAmongWriters(kind, path, aside); err != nil {
			return err
		}
		there, err := keysIn(path)
		if err != nil {
			return err
		}
		var lost []string
		for _, key := range acknowledged {
			if !there[key] && !aside[key] {
				lost = append(lost, key)
			}
		}
		if len(lost) > 0 || len(acknowledged) == 0 {
			return fmt.Errorf("of %d acknowledged writes these are lost: %q", len(acknowledged), lost)
		}
		return nil
	})
}

// add counts several things.
func (c *campaign) add(kind, what string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count(kind).notes[what] += n
}

// never is an operation that a compaction of a small store does not come to.
const never = 1000

// afterExchange is the first operation after the exchange in a rewrite of a store.
func (c *campaign) afterExchange(s *subject) (int, error) {
	ops, err := c.operations(s, ModeRewrite)
	at := slices.IndexFunc(ops, func(op replace.Op) bool { return op.Kind == replace.OpExchange })
	if err == nil && at < 0 {
		err = errors.New("nothing is exchanged")
	}
	return at + 1, err
}

// aimedRounds are killed after the exchange whatever the randomness says. The
// first is sure to have something to rewrite.
const aimedRounds = 2

// compactAmongWriters compacts once the lock can be had, in one way or another,
// and sweeps if that was killed.
func (c *campaign) compactAmongWriters(kind, path string, round, exchanged int, aside map[string]bool, random *rand.Rand) error {
	// Where files cannot be exchanged, a kill between the rename and the spoiling
	// loses what is written then: that mode is not killed.
	mode, at := tortureModes()[random.IntN(3)], never
	if mode == ModePunch && random.IntN(2) == 0 {
		at = random.IntN(4)
	}
	if mode == ModeRewrite {
		// Mostly after the exchange, when the old file is not spoilt yet.
		at = []int{never, random.IntN(16), exchanged, exchanged + 1, exchanged + 2}[random.IntN(5)]
	}
	if round < aimedRounds {
		mode, at = ModeRewrite, exchanged+round
	}
	for deadline := time.Now().Add(time.Minute); ; {
		err := perform(fmt.Sprintf("%s %s %d", roleCompact, mode, at), path)
		switch {
		case err == nil:
			c.note(kind, "compactions that ended")
			return nil
		case wasKilled(err):
			c.note(kind, "compactions that were killed")
			time.Sleep(time.Duration(random.Int64N(int64(80 * time.Millisecond)))) // until the next start
			return c.sweepAmongWriters(kind, path, aside)
		case !strings.Contains(err.Error(), "it is locked by") || time.Now().After(deadline):
			return err
		}
		c.note(kind, "compactions that found it locked")
	}
}

// sweepAmongWriters sweeps until nothing is in the way. What was written to an
// old file, after a compaction was killed, is put aside.
func (c *campaign) sweepAmongWriters(kind, path string, aside map[string]bool) error {
	for deadline := time.Now().Add(time.Minute); ; {
		_, err := sweepHooked(path, nil)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, sdk.ErrBusy) && time.Now().Before(deadline):
			c.note(kind, "sweeps that found an old file in use")
		case strings.Contains(err.Error(), "was written to after it had been replaced"):
			kept, globErr := filepath.Glob(filepath.Join(filepath.Dir(path), ".a.db.wring-*.tmp"))
			if globErr != nil || len(kept) != 1 || !strings.Contains(err.Error(), kept[0]) {
				return fmt.Errorf("kept are %q: %w", kept, err)
			}
			keys, err := takeAside(kept[0])
			if err != nil {
				return err
			}
			for key := range keys {
				aside[key] = true
			}
			c.note(kind, "old files that were kept, with what was written to them")
		default:
			return err
		}
	}
}

// takeAside returns the keys in an old file and removes it. Other writers may
// wait for its lock still: they must not write to it any more.
func takeAside(path string) (map[string]bool, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	spoilt := bytes.Repeat([]byte{0xFF}, 3*os.Getpagesize())
	if _, err := f.WriteAt(spoilt, 0); err != nil {
		return nil, err
	}
	aside := filepath.Join(filepath.Dir(path), "aside")
	if err := errors.Join(os.WriteFile(aside, content, 0o600), os.Remove(path)); err != nil {
		return nil, err
	}
	keys, err := keysIn(aside)
	return keys, errors.Join(err, os.Remove(aside))
}

// keysIn are the keys that writers have written to a file, which is sound.
func keysIn(path string) (map[string]bool, error) {
	db, err := bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true, Timeout: 10 * time.Second})
	if err != nil {
		return nil, err
	}
	keys := map[string]bool{}
	err = db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			return err
		}
		b := tx.Bucket([]byte("written"))
		if b == nil {
			return nil
		}
		return b.ForEach(func(k, _ []byte) error {
			keys[string(k)] = true
			return nil
		})
	})
	return keys, errors.Join(err, db.Close())
}

// writerProcess is a process that appends.
type writerProcess struct {
	*process
	read sync.WaitGroup

	acknowledged []string
	refused      int
	strange      []string
}

func (c *campaign) startWriter(name, path string) *writerProcess {
	w := &writerProcess{process: start(c.t, roleAppend+" "+name, path, 0)}
	w.read.Go(func() {
		for lines := bufio.NewScanner(w.stdout); lines.Scan(); {
			switch word, rest, _ := strings.Cut(lines.Text(), " "); word {
			case "acknowledged":
				w.acknowledged = append(w.acknowledged, rest)
			case "refused":
				w.refused++
			default:
				w.strange = append(w.strange, lines.Text())
			}
		}
	})
	return w
}

func (w *writerProcess) end() (acknowledged []string, refused int, err error) {
	err = w.stdin.Close()
	w.read.Wait()
	if err := errors.Join(err, w.cmd.Wait()); err != nil || len(w.strange) > 0 {
		return nil, 0, fmt.Errorf("a writer says %q: %w", w.strange, err)
	}
	return w.acknowledged, w.refused, nil
}
