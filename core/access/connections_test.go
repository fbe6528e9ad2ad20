package access

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
)

func TestLimit(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, ok := Limit(inner, hclog.NewNullLogger()).(*limited)
	if !ok {
		t.Fatal("not limited")
	}
	defer l.Close()
	l.places = make(chan struct{}, 1)
	dial := func() net.Conn {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	defer dial().Close()
	defer dial().Close()
	first, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := first.(interface{ CloseWrite() error }); !ok {
		t.Error("the connection cannot be closed one way")
	}
	if len(l.places) != cap(l.places) {
		t.Fatal("there is a place for a second")
	}
	// A place is given back once, however often the connection is closed.
	_ = first.Close()
	_ = first.Close()
	second, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	// Who waits for a place learns that there is nothing to wait for.
	waited := make(chan error, 1)
	go func() { _, err := l.Accept(); waited <- err }()
	_ = l.Close()
	if err := <-waited; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept() of a closed listener = %v", err)
	}
	_ = second.Close()
	if len(l.places) != 0 {
		t.Errorf("%d places are taken when all have left", len(l.places))
	}
}

// One address cannot take all places.
func TestPlacesOfOneAddress(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	l, ok := Limit(inner, hclog.New(&hclog.LoggerOptions{Output: &log})).(*limited)
	if !ok {
		t.Fatal("not limited")
	}
	defer l.Close()
	l.fromOne = 2
	dial := func(from string) net.Conn {
		c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	accept := func() net.Conn {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	dial("127.0.0.1")
	dial("127.0.0.1")
	first := accept()
	accept()
	refused := dial("127.0.0.1")
	dial("127.0.0.1")
	other := dial("127.0.0.2")
	if got := accept(); got.RemoteAddr().String() != other.LocalAddr().String() {
		t.Errorf("accepted is %s, want the other address", got.RemoteAddr())
	}
	if n, err := refused.Read(make([]byte, 1)); err == nil {
		t.Errorf("who has too many places gets %d bytes", n)
	}
	if n := strings.Count(log.String(), "too many connections"); n != 1 {
		t.Errorf("in a minute it was told %d times:\n%s", n, log.String())
	}
	if len(l.places) != 3 {
		t.Errorf("%d places are taken, want 3", len(l.places))
	}
	_ = first.Close()
	again := dial("127.0.0.1")
	if got := accept(); got.RemoteAddr().String() != again.LocalAddr().String() {
		t.Errorf("accepted is %s, want the one that has a place again", got.RemoteAddr())
	}
}
