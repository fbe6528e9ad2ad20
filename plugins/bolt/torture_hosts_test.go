//go:build linux

package bolt

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
)

// twoHosts lets two hosts compact one store.
func (c *campaign) twoHosts() {
	p := c.build()
	s := c.subjects[0]
	for _, other := range c.subjects {
		if strings.Contains(other.name, "several") {
			s = other
		}
	}
	for i := range 4 {
		c.one("two hosts: one is at it", fmt.Sprint(i), func(dir string, _ *rand.Rand) error { return c.secondHost(p, dir, s, i%2 == 0) })
	}
	const kind = "two hosts: at the same moment"
	for i := range 30 {
		c.one(kind, fmt.Sprint(i), func(dir string, _ *rand.Rand) error { return c.race(p, dir, s, kind) })
	}
}

// secondHost comes while another host compacts, slowly.
func (c *campaign) secondHost(p programs, dir string, s *subject, running bool) error {
	path, home, err := s.lay(dir)
	if err != nil {
		return err
	}
	second := filepath.Join(dir, "second")
	if err := os.Mkdir(second, 0o700); err != nil {
		return err
	}
	slow, err := c.configure(home, path, `limit = "4MiB/s"`)
	if err != nil {
		return err
	}
	quick, err := c.configure(second, path, "")
	if err != nil {
		return err
	}
	hosts := make([]*wring, 2)
	for i, config := range []string{slow, quick} {
		if hosts[i], err = p.run(filepath.Dir(config), config); err != nil {
			return err
		}
		defer func() { _ = hosts[i].stop() }()
	}
	first, err := p.start(home, "compact", "--json", "--force", "--config", slow, "s")
	if err != nil {
		return err
	}
	if err := until("the first compacts", func() bool {
		temps, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".a.db.wring-*.tmp"))
		return err == nil && len(temps) > 0 || !first.running()
	}); err != nil {
		return err
	}
	args := []string{"compact", "--json", "--force", path}
	if running {
		args = []string{"compact", "--json", "--force", "--config", quick, "s"}
	}
	late, err := p.start(second, args...)
	if err != nil {
		return err
	}
	a, status, err := late.answer()
	if err != nil || status != 3 || a.Outcome != "deferred" || a.Hint == "" || !strings.Contains(a.Error, "is compacting it") {
		return fmt.Errorf("the second ends with status %d, %+v, error %w", status, a, err)
	}
	if a, status, err := first.answer(); err != nil || status != 0 || a.Outcome != "compacted" {
		return fmt.Errorf("the first ends with status %d, %+v, error %w", status, a, err)
	}
	return c.check(path, s)
}

// race starts two at once: at least one compacts, and whoever does not has
// deferred, or has found nothing to do.
func (c *campaign) race(p programs, dir string, s *subject, kind string) error {
	path, home, err := s.lay(dir)
	if err != nil {
		return err
	}
	var both [2]*wring
	for i := range both {
		if both[i], err = p.start(home, "compact", "--json", "--force", path); err != nil {
			return err
		}
	}
	compacted := 0
	for _, w := range both {
		a, status, err := w.answer()
		switch {
		case err != nil:
			return err
		case status == 0 && a.Outcome == "compacted":
			compacted++
		case status == 0 && a.Outcome == "no_op", status == 3 && a.Outcome == "deferred":
		default:
			return fmt.Errorf("one ends with status %d, %+v", status, a)
		}
		c.note(kind, a.Outcome)
	}
	if compacted != 1 {
		return fmt.Errorf("%d compacted", compacted)
	}
	return c.check(path, s)
}

