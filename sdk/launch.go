package sdk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
)

const (
	defaultStartTimeout = 15 * time.Second
	// socketTail is what go-plugin adds to the socket directory, at most, in
	// bytes: "/plugin-dir4294967295/plugin4294967295".
	socketTail = 38
)

// LaunchConfig says which plugin program to start and how.
type LaunchConfig struct {
	// Path of the program.
	Path string
	Args []string
	// SHA256 that the program must have; empty for any. It is compared just
	// before the start, so the directory must not be writable by others.
	SHA256 []byte
	// Env is KEY=VALUE each, beyond PATH, HOME, TMPDIR, LANG, LC_ALL, TZ and WRING_LOG_LEVEL,
	// which are copied. Nothing else of the host's environment is passed on.
	Env []string
	// SocketDir is a private directory for sockets, made when missing; a
	// temporary one when empty. At most 65 bytes long.
	SocketDir string
	// Stderr gets what the plugin writes to stderr and stdout, whole lines in
	// single calls, one at a time, the newline included. A line is at most
	// 64 KiB: what is longer comes in parts. Nil for none.
	Stderr io.Writer
	// StartTimeout is 15 s when zero.
	StartTimeout time.Duration
	// HostVersion is told to the plugin for messages to people.
	HostVersion string
	// Logger may be nil.
	Logger hclog.Logger
}

// Launch starts a plugin program and settles the protocol with it. The end of
// ctx gives up; it does not end a plugin that has started.
//
// A program that is missing is ErrNotFound; one that may not be executed or
// has another checksum is ErrPermission; one that is no plugin, or of another
// version, is ErrProtocol; one that fails to start, or is too slow, is
// ErrInternal, and the error has its last words.
func Launch(ctx context.Context, c LaunchConfig) (*Process, error) {
	return launch(ctx, c, thisHost(c.HostVersion))
}

func launch(ctx context.Context, c LaunchConfig, host peer) (*Process, error) {
	if c.StartTimeout <= 0 {
		c.StartTimeout = defaultStartTimeout
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	doing := "start plugin " + c.Path
	if ctx.Err() != nil {
		return nil, cancelled(ctx, doing)
	}
	if err := checkProgram(doing, c.Path, c.SHA256); err != nil {
		return nil, err
	}
	dir, err := makeSocketDir(doing, c.SocketDir)
	if err != nil {
		return nil, typed(ctx, doing, err)
	}
	p := newProcess(c, dir)
	p.start(ctx, doing, c.StartTimeout, host)
	if p.failure != nil {
		return nil, p.failure
	}
	c.Logger.Debug("plugin started", "path", c.Path, "pid", p.PID())
	return p, nil
}

// checkProgram says in words why a program cannot be started.
func checkProgram(doing, path string, want []byte) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Errorf(ErrNotFound, "%s: there is no such program", doing).
			WithHint("install the plugin there, or correct its path")
	case err != nil:
		return typed(context.Background(), doing, err)
	case !info.Mode().IsRegular():
		return Errorf(ErrNotFound, "%s: it is no program but %s", doing, kindOfFile(info)).
			WithHint("correct its path")
	case info.Mode().Perm()&0o111 == 0:
		return Errorf(ErrPermission, "%s: it is not executable (mode %#o)", doing, info.Mode().Perm()).
			WithHint("chmod +x %s", path)
	case len(want) == 0:
		return nil
	}
	got, err := hashFile(path)
	if err != nil {
		return typed(context.Background(), doing, err)
	}
	if got != hex.EncodeToString(want) {
		return Errorf(ErrPermission, "%s: its checksum is not the one that is pinned: want sha256 %x, got %s", doing, want, got).
			WithHint("if you have replaced the program on purpose, pin it again: wring plugin pin %s", path)
	}
	return nil
}

func hashFile(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// socketDir is where a plugin's socket goes; own when it was made for it.
type socketDir struct {
	path string
	own  bool
}

func makeSocketDir(doing, path string) (socketDir, error) {
	dir := socketDir{path: path}
	if path == "" {
		made, err := os.MkdirTemp("", "wring-")
		if err != nil {
			return dir, err
		}
		dir = socketDir{path: made, own: true}
	}
	abs, err := filepath.Abs(dir.path)
	if err == nil {
		dir.path = abs
		err = privateDir(doing, dir.path)
	}
	if err == nil && len(dir.path)+socketTail > maxSocketPath {
		err = Errorf(ErrInvalidOption, "%s: the path of the socket directory %s has %d bytes, at most %d leave room for a socket", doing, dir.path, len(dir.path), maxSocketPath-socketTail).
			WithHint("choose a shorter directory, or a shorter TMPDIR")
	}
	if err != nil {
		dir.remove()
		return dir, err
	}
	return dir, nil
}

func (d socketDir) remove() {
	if d.own {
		_ = os.RemoveAll(d.path)
	}
}

// PluginEnv names all that a plugin gets of its host's environment, beyond what
// a configuration lets through.
func PluginEnv() []string {
	return []string{"PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "TZ", LogLevelEnv}
}

// allowedEnv has the values of PluginEnv, and more.
func allowedEnv(more []string) []string {
	var env []string
	for _, key := range PluginEnv() {
		if value, ok := os.LookupEnv(key); ok {
			env = append(env, key+"="+value)
		}
	}
	return append(env, more...)
}

// newPluginClient sets go-plugin up to start p.child.
//
// AutoMTLS stays off: the socket is in a directory of mode 0700, so whoever
// could connect is this user or root, and either could read the keys from
// memory too. It would cost every start two certificates, and authors in other
// languages an implementation.
func (p *Process) newPluginClient(timeout time.Duration) *plugin.Client {
	return plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  handshake(),
		Plugins:          plugin.PluginSet{pluginName: &pluginGlue{}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		GRPCDialOptions:  dialOptions(),
		SkipHostEnv:      true,
		StartTimeout:     timeout + time.Second, // ours ends first, and explains
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: p.dir.path},
		// Our child's stderr never passes through go-plugin, whose parser falls
		// over some lines.
		Logger:     hclog.New(&hclog.LoggerOptions{Level: hclog.Off, Output: io.Discard}),
		SyncStdout: p.child.words.stream(),
		SyncStderr: p.child.words.stream(),
		RunnerFunc: func(_ hclog.Logger, spec *exec.Cmd, _ string) (runner.Runner, error) {
			p.child.cmd.Env = append(p.child.cmd.Env, spec.Env...)
			return p.child, nil
		},
	})
}

