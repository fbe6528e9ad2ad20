package sdk

import (
	"context"
	"io"
	"time"

	"github.com/hashicorp/go-hclog"
)

var errNotYet = Errorf(ErrUnsupported, "not implemented yet")

// Guard is being written.
func Guard(b Backend) Backend { return b }

// Serve is being written.
func Serve(Backend) { panic(errNotYet) }

// ListenAndServe is being written.
func ListenAndServe(context.Context, string, Backend) error { return errNotYet }

// Dial is being written.
func Dial(context.Context, string, string) (*Client, error) { return nil, errNotYet }

// Client is being written.
type Client struct{}

var (
	_ Backend     = (*Client)(nil)
	_ Sweeper     = (*Client)(nil)
	_ StoreLister = (*Client)(nil)
)

// Description is being written.
func (c *Client) Description() Description { return Description{} }

// Healthy is being written.
func (c *Client) Healthy(context.Context) error { return errNotYet }

// Close is being written.
func (c *Client) Close() error { return errNotYet }

// Describe is being written.
func (c *Client) Describe(context.Context) (Description, error) { return Description{}, errNotYet }

// Fragmentation is being written.
func (c *Client) Fragmentation(context.Context, FragmentationRequest) (Fragmentation, error) {
	return Fragmentation{}, errNotYet
}

// Compact is being written.
func (c *Client) Compact(context.Context, CompactRequest, func(Progress)) (CompactResult, error) {
	return CompactResult{}, errNotYet
}

// Sweep is being written.
func (c *Client) Sweep(context.Context, Store) ([]string, error) { return nil, errNotYet }

// Stores is being written.
func (c *Client) Stores(context.Context) ([]Store, error) { return nil, errNotYet }

// LaunchConfig says which program to start and how.
type LaunchConfig struct {
	Path         string
	Args         []string
	SHA256       []byte
	Env          []string
	SocketDir    string
	Stderr       io.Writer
	StartTimeout time.Duration
	HostVersion  string
	Logger       hclog.Logger
}

// Launch is being written.
func Launch(context.Context, LaunchConfig) (*Process, error) { return nil, errNotYet }

// Process is being written.
type Process struct{}

// Client is being written.
func (p *Process) Client() *Client { return nil }

// PID is being written.
func (p *Process) PID() int { return 0 }

// Exited is being written.
func (p *Process) Exited() <-chan struct{} { return nil }

// Stop is being written.
func (p *Process) Stop(context.Context) {}
