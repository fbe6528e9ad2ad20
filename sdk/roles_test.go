package sdk

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	wringv1 "github.com/wringdb/wring/sdk/proto/wring/v1"
)

// servePluginRaw serves any implementation of the service as a plugin.
func servePluginRaw(impl wringv1.BackendServiceServer) {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: handshake(),
		Plugins:         plugin.PluginSet{pluginName: &rawGlue{impl: impl}},
		GRPCServer:      plugin.DefaultGRPCServer,
		Logger:          hclog.NewNullLogger(),
	})
}

type rawGlue struct {
	plugin.NetRPCUnsupportedPlugin
	impl wringv1.BackendServiceServer
}

func (g *rawGlue) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	wringv1.RegisterBackendServiceServer(s, g.impl)
	return nil
}

func (g *rawGlue) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	panic("not a host")
}

// serveVersions is a plugin of another age.
func serveVersions(age string) {
	s := newServer(newFake(), hclog.NewNullLogger())
	if age == "newer" {
		s.protocolMin, s.protocolMax = ProtocolMax+1, ProtocolMax+2
	} else {
		s.protocolMin, s.protocolMax = 0, ProtocolMin-1
	}
	servePluginRaw(s)
}

// serveFlood is a plugin that answers measurements with 5 MiB, past this
// package's own bound.
func serveFlood() {
	servePluginRaw(&flood{server: newServer(newFake(), hclog.NewNullLogger())})
}

type flood struct{ *server }

func (f *flood) Fragmentation(context.Context, *wringv1.FragmentationRequest) (*wringv1.FragmentationResponse, error) {
	return &wringv1.FragmentationResponse{Metrics: map[string]float64{strings.Repeat("m", 5<<20): 1}}, nil
}

// hangAfterHandshake listens and never answers.
func hangAfterHandshake() int {
	path := filepath.Join(os.Getenv(plugin.EnvUnixSocketDir), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer listener.Close()
	fmt.Printf("1|1|unix|%s|grpc|\n", path)
	waitForSignal()
	return 0
}

// playHost launches a plugin that compacts the store at path for long, says so
// on stdout, and waits to be killed. Arg is the name and the path.
func playHost(arg string) int {
	name, path, _ := strings.Cut(arg, " ")
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "sdk")
	if err != nil {
		return 1
	}
	executable, err := os.Executable()
	if err != nil {
		return 1
	}
	p, err := Launch(ctx, LaunchConfig{Path: executable, Env: as("plugin"), SocketDir: dir})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	told := false
	_, err = p.Client().Compact(ctx, CompactRequest{Store: Store{Name: name, Path: path}}, func(Progress) {
		if !told {
			fmt.Println(p.PID())
			told = true
		}
	})
	fmt.Fprintln(os.Stderr, "compaction ended:", err)
	return 1
}

// playHold compacts the store at path, in this process, until it is killed.
func playHold(path string) int {
	told := false
	_, err := Guard(newFake()).Compact(context.Background(), CompactRequest{Store: Store{Name: "long", Path: path}}, func(Progress) {
		if !told {
			fmt.Println("holding")
			told = true
		}
	})
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// playHostOfOwner has an owner compact a store for long, says so on stdout, and
// waits to be killed.
func playHostOfOwner(socket, path string) int {
	ctx := context.Background()
	c, err := Dial(ctx, socket, "0.9")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	told := false
	_, err = c.Compact(ctx, CompactRequest{Store: Store{Name: "long", Path: path}}, func(Progress) {
		if !told {
			fmt.Println("compacting")
			told = true
		}
	})
	fmt.Fprintln(os.Stderr, "compaction ended:", err)
	return 1
}

// playDial attaches to an owner and says how that went.
func playDial(socket string) int {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := Dial(ctx, socket, "0.9")
	if err != nil {
		fmt.Printf("%v\n", err)
		return 1
	}
	fmt.Println("attached to", c.Description().Name)
	if err := c.Close(); err != nil {
		return 2
	}
	return 0
}
