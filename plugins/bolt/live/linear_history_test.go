package live_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
)

// event is a transaction on a counter: it saw a state or, if it wrote, made it of
// the one before. It took effect at some moment between two moments of a clock that
// all share.
type event struct {
	began, ended int64
	state        uint64
	wrote        bool
}

type history []event

// linear says whether the transactions can be brought into one order in which each
// sees what the one before has left, and in which none comes before another that
// ended before it began. Since each write names the state that it makes, there is
// such an order if and only if the states of the writes are 1, 2, 3…, and states
// never go back from what has ended to what begins later.
func (h history) linear() error {
	var writes history
	for _, e := range h {
		if e.wrote {
			writes = append(writes, e)
		}
	}
	slices.SortFunc(writes, func(a, b event) int { return cmp.Compare(a.state, b.state) })
	for i, w := range writes {
		if w.state != uint64(i+1) {
			return fmt.Errorf("the write %+v: there should be one that made state %d", w, i+1)
		}
	}
	// What is begun at a moment must see the newest of what has ended before.
	begins, ends := slices.Clone(h), slices.Clone(h)
	slices.SortFunc(begins, func(a, b event) int { return cmp.Compare(a.began, b.began) })
	slices.SortFunc(ends, func(a, b event) int { return cmp.Compare(a.ended, b.ended) })
	var newest event
	for _, e := range begins {
		for len(ends) > 0 && ends[0].ended < e.began {
			if ends[0].state > newest.state {
				newest = ends[0]
			}
			ends = ends[1:]
		}
		if e.state < newest.state || e.wrote && e.state == newest.state {
			return fmt.Errorf("%+v began after %+v had ended, and did not see it", e, newest)
		}
		if e.state > uint64(len(writes)) {
			return fmt.Errorf("%+v saw what nobody has written", e)
		}
		if e.state > 0 && !e.wrote && writes[e.state-1].began > e.ended {
			return fmt.Errorf("%+v saw %+v, which began later", e, writes[e.state-1])
		}
	}
	return nil
}

func TestHistoryLinear(t *testing.T) {
	write := func(began, ended int64, state uint64) event { return event{began, ended, state, true} }
	read := func(began, ended int64, state uint64) event { return event{began, ended, state, false} }
	for name, c := range map[string]struct {
		h    history
		want bool
	}{
		"nothing":                               {history{}, true},
		"one after the other":                   {history{read(1, 2, 0), write(3, 4, 1), read(5, 6, 1), write(7, 8, 2)}, true},
		"at once, a read sees the write":        {history{write(1, 4, 1), read(2, 3, 1)}, true},
		"at once, a read does not see it":       {history{write(1, 4, 1), read(2, 3, 0)}, true},
		"at once, the later one first":          {history{write(1, 6, 2), write(2, 5, 1), read(3, 4, 1)}, true},
		"an acknowledged write is missed":       {history{write(1, 2, 1), read(3, 4, 0)}, false},
		"a read goes back":                      {history{write(1, 9, 1), read(2, 3, 1), read(4, 5, 0)}, false},
		"a write is lost":                       {history{write(1, 2, 1), write(3, 4, 1)}, false},
		"two writes make the same":              {history{write(1, 4, 1), write(2, 3, 1)}, false},
		"a write is counted twice":              {history{write(1, 2, 1), write(3, 4, 3)}, false},
		"a write before one that has ended":     {history{write(1, 2, 2), write(3, 4, 1)}, false},
		"a write that did not see what is read": {history{write(1, 2, 1), write(3, 10, 3), write(4, 11, 2), read(5, 6, 2), write(7, 8, 4)}, true},
		"a write after a read that saw it":      {history{write(1, 9, 2), read(2, 3, 1), write(4, 5, 1)}, false},
		"a read sees what is written later":     {history{read(1, 2, 1), write(3, 4, 1)}, false},
		"what was rolled back is read":          {history{write(1, 2, 1), read(3, 4, unwanted)}, false},
	} {
		if err := c.h.linear(); (err == nil) != c.want {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