// noRoom is a file system without room for a second file: a rewrite is
// deferred, and holes give the space back, so that writers can go on.
func (c *campaign) noRoom() {
	if os.Getuid() != 0 {
		bolttest.Skip(c.t, "only root can mount a file system")
	}
	p := c.build()
	disk := tmpfs(c.t, "128m")
	path := filepath.Join(disk, "a.db")
	if err := bolttest.Generate(path, bolttest.Spec{Seed: c.seed, LiveBytes: 16 << 20, GarbageRatio: 0.6, Shape: bolttest.ShapeAppend}); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		c.t.Fatal(err)
	}
	s := &subject{name: "append", digest: digestOf(c.t, path)}
	c.one("a file system with no room at all", "rewrite, punch, write", func(home string, _ *rand.Rand) error {
		return c.outOfRoom(p, home, disk, path, s)
	})
}

func (c *campaign) outOfRoom(p programs, home, disk, path string, s *subject) error {
	free, err := freeIn(disk)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(disk, "hog"), make([]byte, free), 0o600); err != nil {
		return err
	}
	if free, err := freeIn(disk); err != nil || free != 0 {
		return fmt.Errorf("%d bytes are free, error %w", free, err)
	}
	compact := func(mode string) (answer, int, error) {
		w, err := p.start(home, "compact", "--json", "--force", "--mode", mode, path)
		if err != nil {
			return answer{}, 0, err
		}
		return w.answer()
	}
	a, status, err := compact(ModeRewrite)
	sentence := regexp.MustCompile(`the new file needs \d+\.\d MiB beside it, and 0 B are free`)
	if err != nil || status != 3 || a.Outcome != "deferred" || !sentence.MatchString(a.Error) || !strings.Contains(a.Hint, ModePunch) {
		return fmt.Errorf("rewrite: status %d, %+v, error %w", status, a, err)
	}
	c.t.Logf("rewrite is deferred (%s): %s; %s", a.Reason, a.Error, a.Hint)
	a, status, err = compact(ModePunch)
	if err != nil || status != 0 || a.Outcome != "compacted" || a.ReclaimedBytes < 8<<20 {
		return fmt.Errorf("punch: status %d, %+v, error %w", status, a, err)
	}
	now, err := freeIn(disk)
	if err != nil || now < a.ReclaimedBytes {
		return fmt.Errorf("%d bytes are free, %d were reclaimed, error %w", now, a.ReclaimedBytes, err)
	}
	c.t.Logf("punch gives %d bytes back; %d are free", a.ReclaimedBytes, now)
	if digest, err := bolttest.Digest(path); err != nil || digest != s.digest {
		return fmt.Errorf("the content has the digest %s, error %w, had %s", digest, err, s.digest)
	}
	if err := overwriteStrictly(path, 100_000); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(disk, "hog")); err != nil {
		return err
	}
	return c.checkWritten(path)
}

// perCommit is how many writes a transaction has: bbolt looks at the whole file
// after each.
const perCommit = 500

// overwriteStrictly puts keys, and overwrites them.
func overwriteStrictly(path string, writes int) error {
	db, err := bbolt.Open(path, 0, nil)
	if err != nil {
		return err
	}
	db.StrictMode = true
	for done := 0; done < writes && err == nil; done += perCommit {
		err = db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("written"))
			if err != nil {
				return err
			}
			for i := done; i < done+perCommit; i++ {
				if err := b.Put(fmt.Appendf(nil, "%d", i%20_000), fmt.Appendf(nil, "%0100d", i)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return errors.Join(err, db.Close())
}

// checkWritten looks for what was written last.
func (c *campaign) checkWritten(path string) error {
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); err != nil || len(left) > 0 {
		return fmt.Errorf("left were %q, error %w", left, err)
	}
	keys, err := keysIn(path)
	if err != nil || len(keys) != 20_000 {
		return fmt.Errorf("%d keys are there, error %w", len(keys), err)
	}
	db, err := bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	return errors.Join(db.View(func(tx *bbolt.Tx) error {
		if got := tx.Bucket([]byte("written")).Get([]byte("19999")); string(got) != fmt.Sprintf("%0100d", 99_999) {
			return fmt.Errorf("the last write is %q", got)
		}
		return nil
	}), db.Close())
}
