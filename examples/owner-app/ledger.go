package main

import "sync"

// version numbers the writes to a key, from 1; a deletion has a minus sign. 0 is
// what was there before, whatever it was.
type version int32

func (v version) number() version { return max(v, -v) }

// entry is what is known of a key.
type entry struct {
	acked version // the last write that was acknowledged
	tried version // the last that was sent; another one only while it is under way or in doubt
}

// ledger is the account of writes, kept by those who send them.
type ledger struct {
	mu    sync.Mutex
	keys  []entry
	acked int // writes in all
}

// try enters a write before it is sent. A key of which the last write is in doubt
// is not written any more, and ok is false: that write may still come.
func (l *ledger) try(key int, deletion bool) (v version, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := &l.keys[key]
	if e.tried != e.acked {
		return 0, false
	}
	e.tried = e.acked.number() + 1
	if deletion {
		e.tried = -e.tried
	}
	return e.tried, true
}

// ack enters that the last write of a key was acknowledged.
func (l *ledger) ack(key int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keys[key].acked = l.keys[key].tried
	l.acked++
}

func (l *ledger) look(key int) entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.keys[key]
}

// allows says whether a read may find what it found, a version or nothing, when
// the key was as before when it began and as after when it had ended.
func allows(before, after entry, found version, exists bool) bool {
	if exists {
		return found >= before.acked.number() && found <= after.tried.number()
	}
	// Of more than one write in between it is not known whether it was a deletion.
	return before.acked <= 0 || after.tried < 0 || after.tried.number() > before.acked.number()+1
}
