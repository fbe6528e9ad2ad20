package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// tools are the programs that are measured or needed for it.
type tools struct {
	wring, bbolt, etcdutl, heap string
	root                        string // of the checkout
}

// buildTools builds them anew; Go's cache knows what has not changed. The peers
// are of the versions in this module's go.mod, and wring is built by its own.
func buildTools(ctx context.Context, progress io.Writer, dir string) (tools, error) {
	module, err := command(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/wringdb/wring").output()
	if err != nil {
		return tools{}, err
	}
	t := tools{
		wring: filepath.Join(dir, "wring"), bbolt: filepath.Join(dir, "bbolt"),
		etcdutl: filepath.Join(dir, "etcdutl"), heap: filepath.Join(dir, "heap"),
		root: strings.TrimSpace(string(module)),
	}
	for _, program := range []struct{ in, out, pkg string }{
		{t.root, t.wring, "./cmd/host"},
		{t.root, filepath.Join(dir, "wring-plugin-bolt"), "./plugins/bolt/cmd/wring-plugin-bolt"},
		{"", t.bbolt, "go.etcd.io/bbolt/cmd/bbolt"},
		{"", t.etcdutl, "go.etcd.io/etcd/etcdutl/v3"},
		{"", t.heap, "./heap"},
	} {
		fmt.Fprintf(progress, "building %s\n", filepath.Base(program.out))
		c := command(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", program.out, program.pkg)
		c.Dir = program.in
		if _, err := c.output(); err != nil {
			return tools{}, err
		}
	}
	return t, nil
}

// program is a command whose end is told in one error that has its last words.
type program struct{ *exec.Cmd }

// grace is how long a program that was interrupted may clean up.
const grace = 20 * time.Second

// command is interrupted when ctx ends, and killed if it goes on after that.
func command(ctx context.Context, name string, arguments ...string) program {
	c := exec.CommandContext(ctx, name, arguments...)
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.WaitDelay = grace
	return program{c}
}

// output runs the program and returns what it wrote to stdout.
func (p program) output() ([]byte, error) {
	var stdout, stderr bytes.Buffer
	p.Stdout, p.Stderr = &stdout, &stderr
	if err := p.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(p.Args, " "), err,
			strings.TrimSpace(stderr.String()+"\n"+stdout.String()))
	}
	return stdout.Bytes(), nil
}

// timed runs the program and says how long it took from its start to its end.
func (p program) timed() ([]byte, time.Duration, error) {
	began := time.Now()
	out, err := p.output()
	return out, time.Since(began), err
}
