package daemon

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/hashicorp/go-hclog"

	"github.com/wringdb/wring/core/access"
	"github.com/wringdb/wring/core/api"
	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/sdk"
)

// door is a place where the admin interface answers.
type door struct {
	listener net.Listener
	server   *http.Server
}

// serve answers until the door is closed.
func (d door) serve() error {
	if d.server.TLSConfig != nil {
		return d.server.ServeTLS(d.listener, "", "")
	}
	return d.server.Serve(d.listener)
}

// doors are all of them: the socket in the data directory, what the service
// manager has passed, and what the configuration asks for.
type doors []door

// openDoors opens all, or none.
func (h *host) openDoors() (opened doors, err error) {
	passed, err := passedListeners()
	defer func() {
		if err != nil {
			for _, l := range passed {
				_ = l.Close()
			}
			opened.close()
		}
	}()
	if err != nil {
		return nil, err
	}
	interior := api.NewHandler(h, h.cfg.Version)
	own := api.SocketPath(h.dataDir)
	// What logs say of connections that fail comes from outside.
	log := h.logger.Named("access").StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug})
	add := func(l net.Listener, handler http.Handler, t *tls.Config) {
		server := access.NewServer(handler)
		server.ErrorLog, server.TLSConfig = log, t
		opened = append(opened, door{l, server})
	}

	var outer []net.Listener // over TCP
	ownPassed := false
	for _, l := range passed {
		if l.Addr().Network() != "unix" {
			outer = append(outer, l)
			continue
		}
		if err := checkPassedSocket(l.Addr().String()); err != nil {
			return opened, err
		}
		ownPassed = ownPassed || sameFile(l.Addr().String(), own)
		add(l, access.Local(interior), nil)
	}
	if !ownPassed {
		l, err := listen(own)
		if err != nil {
			return opened, err
		}
		add(l, access.Local(interior), nil)
	}

	settings := h.config().Listen
	switch {
	case settings == nil && len(outer) > 0:
		return opened, sdk.Errorf(sdk.ErrInvalidOption, "the service manager has passed the socket %s, and the configuration has no listen block", outer[0].Addr()).
			WithHint("add listen {} to the configuration, with hosts and tls as needed, or take ListenStream out of the socket unit")
	case settings == nil:
		return opened, nil
	case len(outer) == 0:
		l, err := listenTCP(settings.Address)
		if err != nil {
			return opened, err
		}
		passed = append(passed, l) // closed with them, if need be
		outer = append(outer, l)
	}
	guard, secure, err := h.guard(*settings, interior)
	if err != nil {
		return opened, err
	}
	for _, l := range outer {
		reached := config.Listen{Address: l.Addr().String(), Certificate: settings.Certificate}
		if reached.Exposed() {
			h.logger.Warn("the admin interface can be reached from other machines without TLS: tokens can be read on their way", "address", reached.Address)
		}
		h.logger.Info("listening", "address", reached.Address, "tls", secure != nil, "client_certificates", settings.ClientCA != "")
		add(access.Limit(l, h.logger.Named("access")), guard, secure)
	}
	return opened, nil
}

// guard stands before the interface where it is reached over TCP.
func (h *host) guard(settings config.Listen, interior http.Handler) (guard http.Handler, secure *tls.Config, err error) {
	logger := h.logger.Named("access")
	if settings.Certificate != "" {
		files := access.TLSFiles{Certificate: settings.Certificate, Key: settings.Key, ClientCA: settings.ClientCA}
		if secure, err = access.NewTLS(files, logger); err != nil {
			return nil, nil, fmt.Errorf("listen: %w", err)
		}
	}
	return access.NewGuard(access.Config{
		Tokens: access.NewTokens(h.dataDir), Certificates: settings.ClientCA != "", Hosts: settings.Hosts, Logger: logger,
	}, interior), secure, nil
}

// passedListeners are the sockets that the service manager has opened for this
// process (sd_listen_fds(3)), so that clients can connect while it starts.
func passedListeners() ([]net.Listener, error) {
	var listeners []net.Listener
	var problem error
	for _, file := range activation.Files(true) {
		l, err := net.FileListener(file)
		if err != nil {
			problem = errors.Join(problem, sdk.Errorf(sdk.ErrInvalidOption, "the service manager has passed the socket %s, on which nobody can listen: %w", file.Name(), err).
				WithHint("the socket unit may have ListenStream for unix sockets and TCP only, and Accept=no"))
		} else {
			listeners = append(listeners, l)
		}
		_ = file.Close()
	}
	return listeners, problem
}

// checkPassedSocket refuses a socket that is open to everybody: behind it nobody
// is asked for a token.
func checkPassedSocket(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("look at the socket that the service manager has passed: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o007 != 0 {
		return sdk.Errorf(sdk.ErrPermission, "the socket %s that the service manager has passed is open to everybody (mode %#o)", path, mode).
			WithHint("set SocketMode=0600 in the socket unit, or 0660 with a SocketGroup that may do everything")
	}
	return nil
}

func sameFile(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

func listenTCP(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, sdk.Errorf(sdk.ErrInvalidOption, "listen: another process listens on %s", address).
			WithHint("end it, or choose another address in the listen block")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, sdk.Errorf(sdk.ErrInvalidOption, "listen: %s is no address of this machine", address).
			WithHint("choose one of its own in the listen block")
	case errors.Is(err, syscall.EACCES):
		return nil, sdk.Errorf(sdk.ErrPermission, "listen: %s is a port that only root may use", address).
			WithHint("choose one above 1023, or have the service manager pass the socket")
	case err != nil:
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}

// serve answers at all doors; what is received is the end of one of them.
func (ds doors) serve() <-chan error {
	ended := make(chan error, len(ds))
	for _, d := range ds {
		go func() { ended <- d.serve() }()
	}
	return ended
}

// hangUp closes all doors once who waits has had an answer.
func (ds doors) hangUp() {
	var all sync.WaitGroup
	for _, d := range ds {
		all.Go(func() { hangUp(d.server) })
	}
	all.Wait()
}

// close closes doors at which nobody has answered yet.
func (ds doors) close() {
	for _, d := range ds {
		_ = d.listener.Close()
	}
}
