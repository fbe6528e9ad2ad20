//go:build linux

package live

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/wringdb/wring/plugins/bolt/internal/page"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
)

// mistakes are made on purpose: a campaign that does not notice them proves
// nothing.
func (c *campaign) mistakes() {
	const kind, tries = "a mistake that must be noticed", 10
	var cases []func()
	for mistake, m := range map[string]struct{ site, says string }{
		mistakeEager:  {"", "are lost"},
		mistakeSilent: {"", "are invented"},
		// The new file is in place.
		mistakeRound: {"after: syncdir 1", "are lost"},
	} {
		cases = append(cases, func() {
			c.one(kind, mistake, func(string, *rand.Rand) error {
				var found error
				for i := range tries {
					if found != nil {
						break
					}
					found = c.try(fmt.Sprint(mistake, i), func(dir string, random *rand.Rand) error {
						return c.mistaken(kind, dir, mistake, m.site, random)
					})
				}
				var v *violation
				if found == nil || !errors.As(found, &v) || !strings.Contains(found.Error(), m.says) {
					return fmt.Errorf("found was: %w", found)
				}
				c.t.Logf("%s: %v", mistake, found)
				return nil
			})
		})
	}
	c.parallel(cases)
}

func (c *campaign) mistaken(kind, dir, mistake, site string, random *rand.Rand) error {
	p := part{Way: wayExchange, Mistake: mistake, Site: site, Nth: 1}
	s, err := lay(dir, p)
	if err != nil {
		return err
	}
	var delay func()
	if site == "" {
		delay = func() { time.Sleep(time.Duration(random.Int64N(int64(300 * time.Millisecond)))) }
	}
	return c.kill(kind, s, p, delay)
}

// lastRoundLeftOut puts the copy back to what it was before writers were held up.
type lastRoundLeftOut struct {
	temp   string
	before page.Meta
}

func (r *lastRoundLeftOut) at(site string, op replace.Op) error {
	switch {
	case op.Kind == replace.OpCreate:
		r.temp = op.Path
	case op.Kind == replace.OpRename:
		r.temp = op.To
	case site == "prepared: syncdir 1":
		return r.look()
	case site == "hold: sync 1": // both metas are written
		return r.back()
	}
	return nil
}

func (r *lastRoundLeftOut) look() (err error) {
	f, err := os.Open(r.temp)
	if err != nil {
		return err
	}
	defer f.Close()
	r.before, err = page.ReadMeta(f)
	return err
}

func (r *lastRoundLeftOut) back() error {
	f, err := os.OpenFile(r.temp, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	metas, err := page.ReadMetas(f, r.before.PageSize)
	if err != nil {
		return err
	}
	for _, now := range metas {
		meta := r.before
		meta.TxID, meta.Page = now.TxID, now.Page
		b := make([]byte, page.HeaderSize+page.MetaSize)
		page.PutMeta(b, meta)
		if _, err := f.WriteAt(b, meta.Offset(meta.Page)); err != nil {
			return err
		}
	}
	return nil
}
