package command_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience is how long a script waits for what is to happen.
const patience = 30 * time.Second

// poll is how often it looks.
const poll = 20 * time.Millisecond

func refuseNegation(ts *testscript.TestScript, neg bool) {
	if neg {
		ts.Fatalf("this command cannot be negated")
	}
}

// cmdExits runs a program that must end with that status.
//
//	exits STATUS PROGRAM ARGUMENT...
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	refuseNegation(ts, neg)
	if len(args) < 2 {
		ts.Fatalf("usage: exits STATUS PROGRAM ARGUMENT...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("want exit status %d, got %d", want, got)
	}
}

// process is a program that runs while the script goes on.
type process struct {
	cmd      *exec.Cmd
	out, err string        // files that it writes to
	over     chan struct{} // closed when it has ended
}

// cmdStart starts a program, which writes to NAME.out and NAME.err. Its process
// ID is in $NAME_PID. It is killed when the script ends.
//
//	start NAME PROGRAM ARGUMENT...
func cmdStart(ts *testscript.TestScript, neg bool, args []string) {
	refuseNegation(ts, neg)
	if len(args) < 2 {
		ts.Fatalf("usage: start NAME PROGRAM ARGUMENT...")
	}
	name, s := args[0], scriptOf(ts)
	program, err := lookIn(ts.Getenv("PATH"), args[1])
	ts.Check(err)
	p := &process{
		cmd: exec.Command(program, args[2:]...),
		out: ts.MkAbs(name + ".out"), err: ts.MkAbs(name + ".err"),
		over: make(chan struct{}),
	}
	out, err := os.Create(p.out)
	ts.Check(err)
	defer out.Close()
	errs, err := os.Create(p.err)
	ts.Check(err)
	defer errs.Close()
	p.cmd.Dir, p.cmd.Env = ts.MkAbs("."), s.environ(ts)
	p.cmd.Stdout, p.cmd.Stderr = out, errs
	ts.Check(p.cmd.Start())
	go func() {
		defer close(p.over)
		_ = p.cmd.Wait() // the status is in ProcessState
	}()
	ts.Defer(func() {
		_ = p.cmd.Process.Kill()
		<-p.over
	})
	s.processes[name] = p
	ts.Setenv(name+"_PID", strconv.Itoa(p.cmd.Process.Pid))
}

func lookIn(path, program string) (string, error) {
	if strings.ContainsRune(program, filepath.Separator) {
		return program, nil
	}
	for _, dir := range filepath.SplitList(path) {
		candidate := filepath.Join(dir, program)
		if info, err := os.Stat(candidate); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("no program %s in %s", program, path)
}

func processOf(ts *testscript.TestScript, name string) *process {
	p := scriptOf(ts).processes[name]
	if p == nil {
		ts.Fatalf("nothing was started as %q", name)
	}
	return p
}

var signals = map[string]os.Signal{
	"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP, "KILL": syscall.SIGKILL,
	"STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT,
}

// cmdSignal sends a signal.
//
//	signal NAME INT|TERM|HUP|KILL|STOP|CONT
func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	refuseNegation(ts, neg)
	if len(args) != 2 || signals[args[1]] == nil {
		ts.Fatalf("usage: signal NAME INT|TERM|HUP|KILL|STOP|CONT")
	}
	ts.Check(processOf(ts, args[0]).cmd.Process.Signal(signals[args[1]]))
}

// cmdEnded waits until a program has ended, with that status or by that
// signal. What it has written is what stdout and stderr look at then.
//
//	ended NAME STATUS|SIGNAL
func cmdEnded(ts *testscript.TestScript, neg bool, args []string) {
	refuseNegation(ts, neg)
	if len(args) != 2 {
		ts.Fatalf("usage: ended NAME STATUS|SIGNAL")
	}
	p := processOf(ts, args[0])
	select {
	case <-p.over:
	case <-time.After(patience):
		ts.Fatalf("%s does not end:\n%s", args[0], tailOf(p.err))
	}
	got := strconv.Itoa(p.cmd.ProcessState.ExitCode())
	if ws, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		for name, s := range signals {
			if s == ws.Signal() {
				got = name
			}
		}
	}
	for file, stream := range map[string]io.Writer{p.out: ts.Stdout(), p.err: ts.Stderr()} {
		content, err := os.ReadFile(file)
		ts.Check(err)
		_, err = stream.Write(content)
		ts.Check(err)
	}
	if got != args[1] {
		ts.Fatalf("%s: want it to end with %s, got %s:\n%s", args[0], args[1], got, tailOf(p.err))
	}
}

func tailOf(file string) string {
	content, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	const most = 8 << 10
	if len(content) > most {
		content = content[len(content)-most:]
	}
	return string(content)
}

const awaitUsage = `usage:
	await file PATTERN            a file is there
	await nofile PATTERN          no file is there
	await match REGEXP FILE       a file has a matching line
	await process REGEXP          a process has a matching command line
	await gone SECONDS PID,PID... no processes have these IDs any more
	await host NAME CONFIGURATION the host that was started answers
	await json CONDITION -- PROGRAM ARGUMENT...`

