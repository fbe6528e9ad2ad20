package access

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// maxConnections bounds how many clients are connected over TCP at a time: each
// takes a file, and files are what stores need. maxFromOne are those of one
// address, or one network of IPv6, so that nobody can take all places alone.
const (
	maxConnections = 512
	maxFromOne     = maxConnections / 4
)

// Limit accepts no more clients of a TCP listener while too many are there, and
// hangs up on those of an address that has too many, which it logs now and then.
func Limit(l net.Listener, logger hclog.Logger) net.Listener {
	return &limited{
		Listener: l, logger: logger, places: make(chan struct{}, maxConnections), fromOne: maxFromOne,
		taken: map[netip.Addr]int{}, closed: make(chan struct{}),
	}
}

type limited struct {
	net.Listener
	logger  hclog.Logger
	crowds  troubles
	places  chan struct{} // one is in it for each client
	fromOne int
	once    sync.Once
	closed  chan struct{}

	mu    sync.Mutex
	taken map[netip.Addr]int // places, by network
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	for {
		connection, err := l.Listener.Accept()
		if err != nil {
			<-l.places
			return nil, err
		}
		tcp, ok := connection.(*net.TCPConn)
		if !ok {
			<-l.places
			return connection, nil
		}
		from := networkOf(tcp)
		if !l.enter(from) {
			if l.crowds.say(time.Now()) {
				l.logger.Warn("too many connections from one address: more are hung up on", "address", from, "most", l.fromOne)
			}
			_ = tcp.Close()
			continue
		}
		// The server finds all the abilities of TCP in it, such as to close one way.
		return &client{tcp, sync.OnceFunc(func() { l.leave(from); <-l.places })}, nil
	}
}

// networkOf is where a client comes from, as failures are counted.
func networkOf(c net.Conn) netip.Addr {
	address, _ := netip.ParseAddrPort(c.RemoteAddr().String())
	return network(address.Addr())
}

func (l *limited) enter(from netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.taken[from] >= l.fromOne {
		return false
	}
	l.taken[from]++
	return true
}

func (l *limited) leave(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.taken[from]--; l.taken[from] == 0 {
		delete(l.taken, from)
	}
}

// Close implements net.Listener.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// client gives its place back when its connection ends.
type client struct {
	*net.TCPConn
	leave func()
}

// Close implements net.Conn.
func (c *client) Close() error {
	defer c.leave()
	return c.TCPConn.Close()
}
