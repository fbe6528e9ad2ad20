package notify

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/wringdb/wring/sdk"
)

// hookLinger is how long what a command has started may keep its output open
// after it has ended itself.
const hookLinger = 250 * time.Millisecond

// runHook runs a command with the notice on its stdin. It has the environment
// that plugins have. At the end of ctx it is killed, with all that it has started.
func runHook(ctx context.Context, argv []string, notice Notice) Answer {
	said := &head{}
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Dir = "/"
	c.Env = hookEnv()
	c.Stdin = bytes.NewReader(append(encode(notice), '\n'))
	c.Stdout, c.Stderr = said, said
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = hookLinger
	err := c.Run()
	a := Answer{Text: firstLines(said.kept)}
	if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		a.verdict = taken
		return a
	}
	a.Error = "the command ended with " + err.Error()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		a.Error = "the command cannot be run: " + err.Error()
	}
	a.Hint = "try it by hand, as the user that runs wring, with a document on its standard input"
	return a
}

func hookEnv() []string {
	env := []string{}
	for _, name := range sdk.PluginEnv() {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// head keeps the beginning of what is written to it.
type head struct{ kept []byte }

const maxHead = 8 << 10

// Write implements io.Writer; it takes all, and keeps what there is room for.
func (h *head) Write(p []byte) (int, error) {
	h.kept = append(h.kept, p[:min(len(p), maxHead-len(h.kept))]...)
	return len(p), nil
}
