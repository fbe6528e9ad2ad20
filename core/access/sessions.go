package access

import (
	"slices"
	"sync"
	"time"
)

const (
	// sessionLife is how long a browser stays logged in.
	sessionLife = 12 * time.Hour
	// maxSessions bounds how many there are at a time. The one that ends first
	// gives way to one more.
	maxSessions = 1000
)

// session is one browser that has shown a token. It has no scope of its own, but
// that of the token, and ends with it.
type session struct {
	token digest
	ends  time.Time
}

// sessions are kept in memory, by the digests of their secrets: when the host
// starts anew, people log in again.
type sessions struct {
	mu   sync.Mutex
	open map[digest]session
}

// begin starts a session and returns its secret.
func (s *sessions) begin(token digest, now time.Time) (secret string) {
	secret = newSecret()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = make(map[digest]session)
	}
	for key, one := range s.open {
		if !now.Before(one.ends) {
			delete(s.open, key)
		}
	}
	if len(s.open) >= maxSessions {
		s.dropFirst()
	}
	s.open[digestOf(secret)] = session{token: token, ends: now.Add(sessionLife)}
	return secret
}

func (s *sessions) dropFirst() {
	var first digest
	var ends time.Time
	for key, one := range s.open {
		if ends.IsZero() || one.ends.Before(ends) || one.ends.Equal(ends) && slices.Compare(key[:], first[:]) < 0 {
			first, ends = key, one.ends
		}
	}
	delete(s.open, first)
}

// find returns the digest of the token that a session was begun with.
func (s *sessions) find(key digest, now time.Time) (token digest, found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, found := s.open[key]
	if found && !now.Before(one.ends) {
		delete(s.open, key)
		found = false
	}
	return one.token, found
}

func (s *sessions) end(key digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, key)
}
