package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/sdk"
)

var _ config.Describer = (*Catalog)(nil)

// Bounds of what a program may print when it is asked to describe itself.
const (
	maxDescription = 1 << 20
	maxStderr      = 16 << 10
	stderrLines    = 20
)

// Describe returns what a plugin says of itself, by running `PROGRAM describe`
// with a minimal environment. The answer is remembered until the program
// changes.
func (c *Catalog) Describe(ctx context.Context, p config.Plugin) (sdk.Description, error) {
	program, err := c.Resolve(p)
	if err != nil {
		return sdk.Description{}, err
	}
	return c.describe(ctx, program)
}

func (c *Catalog) describe(ctx context.Context, program Program) (sdk.Description, error) {
	key := strings.Join(slices.Concat([]string{program.Path, fmt.Sprint(program.id)}, program.Args, []string{""}, program.Env), "\x00")
	c.mu.Lock()
	known, ok := c.descriptions[key]
	c.mu.Unlock()
	if ok {
		return known, nil
	}
	desc, err := c.ask(ctx, program)
	if err != nil {
		return sdk.Description{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.descriptions[key] = desc
	return desc, nil
}

// ask runs the program and reads its answer.
func (c *Catalog) ask(ctx context.Context, program Program) (sdk.Description, error) {
	stdout := &bounded{max: maxDescription}
	stderr := &tail{max: maxStderr}
	timed, cancel := context.WithTimeout(ctx, c.cfg.DescribeTimeout)
	defer cancel()
	cmd := exec.CommandContext(timed, program.Path, append(slices.Clone(program.Args), "describe")...)
	cmd.Env = append(c.env(sdk.PluginEnv()), program.Env...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	// A group of its own, so that what it has started ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err := cmd.Run()

	fail := func(kind error, what, hint string) (sdk.Description, error) {
		message := fmt.Sprintf("plugin %q: %s describe: %s", program.Name, program.Path, what)
		if lines := stderr.lines(stderrLines); len(lines) > 0 {
			message += "; its last lines: " + strings.Join(lines, " | ")
		}
		return sdk.Description{}, sdk.Errorf(kind, "%w: %s", ErrNotPlugin, message).WithHint("%s", hint)
	}
	const isIt = "is it a wring plugin? one prints JSON when it is run with the argument `describe`, and nothing else on stdout"
	switch {
	case ctx.Err() != nil:
		return sdk.Description{}, fmt.Errorf("ask plugin %q to describe itself: %w", program.Name, ctx.Err())
	case timed.Err() != nil:
		return fail(sdk.ErrInternal, fmt.Sprintf("gave no answer within %s", c.cfg.DescribeTimeout), isIt)
	case stdout.overflow:
		return fail(sdk.ErrInternal, fmt.Sprintf("printed more than %s", sdk.FormatBytes(maxDescription)), isIt)
	case errors.Is(err, syscall.ENOEXEC):
		return fail(sdk.ErrInternal, err.Error(), "it was built for another kind of machine, or is a script without its first line (#!…)")
	case err != nil:
		return fail(sdk.ErrInternal, err.Error(), isIt)
	}

	var desc sdk.Description
	if err := json.Unmarshal(stdout.buf.Bytes(), &desc); err != nil {
		return fail(sdk.ErrInternal, fmt.Sprintf("answered with no description: %s (it begins %q)", err, beginning(stdout.buf.Bytes())), isIt)
	}
	if desc.Name == "" || desc.Engine == "" || len(desc.Capabilities.Modes) == 0 {
		return fail(sdk.ErrInternal, "answered without name, engine or modes", isIt)
	}
	if _, err := desc.Negotiate(c.cfg.HostVersion); err != nil {
		return fail(sdk.ErrProtocol, err.Error(), sdk.HintOf(err))
	}
	return desc, nil
}

func beginning(b []byte) string {
	const most = 60
	if len(b) > most {
		b = b[:most]
	}
	return strings.ToValidUTF8(string(b), "�")
}

var errTooMuch = errors.New("too much output")

// bounded keeps what is written to it, and fails once that is more than max
// bytes, which ends the writing process by a broken pipe.
type bounded struct {
	buf      bytes.Buffer
	max      int
	overflow bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.buf.Len()+len(p) > b.max {
		b.overflow = true
		return 0, errTooMuch
	}
	return b.buf.Write(p)
}

// tail keeps the last max bytes or so that are written to it.
type tail struct {
	buf []byte
	max int
}

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if excess := len(t.buf) - t.max; excess > 0 {
		t.buf = append(t.buf[:0], t.buf[excess:]...)
	}
	return len(p), nil
}

// lines returns the last n lines that are not empty, made safe to print.
func (t *tail) lines(n int) []string {
	var lines []string
	for line := range strings.Lines(strings.ToValidUTF8(string(t.buf), "�")) {
		line = strings.TrimSpace(strings.Map(printable, line))
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines[max(0, len(lines)-n):]
}

// printable replaces characters that could move a terminal's cursor.
func printable(r rune) rune {
	if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
		return ' '
	}
	return r
}
