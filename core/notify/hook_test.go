package notify

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// script writes a program for a command.
func script(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestACommandReadsTheDocument(t *testing.T) {
	t.Setenv("WRING_SECRET_OF_THE_HOST", "s3cret")
	t.Setenv("LANG", "C.UTF-8")
	dir := t.TempDir()
	p := newPlace(t)
	n := p.start(hook("pager", script(t, `cat > "$1.tmp"; env > "$1.env"; printf '%s\n' "$2" "$PWD" > "$1.args"; mv "$1.tmp" "$1"`), filepath.Join(dir, "got"), "a b; $(exit 1)"))
	n.Observe(failing("a", 1))
	wait(t, "the command has run", func() bool { return n.Status()[0].Delivered == 1 })
	var got Notice
	content, err := os.ReadFile(filepath.Join(dir, "got"))
	if err == nil {
		err = json.Unmarshal(content, &got)
	}
	if err != nil || got.Event != Failed || got.Store != "a" || got.Version != 1 || got.Result == nil {
		t.Errorf("it read %q, %v", content, err)
	}
	args, _ := os.ReadFile(filepath.Join(dir, "got.args"))
	if string(args) != "a b; $(exit 1)\n/\n" {
		t.Errorf("its argument and directory are %q", args)
	}
	env, _ := os.ReadFile(filepath.Join(dir, "got.env"))
	if text := string(env); strings.Contains(text, "s3cret") || !strings.Contains(text, "LANG=C.UTF-8") {
		t.Errorf("its environment is\n%s", text)
	}
}

func TestACommandThatFailsIsTriedAgainAndLogged(t *testing.T) {
	dir, p := t.TempDir(), newPlace(t)
	n := p.start(hook("pager", script(t, `echo "cannot reach the pager"; echo second line >&2; exec mkdir "$1"`), filepath.Join(dir, "a", "b")))
	n.Observe(failing("a", 1))
	wait(t, "it has failed twice", func() bool { return strings.Count(p.log.String(), "is not delivered") >= 2 })
	if text := p.log.String(); !strings.Contains(text, "the command ended with exit status 1") || !strings.Contains(text, "cannot reach the pager | second line | mkdir") {
		t.Errorf("the log does not say why:\n%s", text)
	}
	if err := os.Mkdir(filepath.Join(dir, "a"), 0o700); err != nil {
		t.Fatal(err)
	}
	wait(t, "it has succeeded", func() bool { return n.Status()[0].Delivered == 1 && len(p.queued()) == 0 })
}

func TestACommandThatIsMissing(t *testing.T) {
	n := newPlace(t).start()
	a := n.deliver(t.Context(), hook("pager", "/nonexistent/pager"), Notice{})
	if a.OK || !strings.Contains(a.Error, "cannot be run") || a.Hint == "" {
		t.Errorf("the answer is %+v", a)
	}
}

// alive says whether a process runs; a zombie, which nobody may be there to
// wait for, does not.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return syscall.Kill(pid, 0) == nil && !isProc()
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func isProc() bool { _, err := os.Stat("/proc/self"); return err == nil }

func TestACommandThatHangsIsKilledWithWhatItHasStarted(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	n := newPlace(t).start()
	target := hook("pager", script(t, `sleep 1000 & echo $$ $! > "$1.tmp"; mv "$1.tmp" "$1"; trap '' TERM; echo hanging; wait; sleep 1000`), pids)
	target.Timeout = 300 * time.Millisecond
	var a Answer
	var content []byte
	// On a machine under load the shell may be killed before it has begun.
	wait(t, "the command has begun before it was killed", func() bool {
		a = n.deliver(t.Context(), target, Notice{})
		content, _ = os.ReadFile(pids)
		return len(content) > 0
	})
	if a.OK || a.Error != "it did not end within 300ms and was killed" || a.verdict != failed {
		t.Errorf("the answer is %+v", a)
	}
	for _, field := range strings.Fields(string(content)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		wait(t, "process "+field+" has ended", func() bool { return !alive(pid) })
	}
}

func TestACommandThatLeavesADaemonHasEnded(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	n := newPlace(t).start()
	a := n.deliver(t.Context(), hook("pager", script(t, `sleep 1000 & echo $! > "$1"; echo done`), pid), Notice{})
	content, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	daemon, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(daemon, syscall.SIGKILL); err != nil {
		t.Errorf("what it has left is gone: %v", err)
	}
	if !a.OK || a.Text != "done" {
		t.Errorf("the answer is %+v", a)
	}
}

func TestOutputIsBounded(t *testing.T) {
	n := newPlace(t).start()
	a := n.deliver(t.Context(), hook("pager", script(t, `i=0; while [ $i -lt 2000 ]; do echo "line $i of many"; i=$((i+1)); done; exit 3`)), Notice{})
	lines := strings.Split(a.Text, " | ")
	if !strings.Contains(a.Error, "exit status 3") || !slices.Equal(lines, []string{"line 0 of many", "line 1 of many", "line 2 of many", "line 3 of many", "line 4 of many"}) {
		t.Errorf("the answer is %+v", a)
	}
	if got := firstLines([]byte("\x1b[31m" + strings.Repeat("é", maxText) + "\xff")); len(got) > maxText+len("…") || strings.ContainsRune(got, '\x1b') {
		t.Errorf("of a long line %q is shown", got)
	}
}