// start leaves what went wrong in p.failure.
func (p *Process) start(ctx context.Context, doing string, timeout time.Duration, host peer) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	giveUp := context.AfterFunc(limited, p.child.kill)
	defer giveUp()

	conn, err := p.connect()
	close(p.child.connected)
	if err == nil {
		_, err = newClient(limited, p.client, conn, host)
	}
	if err == nil {
		go p.watch()
		return
	}
	p.failure = p.explainStart(ctx, limited, doing, timeout, err)
	p.child.kill()
	p.plugin.Kill()
	p.dir.remove()
}

// connect starts the process and waits for its handshake.
func (p *Process) connect() (*grpc.ClientConn, error) {
	protocol, err := p.plugin.Client()
	if err != nil {
		return nil, err
	}
	raw, err := protocol.Dispense(pluginName)
	if err != nil {
		return nil, err
	}
	conn, ok := raw.(*grpc.ClientConn)
	if !ok {
		return nil, Errorf(ErrInternal, "connect to plugin: got a %T", raw)
	}
	return conn, nil
}

// explainStart says why a plugin has not started, with what it wrote.
func (p *Process) explainStart(ctx, limited context.Context, doing string, timeout time.Duration, err error) *Error {
	line := p.child.first.line()
	switch {
	case ctx.Err() != nil:
		return cancelled(ctx, doing)
	case limited.Err() != nil:
		e := Errorf(ErrInternal, "%s: it was not ready within %s%s", doing, timeout, p.child.words.last())
		e.Retryable = true
		return e.WithHint("it may hang: start it by hand with -debug to see where")
	case p.child.startErr != nil:
		return explainExec(doing, p.child.startErr)
	case strings.TrimSpace(p.child.first.text()) == "":
		e := Errorf(ErrInternal, "%s: it ended before it was ready%s", doing, p.lastWords())
		e.Retryable = true
		return e.WithHint("run it by hand to see why: %s describe", p.child.cmd.Path)
	}
	version, ok := parseHandshake(line)
	var known *Error
	switch {
	case !ok:
		return Errorf(ErrProtocol, "%s: it printed to stdout before the handshake: %q%s", doing, bounded(p.child.first.text(), 200), p.lastWords()).
			WithHint("if it is a wring plugin it must print to stderr only; else correct its path")
	case version != "1":
		return Errorf(ErrProtocol, "%s: its handshake is version %s, that of this host (%s) is version %d", doing, version, hostName(p.hostVersion), HandshakeVersion).
			WithHint("update the older of the two")
	case errors.As(err, &known) && !isKind(err, ErrConnection):
		return Errorf(known.Kind, "%s: %w", doing, err).WithHint("%s", known.Hint)
	default:
		e := Errorf(ErrInternal, "%s: %v%s", doing, err, p.lastWords())
		e.Retryable = true
		return e.WithHint("run it by hand to see why: %s -debug", p.child.cmd.Path)
	}
}

// lastWords is how the process ended, if it did, and what it wrote.
func (p *Process) lastWords() string {
	words := ""
	if how := p.child.exit(time.Second); how != "" {
		words = ": " + how
	}
	return words + p.child.words.last()
}

// explainExec says why the system did not execute a program.
func explainExec(doing string, err error) *Error {
	e := Errorf(ErrPermission, "%s: %w", doing, err)
	switch {
	case errors.Is(err, syscall.ENOEXEC):
		e.Hint = "it is no program for this system: check its architecture, or the first line of a script"
	case errors.Is(err, fs.ErrNotExist):
		e = Errorf(ErrNotFound, "%s: %w", doing, err)
		e.Hint = "the program is there, but not the loader or interpreter that it names"
	case errors.Is(err, fs.ErrPermission):
		e.Hint = "the file system may be mounted noexec, or a directory may not be entered"
	default:
		e.Retryable = true // text file busy, too many processes
	}
	return e
}

// parseHandshake returns the handshake's version when line is one.
func parseHandshake(line string) (version string, ok bool) {
	parts := strings.Split(strings.TrimSpace(line), "|")
	if len(parts) < 4 || parts[0] != "1" || strings.Trim(parts[1], "0123456789") != "" {
		return "", false
	}
	return parts[1], true
}
