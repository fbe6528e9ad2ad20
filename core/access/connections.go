package access

import (
	"net"
	"sync"
)

// maxConnections bounds how many clients are connected over TCP at a time: each
// takes a file, and files are what stores need.
const maxConnections = 512

// Limit accepts no more clients of a TCP listener while too many are there.
func Limit(l net.Listener) net.Listener {
	return &limited{Listener: l, places: make(chan struct{}, maxConnections), closed: make(chan struct{})}
}

type limited struct {
	net.Listener
	places chan struct{} // one is in it for each client
	once   sync.Once
	closed chan struct{}
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	leave := sync.OnceFunc(func() { <-l.places })
	connection, err := l.Listener.Accept()
	if err != nil {
		leave()
		return nil, err
	}
	if tcp, ok := connection.(*net.TCPConn); ok {
		// The server finds all the abilities of TCP in it, such as to close one way.
		return &client{tcp, leave}, nil
	}
	leave()
	return connection, nil
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
