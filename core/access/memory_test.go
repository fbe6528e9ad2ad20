package access

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

func TestFailuresOfAnAddressAreBounded(t *testing.T) {
	var f failures
	guesser, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	now := morning
	for i := range failureBurst {
		wait, last := f.take(guesser, now)
		if wait != 0 || last != (i == failureBurst-1) {
			t.Fatalf("failure %d: wait %v, last %t", i+1, wait, last)
		}
	}
	for range 1000 {
		if wait, last := f.take(guesser, now); wait != failurePause || last {
			t.Fatalf("one too many: wait %v, last %t", wait, last)
		}
	}
	if wait, _ := f.take(other, now); wait != 0 {
		t.Errorf("another address waits %v", wait)
	}
	// Those that were refused are not held against it.
	now = now.Add(failurePause)
	if wait, last := f.take(guesser, now); wait != 0 || !last {
		t.Errorf("after a pause: wait %v, last %t", wait, last)
	}
	if wait, _ := f.take(guesser, now.Add(failurePause/2)); wait != failurePause/2 {
		t.Errorf("within the next: wait %v", wait)
	}
	now = now.Add(time.Hour)
	for range failureBurst {
		if wait, _ := f.take(guesser, now); wait != 0 {
			t.Errorf("after an hour: wait %v", wait)
		}
	}
}

// A client has all addresses of a network of IPv6, and an IPv4 address has two
// forms.
func TestFailuresAreOfNetworks(t *testing.T) {
	for _, same := range [][2]string{
		{"2001:db8::1", "2001:db8::ffff:1"}, {"192.0.2.1", "::ffff:192.0.2.1"}, {"fe80::1%eth0", "fe80::2%eth1"},
	} {
		if a, b := network(netip.MustParseAddr(same[0])), network(netip.MustParseAddr(same[1])); a != b {
			t.Errorf("%v: %v and %v", same, a, b)
		}
	}
	if a, b := network(netip.MustParseAddr("2001:db8:0:1::1")), network(netip.MustParseAddr("2001:db8:0:2::1")); a == b {
		t.Errorf("two networks are %v", a)
	}
	var f failures
	f.take(netip.Addr{}, morning) // of a peer without an address
}

func TestFailuresTakeBoundedMemory(t *testing.T) {
	var f failures
	guesser := netip.MustParseAddr("192.0.2.1")
	for i := range uint32(5 * maxAddresses) {
		f.take(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 10<<24+i))), morning)
		// One that goes on is remembered whoever else comes.
		if wait, _ := f.take(guesser, morning); i > failureBurst && wait == 0 {
			t.Fatalf("after %d others the guesser is forgotten", i)
		}
		if n := len(f.younger) + len(f.older); n > 2*maxAddresses {
			t.Fatalf("%d addresses are remembered", n)
		}
	}
}

func TestSessionsEndAndAreBounded(t *testing.T) {
	var s sessions
	token := digestOf("token")
	first := digestOf(s.begin(token, morning))
	if got, found := s.find(first, morning.Add(sessionLife-1)); !found || got != token {
		t.Errorf("within its life: %t", found)
	}
	if _, found := s.find(first, morning.Add(sessionLife)); found || len(s.open) != 0 {
		t.Errorf("after its life: %t, %d remembered", found, len(s.open))
	}
	first = digestOf(s.begin(token, morning))
	for range maxSessions {
		s.begin(token, morning.Add(time.Second))
	}
	if _, found := s.find(first, morning.Add(time.Second)); found || len(s.open) != maxSessions {
		t.Errorf("of %d sessions the first is there: %t", len(s.open), found)
	}
	last := digestOf(s.begin(token, morning.Add(2*sessionLife)))
	if len(s.open) != 1 {
		t.Errorf("%d sessions remain when all but one have ended", len(s.open))
	}
	s.end(last)
	if _, found := s.find(last, morning); found {
		t.Error("a session that was ended is there")
	}
}
