package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	wringv1 "github.com/wringdb/wring/sdk/proto/wring/v1"
)

const (
	// orphanDrain is how long calls may clean up once the host is gone or has
	// asked the process to end. No plugin outlives its host by 2 s, and the host
	// kills it 2 s after asking.
	orphanDrain = 1200 * time.Millisecond
	// termDrain is the same after SIGTERM, while the host lives and nobody waits
	// to kill it.
	termDrain = 10 * time.Second
	// pluginName is what go-plugin calls our service.
	pluginName = "backend"
)

func handshake() plugin.HandshakeConfig {
	return plugin.HandshakeConfig{
		ProtocolVersion:  HandshakeVersion,
		MagicCookieKey:   HandshakeCookieKey,
		MagicCookieValue: HandshakeCookieValue,
	}
}

// servePlugin is the life of a plugin process, from the handshake to the end.
// After SIGTERM calls have the time of patience to clean up.
func servePlugin(b Backend, logger hclog.Logger, patience time.Duration) (exitCode int) {
	// The host's end breaks the pipes on which this process logs; that must not
	// kill it before its calls have cleaned up.
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, syscall.SIGPIPE, syscall.SIGHUP)
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)

	s := newServer(b, logger)
	created := make(chan *grpc.Server, 1)
	go endEarly(s, created, term, lifeline(logger), patience)

	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: handshake(),
		Plugins:         plugin.PluginSet{pluginName: &pluginGlue{server: s}},
		GRPCServer: func(options []grpc.ServerOption) *grpc.Server {
			g := grpc.NewServer(append(options, serverOptions()...)...)
			created <- g
			return g
		},
		Logger: logger,
	})
	// Whoever stopped the server, go-plugin waits for no call.
	idle := s.drain(fmt.Errorf("%w: the host has ended it", errDraining))
	select {
	case <-idle:
		return 0
	case <-time.After(orphanDrain - s.drainingFor()):
	}
	select {
	case <-idle:
		return 0
	default:
		logger.Error("calls had not cleaned up in time", "calls", s.inFlight(), "waited", s.drainingFor().Round(time.Millisecond))
		return 1
	}
}

// endEarly ends the server on SIGTERM, with that much patience with calls that
// clean up, or when the host is gone.
func endEarly(s *server, created <-chan *grpc.Server, term <-chan os.Signal, orphaned <-chan struct{}, afterTerm time.Duration) {
	var idle <-chan struct{}
	var patience <-chan time.Time
	select {
	case <-term:
		idle = s.drain(fmt.Errorf("%w: its process was told to end (SIGTERM)", errDraining))
		patience = time.After(afterTerm)
	case <-orphaned:
		idle = s.drain(fmt.Errorf("%w: its host is gone", errDraining))
		patience = time.After(orphanDrain)
		orphaned = nil
	}
	for waiting := true; waiting; {
		select {
		case <-idle:
			waiting = false
		case <-patience:
			waiting = false
		case <-orphaned:
			patience, orphaned = time.After(orphanDrain), nil
		}
	}
	select {
	case g := <-created:
		stopSoon(g) // makes plugin.Serve return
	default:
		os.Exit(0) // before the handshake: nothing to end
	}
}

// lifeline returns a channel that is closed when the host is gone. Without a
// lifeline it never is.
func lifeline(logger hclog.Logger) <-chan struct{} {
	value, ok := os.LookupEnv(LifelineEnv)
	if !ok {
		return nil
	}
	// Nor shall a child of this process take the number for its own.
	_ = os.Unsetenv(LifelineEnv)
	fd, err := strconv.Atoi(value)
	if err != nil || fd < 3 {
		logger.Warn("lifeline is no descriptor", "value", value)
		return nil
	}
	syscall.CloseOnExec(fd)
	pipe := os.NewFile(uintptr(fd), "lifeline")
	if info, err := pipe.Stat(); err != nil || info.Mode().Type() != os.ModeNamedPipe {
		logger.Warn("lifeline is no pipe: if the host is killed this process may outlive it", "value", value)
		return nil
	}
	orphaned := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, pipe)
		close(orphaned)
	}()
	return orphaned
}

// pluginGlue makes our service known to go-plugin, on either side.
type pluginGlue struct {
	plugin.NetRPCUnsupportedPlugin
	server *server // nil on the host's side
}

// GRPCServer registers the service in the plugin process.
func (p *pluginGlue) GRPCServer(_ *plugin.GRPCBroker, g *grpc.Server) error {
	if p.server == nil {
		return errors.New("no backend")
	}
	wringv1.RegisterBackendServiceServer(g, p.server)
	return nil
}

// GRPCClient hands the host its connection.
func (p *pluginGlue) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return conn, nil
}

var _ plugin.GRPCPlugin = (*pluginGlue)(nil)
