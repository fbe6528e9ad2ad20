package sdk

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	// dialTimeout is how long an owner may take to answer when it is attached to.
	dialTimeout = 10 * time.Second
	// maxSocketPath is the longest path of a unix socket, in bytes, that every
	// system takes.
	maxSocketPath = 103
)

// Dial attaches to an owner that listens on a unix socket. hostVersion is told
// to it for messages to people. A socket that is missing is ErrNotFound, one
// that nobody answers on is ErrConnection, both at once.
func Dial(ctx context.Context, socket, hostVersion string) (*Client, error) {
	doing := "attach to owner at " + socket
	limited, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := dialSocket(limited, doing, socket)
	if err != nil {
		return nil, err
	}
	client, err := dialOver(limited, conn, &Client{peer: "the owner at " + socket}, thisHost(hostVersion))
	if err != nil {
		if ctx.Err() == nil && limited.Err() != nil {
			return nil, Errorf(ErrConnection, "%s: no answer within %s", doing, dialTimeout).
				WithHint("the owner may hang or be stopped: look at it, or restart it")
		}
		return nil, err
	}
	return client, nil
}

// dialOver makes a Client of one connection, and closes that when it fails.
func dialOver(ctx context.Context, conn net.Conn, c *Client, host peer) (*Client, error) {
	transport, err := grpc.NewClient("passthrough:///owner", append(dialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(once(conn)))...)
	if err != nil {
		_ = conn.Close()
		return nil, Errorf(ErrInternal, "%w", err)
	}
	c.hangUp = sync.OnceValue(func() error {
		err := transport.Close()
		_ = conn.Close() // gRPC may never have asked for it
		return err
	})
	client, err := newClient(ctx, c, transport, host)
	if err != nil {
		_ = c.hangUp()
		return nil, err
	}
	return client, nil
}

// once hands out a connection a single time: a backend that has gone away and
// come back is another one, and has to be described anew.
func once(conn net.Conn) func(context.Context, string) (net.Conn, error) {
	taken := make(chan struct{}, 1)
	taken <- struct{}{}
	return func(context.Context, string) (net.Conn, error) {
		select {
		case <-taken:
			return conn, nil
		default:
			return nil, errors.New("the connection has ended")
		}
	}
}

// dialSocket connects, or says why not in words.
func dialSocket(ctx context.Context, doing, socket string) (net.Conn, error) {
	if len(socket) > maxSocketPath {
		return nil, Errorf(ErrInvalidOption, "%s: the path has %d bytes, a unix socket's may have %d", doing, len(socket), maxSocketPath).
			WithHint("choose a shorter path")
	}
	info, err := os.Stat(socket)
	if err == nil && info.Mode().Type() != fs.ModeSocket {
		return nil, Errorf(ErrNotFound, "%s: it is no socket but %s", doing, kindOfFile(info)).
			WithHint("set `owner` to the socket that the application listens on")
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", socket)
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() != nil:
		return nil, cancelled(ctx, doing)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return nil, Errorf(ErrNotFound, "%s: there is no such socket", doing).
			WithHint("start the application that owns the store, or correct `owner`")
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, Errorf(ErrConnection, "%s: nobody listens: the application that owns the store has ended", doing).
			WithHint("start the application again")
	case errors.Is(err, fs.ErrPermission):
		return nil, Errorf(ErrPermission, "%s: %w", doing, err).
			WithHint("run wring as the user that owns the socket, or as root; this is user %d", os.Geteuid())
	default:
		return nil, Errorf(ErrConnection, "%s: %w", doing, err)
	}
}

func kindOfFile(info fs.FileInfo) string {
	if info.IsDir() {
		return "a directory"
	}
	return "a file"
}
