package sdk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	wringv1 "github.com/wringdb/wring/sdk/proto/wring/v1"
)

const (
	// ownerDrain is how long calls in flight may take to clean up when the owner
	// ends.
	ownerDrain = 10 * time.Second
	// lastWord is how long answers may take to leave a server that ends.
	lastWord = 100 * time.Millisecond
)

// ListenAndServe serves a backend from inside the application that owns the
// store, on a unix socket (mode 0600) in a directory that only its user may
// write to; it makes the directory if there is none. Only the same user and
// root are let in. A socket that a dead process left is replaced.
//
// It returns nil when ctx has ended and the calls in flight, which are
// cancelled then, have cleaned up. Hosts come and go; none can end it. It logs
// to hclog.FromContext(ctx).
func ListenAndServe(ctx context.Context, socket string, b Backend) error {
	o, err := listen(ctx, socket, b)
	if err != nil {
		return err
	}
	return o.serve(ctx)
}

// owner is a server on a unix socket.
type owner struct {
	*server
	socket   string
	listener net.Listener
	lock     *heldLock
	health   *health.Server
	grpc     *grpc.Server
	patience time.Duration // with calls that clean up
}

// listen takes the socket; serve must follow, since it gives it back.
func listen(ctx context.Context, socket string, b Backend) (*owner, error) {
	doing := "listen on " + socket
	socket, err := filepath.Abs(socket)
	if err != nil {
		return nil, typed(ctx, doing, err)
	}
	if len(socket) > maxSocketPath {
		return nil, Errorf(ErrInvalidOption, "%s: the path has %d bytes, a unix socket's may have %d", doing, len(socket), maxSocketPath).
			WithHint("choose a shorter path")
	}
	dir := filepath.Dir(socket)
	if err := privateDir(doing, dir); err != nil {
		return nil, typed(ctx, doing, err)
	}
	// The lock, not the socket, says whether anybody lives here: so two that
	// start at once cannot both take a dead one's place.
	lockName := filepath.Join(dir, "."+filepath.Base(socket)+".lock")
	lock, err := lockFile(lockName, forServing, time.Now())
	if errors.Is(err, errLocked) {
		holder, _ := readHolder(lockName)
		return nil, Errorf(ErrBusy, "%s: %s listens there already", doing, holder).
			WithHint("stop %s, or choose another socket", holder)
	}
	if err != nil {
		return nil, typed(ctx, doing, err)
	}
	listener, err := bind(doing, socket)
	if err != nil {
		lock.release()
		return nil, typed(ctx, doing, err)
	}
	logger := hclog.FromContext(ctx)
	o := &owner{
		server:   newServer(b, logger),
		socket:   socket,
		listener: &sameUser{UnixListener: listener, socket: socket, logger: logger},
		lock:     lock,
		health:   health.NewServer(),
		grpc:     grpc.NewServer(serverOptions()...),
		patience: ownerDrain,
	}
	wringv1.RegisterBackendServiceServer(o.grpc, o.server)
	healthv1.RegisterHealthServer(o.grpc, o.health)
	o.health.SetServingStatus(HealthService, healthv1.HealthCheckResponse_SERVING)
	return o, nil
}

// privateDir makes sure that nobody else can put a socket of theirs into dir.
func privateDir(doing, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return Errorf(ErrPermission, "%s: others may write to %s (mode %#o)", doing, dir, mode).
			WithHint("use a directory of your own: mkdir -m 700 DIR, or chmod go-w %s", dir)
	}
	if uid, ok := ownerOf(info); ok && uid != os.Geteuid() && uid != 0 {
		return Errorf(ErrPermission, "%s: %s belongs to user %d, not to user %d", doing, dir, uid, os.Geteuid()).
			WithHint("use a directory of your own: mkdir -m 700 DIR")
	}
	return nil
}

func ownerOf(info fs.FileInfo) (uid int, ok bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(stat.Uid), true
}

// bind makes the socket, in the place of one that nobody answers on.
func bind(doing, socket string) (*net.UnixListener, error) {
	info, err := os.Lstat(socket)
	switch {
	case err == nil && info.Mode().Type() != fs.ModeSocket:
		return nil, Errorf(ErrInvalidOption, "%s: it is no socket but %s", doing, kindOfFile(info)).
			WithHint("choose another path; nothing was removed")
	case err == nil:
		if conn, err := net.Dial("unix", socket); err == nil {
			_ = conn.Close()
			return nil, Errorf(ErrBusy, "%s: another process listens there", doing).
				WithHint("stop it, or choose another socket")
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	// A socket can be seen before anybody listens on it, and whoever connects
	// then is told that its owner is dead. So it takes its place when all is
	// ready, unless the path is too long for another name beside it.
	unready := filepath.Join(filepath.Dir(socket), "."+filepath.Base(socket)+".new")
	if len(unready) > maxSocketPath {
		unready = socket
	}
	if err := os.Remove(unready); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: unready, Net: "unix"})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false) // sameUser does it
	err = os.Chmod(unready, 0o600)
	if err == nil {
		err = os.Rename(unready, socket)
	}
	if err != nil {
		_ = os.Remove(unready)
		_ = listener.Close()
		return nil, err
	}
	return listener, nil
}

// serve answers until ctx ends.
func (o *owner) serve(ctx context.Context) error {
	defer o.lock.release()
	failed := make(chan error, 1)
	go func() { failed <- o.grpc.Serve(o.listener) }()
	select {
	case err := <-failed:
		o.grpc.Stop()
		return Errorf(ErrInternal, "serve on %s: %w", o.socket, err)
	case <-ctx.Done():
	}
	o.health.Shutdown()
	var late error
	select {
	case <-o.drain(fmt.Errorf("%w: the owner is ending", errDraining)):
	case <-time.After(o.patience):
		late = Errorf(ErrInternal, "serve on %s: %d calls had not cleaned up %s after they were cancelled", o.socket, o.inFlight(), o.patience).
			WithHint("the backend must return when its context ends")
	}
	stopSoon(o.grpc)
	// A context that ends at once stops the server before it has begun.
	if err := <-failed; err != nil && !errors.Is(err, grpc.ErrServerStopped) && late == nil {
		late = Errorf(ErrInternal, "serve on %s: %w", o.socket, err)
	}
	return late
}

// stopSoon stops a server whose calls have returned, once their answers have
// had time to leave. Streams that are not ours, such as a watch of the health,
// never end by themselves.
func stopSoon(s *grpc.Server) {
	gone := make(chan struct{})
	go func() {
		s.GracefulStop()
		close(gone)
	}()
	select {
	case <-gone:
	case <-time.After(lastWord):
	}
	s.Stop()
}

// sameUser lets in connections of this user and root only.
type sameUser struct {
	*net.UnixListener
	socket string // its place, which is not where it was made
	logger hclog.Logger
	close  sync.Once
}

// Close removes the socket, once: then another may be there.
func (l *sameUser) Close() error {
	l.close.Do(func() { _ = os.Remove(l.socket) })
	return l.UnixListener.Close()
}

// Accept waits for the next connection that is let in.
func (l *sameUser) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		uid, pid, err := peerOf(conn)
		if err == nil && (uid == os.Geteuid() || uid == 0) {
			return conn, nil
		}
		l.logger.Warn("refused a connection: its peer is another user", "uid", uid, "pid", pid, "error", err)
		_ = conn.Close()
	}
}