// cmdAwait waits until something is the case.
func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	refuseNegation(ts, neg)
	if len(args) < 2 {
		ts.Fatalf(awaitUsage)
	}
	what, args, limit := args[0], args[1:], patience
	var met func() error
	switch {
	case what == "file" && len(args) == 1:
		met = func() error { return present(ts.MkAbs(args[0]), true) }
	case what == "nofile" && len(args) == 1:
		met = func() error { return present(ts.MkAbs(args[0]), false) }
	case what == "match" && len(args) == 2:
		pattern, err := regexp.Compile("(?m)" + args[0])
		ts.Check(err)
		met = func() error { return matching(pattern, ts.MkAbs(args[1])) }
	case what == "process" && len(args) == 1:
		pattern, err := regexp.Compile(args[0])
		ts.Check(err)
		met = func() error { return started(pattern) }
	case what == "gone" && len(args) == 2:
		seconds, err := strconv.ParseFloat(args[0], 64)
		ts.Check(err)
		limit = time.Duration(seconds * float64(time.Second))
		met = func() error { return allGone(args[1]) }
	case what == "host" && len(args) == 2:
		p := processOf(ts, args[0])
		met = func() error {
			select {
			case <-p.over:
				ts.Fatalf("%s has ended:\n%s", args[0], tailOf(p.err))
			default:
			}
			_, err := quietly(ts, "wring", "status", "--config", args[1])
			return err
		}
	case what == "json":
		met = awaitJSON(ts, args)
	default:
		ts.Fatalf(awaitUsage)
	}
	end := time.Now().Add(limit)
	for {
		err := met()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("waited %v in vain: %v", limit, err)
		}
		time.Sleep(poll)
	}
}

func present(pattern string, want bool) error {
	found, err := filepath.Glob(pattern)
	if err == nil && (len(found) > 0) != want {
		err = fmt.Errorf("files %s: %q", pattern, found)
	}
	return err
}

func matching(pattern *regexp.Regexp, file string) error {
	content, err := os.ReadFile(file)
	if err == nil && !pattern.Match(content) {
		err = fmt.Errorf("%s has no line that matches %s:\n%s", file, pattern, tailOf(file))
	}
	return err
}

func allGone(pids string) error {
	for text := range strings.SplitSeq(pids, ",") {
		pid, err := strconv.Atoi(text)
		if err == nil {
			err = gone(pid)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// gone says that a process lives. One that has ended and whose parent has not
// noticed yet does not.
func gone(pid int) error {
	if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
		return nil
	}
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		if _, rest, ok := strings.Cut(string(stat), ") "); ok && strings.HasPrefix(rest, "Z") {
			return nil
		}
	}
	return fmt.Errorf("process %d is there", pid)
}

// cmdHolder keeps the ID of the process that compacts a store, which is the
// first word in the store's lock file.
//
//	holder FILE VARIABLE
func cmdHolder(ts *testscript.TestScript, neg bool, args []string) {
	refuseNegation(ts, neg)
	if len(args) != 2 {
		ts.Fatalf("usage: holder FILE VARIABLE")
	}
	pid, _, _ := strings.Cut(ts.ReadFile(args[0]), " ")
	if _, err := strconv.Atoi(pid); err != nil {
		ts.Fatalf("%s does not begin with a process: %v", args[0], err)
	}
	ts.Setenv(args[1], pid)
}

// quietly runs a program aside of what the script sees.
func quietly(ts *testscript.TestScript, program string, args ...string) (stdout string, err error) {
	path, err := lookIn(ts.Getenv("PATH"), program)
	if err != nil {
		return "", err
	}
	var said, complained strings.Builder
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), scriptOf(ts).environ(ts)
	cmd.Stdout, cmd.Stderr = &said, &complained
	if err := cmd.Run(); err != nil {
		return said.String(), fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, complained.String())
	}
	return said.String(), nil
}

// cmdSmallDisk mounts a file system of that many KiB in memory.
//
//	smalldisk DIRECTORY KIB
func cmdSmallDisk(ts *testscript.TestScript, neg bool, args []string) {
	refuseNegation(ts, neg)
	if len(args) != 2 {
		ts.Fatalf("usage: smalldisk DIRECTORY KIB")
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	ts.Check(mountMemory(dir, args[1]+"k"))
	ts.Defer(func() { ts.Check(unmount(dir)) })
}

// condition knows [root], whether the scripts run as root, and [mount], whether
// they may mount a file system. Scripts that need one are skipped without it on
// a person's machine; in CI, where nobody reads of that, they fail.
func condition(name string) (bool, error) {
	var met bool
	switch name {
	case "root":
		met = os.Geteuid() == 0
	case "mount":
		met = canMount()
	default:
		return false, fmt.Errorf("there is no condition %q", name)
	}
	if !met && os.Getenv("CI") == "true" {
		return false, fmt.Errorf("[%s] does not hold on this machine, and CI=true demands it: run the tests as root, in a container with --cap-add SYS_ADMIN", name)
	}
	return met, nil
}

func canMount() bool {
	dir, err := os.MkdirTemp("", "mount")
	if err != nil {
		return false
	}
	defer os.Remove(dir)
	return mountMemory(dir, "64k") == nil && unmount(dir) == nil
}
