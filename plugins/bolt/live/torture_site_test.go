//go:build linux

package live

import (
	"errors"
	"fmt"
	"sync"

	"github.com/wringdb/wring/plugins/bolt/internal/replace"
)

// sites name the operations of a compaction, by what it is at, so that one can be
// met again in another compaction.
type sites struct {
	way, path string

	mu    sync.Mutex
	stage string
	met   map[string]int
}

// Stages of a compaction. Punching is one stage.
const (
	stageCopy     = "copy"
	stagePrepared = "prepared"
	stageHold     = "hold" // writers wait
	stageAfter    = "after"
	stageDiscard  = "discard"
)

// mostAlike is up to which number operations of one kind and stage are told
// apart.
const mostAlike = 4

// reset is called between two compactions.
func (s *sites) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stage, s.met = stageCopy, map[string]int{}
}

// at returns the name of an operation that is met now.
func (s *sites) at(op replace.Op) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case op.Kind == replace.OpCreate:
		s.stage, s.met = stageCopy, map[string]int{} // perhaps another attempt
	case op.Kind == replace.OpUnlink && s.stage != stageAfter:
		s.stage = stageDiscard
	case op.Kind == replace.OpSyncDir && s.stage == stageHold:
		s.stage = stageAfter
	case op.Kind == replace.OpSyncDir && s.stage == stageCopy:
		s.stage = stagePrepared
	case op.Kind == replace.OpSync && s.stage == stagePrepared:
		s.stage = stageCopy // another round
	case s.stage == stagePrepared:
		s.stage = stageHold
	}
	name := fmt.Sprintf("%s: %s", s.stage, op.Kind)
	if s.met == nil {
		s.met = map[string]int{}
	}
	s.met[name] = min(s.met[name]+1, mostAlike)
	return fmt.Sprintf("%s %d", name, s.met[name])
}

// hook calls do before each operation.
func (s *sites) hook(do func(site string, op replace.Op) error) replace.Hook {
	var mu sync.Mutex
	return func(op replace.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if err := do(s.at(op), op); err != nil {
			return err
		}
		if s.way == wayRename && op.Kind == replace.OpExchange {
			return errors.ErrUnsupported
		}
		return nil
	}
}

// swaps says whether an operation puts the new file in place.
func (s *sites) swaps(op replace.Op) bool {
	return op.Kind == replace.OpExchange && s.way == wayExchange || op.Kind == replace.OpRename && op.To == s.path
}
