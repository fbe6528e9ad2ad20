package command_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// running is a process that there is.
type running struct {
	pid, parent int
	line        string // its command line, blanks between arguments; "" once it has ended
}

// allRunning reads the processes of this machine from /proc, where no program
// has to be installed to see them.
func allRunning() ([]running, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var all []running
	found := false
	for _, dir := range dirs {
		p, err := lookAt(dir)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has ended meanwhile
		}
		if err != nil {
			return nil, err
		}
		found = found || p.pid == os.Getpid()
		all = append(all, p)
	}
	if !found {
		return nil, errors.New("/proc does not show the processes of this machine")
	}
	return all, nil
}

func lookAt(dir string) (running, error) {
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return running{}, err
	}
	line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return running{}, err
	}
	pid, err := strconv.Atoi(filepath.Base(dir))
	if err != nil {
		return running{}, err
	}
	// PID (NAME) STATE PARENT …, where the name may hold anything.
	_, fields, _ := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" "))
	f := strings.Fields(string(fields))
	if len(f) < 2 {
		return running{}, fmt.Errorf("%s/stat reads %q", dir, stat)
	}
	parent, err := strconv.Atoi(f[1])
	if err != nil {
		return running{}, fmt.Errorf("%s/stat reads %q", dir, stat)
	}
	return running{pid, parent, strings.TrimRight(strings.ReplaceAll(string(line), "\x00", " "), " ")}, nil
}

// cmdChildren keeps the IDs of the processes that a program has started, which
// must be some, as await gone takes them.
//
//	children NAME VARIABLE
func cmdChildren(ts *testscript.TestScript, neg bool, args []string) {
	refuseNegation(ts, neg)
	if len(args) != 2 {
		ts.Fatalf("usage: children NAME VARIABLE")
	}
	all, err := allRunning()
	ts.Check(err)
	parent := processOf(ts, args[0]).cmd.Process.Pid
	var children []string
	for _, p := range all {
		if p.parent == parent {
			children = append(children, strconv.Itoa(p.pid))
		}
	}
	if len(children) == 0 {
		ts.Fatalf("%s has no children", args[0])
	}
	ts.Setenv(args[1], strings.Join(children, ","))
}

// cmdNoProcess makes sure that no process has a command line that matches.
//
//	noprocess REGEXP
func cmdNoProcess(ts *testscript.TestScript, neg bool, args []string) {
	refuseNegation(ts, neg)
	if len(args) != 1 {
		ts.Fatalf("usage: noprocess REGEXP")
	}
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	p, err := processLike(pattern)
	ts.Check(err)
	if p != nil {
		ts.Fatalf("process %d is there: %s", p.pid, p.line)
	}
}

// processLike returns a process whose command line matches, or nil.
func processLike(pattern *regexp.Regexp) (*running, error) {
	all, err := allRunning()
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		if p.line != "" && pattern.MatchString(p.line) {
			return &p, nil
		}
	}
	return nil, nil
}

// started says why no process has a command line that matches.
func started(pattern *regexp.Regexp) error {
	p, err := processLike(pattern)
	if err == nil && p == nil {
		err = fmt.Errorf("no process is like %s", pattern)
	}
	return err
}
