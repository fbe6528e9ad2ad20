package access

import (
	"cmp"
	"net/netip"
	"sync"
	"time"

	"github.com/wringdb/wring/sdk"
)

const (
	// An address has so many failures at once, and one more after each pause.
	failureBurst = 10
	failurePause = 6 * time.Second
	// maxAddresses bounds each of the two generations that are remembered.
	maxAddresses = 4096
)

// failures bounds how often wrong secrets are looked at, by address. What it
// knows of an address is the time at which all its failures are forgiven, each
// counted as one pause.
//
// Its memory is bounded by forgetting: once a generation of addresses is full it
// becomes the older one, and what was the older one is forgotten. An address
// that is heard of again moves to the younger.
type failures struct {
	mu             sync.Mutex
	younger, older map[netip.Addr]time.Time
}

// take counts one more failure of an address. It returns how long the address
// has to wait when it has had too many; 0 when it has not. The failure that
// uses the last one up is told by last.
func (f *failures) take(address netip.Addr, now time.Time) (wait time.Duration, last bool) {
	address = network(address)
	f.mu.Lock()
	defer f.mu.Unlock()
	forgiven, known := f.younger[address]
	if !known {
		forgiven = f.older[address]
		if f.younger == nil || len(f.younger) >= maxAddresses {
			f.older, f.younger = f.younger, make(map[netip.Addr]time.Time)
		}
	}
	debt := max(forgiven.Sub(now), 0)
	if over := debt + failurePause - failureBurst*failurePause; over > 0 {
		f.younger[address] = forgiven // not counted: whoever goes on is let in again in time
		return over, false
	}
	debt += failurePause
	f.younger[address] = now.Add(debt)
	return 0, debt+failurePause > failureBurst*failurePause
}

// network is what one client has: an IPv4 address, or a network of 64 bits.
func network(address netip.Addr) netip.Addr {
	address = address.Unmap().WithZone("")
	if address.Is6() {
		if prefix, err := address.Prefix(64); err == nil {
			return prefix.Addr()
		}
	}
	return address
}

// troublePause is how often it is said that tokens cannot be read, or that an
// address has too many connections.
const troublePause = time.Minute

// troubles keeps a log from being filled with what goes on and on.
type troubles struct {
	mu   sync.Mutex
	said time.Time
}

// say says whether it is time to say it again.
func (t *troubles) say(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.said.IsZero() && now.Sub(t.said).Abs() < troublePause {
		return false
	}
	t.said = now
	return true
}

// troubleHint is what to do about tokens that cannot be read.
func troubleHint(err error) string {
	return cmp.Or(sdk.HintOf(err), "the file must be readable for the user that runs wring")
}
