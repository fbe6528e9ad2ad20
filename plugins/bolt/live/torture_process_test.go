//go:build linux

package live

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt"
	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/sdk"
)

// Ways to compact.
const (
	wayExchange = "exchange"
	wayRename   = "rename" // where files cannot be exchanged
	wayPunch    = "punch"
)

// Roles of other processes.
const (
	roleOwner  = "owner"  // writes, reads and compacts until it is killed
	roleWaiter = "waiter" // opens the store as soon as it can, and writes to it once
)

// Mistakes that an owner makes on purpose, which must be noticed.
const (
	mistakeEager  = "acknowledges before the commit"
	mistakeSilent = "does not acknowledge all commits"
	mistakeRound  = "leaves the last round out"
)

// part is what another process is to do. It is handed over as JSON.
type part struct {
	Role, Path, Name string
	// Live says that a waiter opens the store as an owner does.
	Live bool

	Way                                string
	NoSync, NoFreelistSync, VerifyFull bool
	// Site is where an owner kills itself, the nth time that it comes to it.
	Site string
	Nth  int
	// Told says that it compacts only when it is told to.
	Told    bool
	Mistake string
}

const partVariable = "WRING_BOLT_LIVE_TORTURE"

// TestTorturePart is what another process of the campaign runs. It is no test by
// itself.
func TestTorturePart(t *testing.T) {
	text := os.Getenv(partVariable)
	if text == "" {
		return
	}
	var p part
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	out := &reporter{w: os.NewFile(3, "reports")}
	var err error
	if p.Role == roleWaiter {
		err = p.wait(out)
	} else {
		err = p.own(out)
	}
	if err != nil {
		out.say("failed %v", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// reporter tells the campaign what happens, a line each. What it has said is
// said, even if the process is killed.
type reporter struct{ w io.Writer }

func (r *reporter) say(format string, args ...any) {
	line := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; ")
	_, _ = io.WriteString(r.w, line+"\n")
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// tortureOptions of a store that has room to grow, so that a compaction is not
// given up for that.
func tortureOptions(p part) *bbolt.Options {
	return &bbolt.Options{
		Timeout: 30 * time.Second, InitialMmapSize: 64 << 20,
		NoSync: p.NoSync, NoFreelistSync: p.NoFreelistSync,
	}
}

func (p part) open() (*DB, error) {
	db, err := Open(p.Path, 0o640, tortureOptions(p))
	if err == nil {
		db.AllocSize = 1 << 20
	}
	return db, err
}

func (p part) compactOptions() CompactOptions {
	o := CompactOptions{Mode: bolt.ModeRewrite, VerifyFull: p.VerifyFull}
	if p.Way == wayPunch {
		o.Mode = bolt.ModePunch
	}
	return o
}

// own is the owner. It ends when its input does.
func (p part) own(out *reporter) error {
	db, err := p.open()
	if err != nil {
		return err
	}
	told := make(chan struct{})
	go func() {
		in := bufio.NewReader(os.Stdin)
		if _, err := in.ReadString('\n'); err == nil {
			close(told)
			_, _ = io.Copy(io.Discard, in)
		}
		os.Exit(0)
	}()
	sites := &sites{way: p.Way, path: db.path}
	met := 0
	var shortened lastRoundLeftOut
	db.hook = sites.hook(func(site string, op replace.Op) error {
		out.say("at %s", site)
		if p.Mistake == mistakeRound {
			if err := shortened.at(site, op); err != nil {
				return err
			}
		}
		if site == p.Site {
			if met++; met == p.Nth {
				die()
			}
		}
		return nil
	})
	acknowledge := func(w int, n uint64) {
		if p.Mistake == mistakeSilent && n%3 != 0 {
			return
		}
		out.say("acknowledged %d %d", w, n)
	}
	l, err := startLoad(db, acknowledge, func(l *load) { l.eager = p.Mistake == mistakeEager })
	if err != nil {
		return err
	}
	out.say("ready")
	if p.Told {
		<-told
	}
	for {
		sites.reset()
		if err := litter(db); err != nil {
			return errors.Join(err, l.stop())
		}
		result, err := db.Compact(context.Background(), p.compactOptions())
		switch {
		case errors.Is(err, sdk.ErrBusy):
			out.say("compaction given up")
		case err != nil:
			return errors.Join(fmt.Errorf("compaction: %w", err), l.stop())
		case result.NoOp:
			out.say("compaction without effect")
		default:
			out.say("compaction done")
		}
		if err := l.failure(); err != nil {
			return err
		}
	}
}

// wait is the waiter. It tries again what is refused.
func (p part) wait(out *reporter) error {
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	for {
		select {
		case <-ended:
			return nil
		default:
		}
		o := &bbolt.Options{Timeout: 30 * time.Second, OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			f, err := os.OpenFile(name, flag, mode)
			out.say("opened")
			return f, err
		}}
		if err := p.writeOnce(o); err != nil {
			out.say("refused %v", err)
			continue
		}
		out.say("wrote")
		return nil
	}
}

func (p part) writeOnce(o *bbolt.Options) error {
	write := func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte("waiters"))
		if err != nil {
			return err
		}
		return b.Put([]byte(p.Name), []byte("wrote"))
	}
	if p.Live {
		db, err := Open(p.Path, 0o640, o)
		if err != nil {
			return err
		}
		return errors.Join(db.Update(write), db.Close())
	}
	db, err := bbolt.Open(p.Path, 0o640, o)
	if err != nil {
		return err
	}
	return errors.Join(db.Update(write), db.Close())
}

// process is another process that plays a part.
type process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines sync.WaitGroup

	mu   sync.Mutex
	news *sync.Cond
	said map[string]int // lines by their first word
	over bool
	// acknowledged is the last commit of each writer that was.
	acknowledged [loadWriters]uint64
	outcomes     map[string]int // of compactions
	last         string         // site
	refusals     []string
	strange      []string
}

// start starts a part; counts are how often each writer has committed before.
func (p part) start(counts [loadWriters]uint64) (*process, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	executable, err := os.Executable()
	if err != nil {
		return nil, err
	}
	reports, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer write.Close()
	cmd := exec.Command(executable, "-test.run=^TestTorturePart$")
	cmd.Env = append(os.Environ(), partVariable+"="+string(text), "GOMAXPROCS=2")
	cmd.ExtraFiles = []*os.File{write}
	cmd.Stderr = os.Stderr
	// A campaign that is killed takes its processes with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	q := &process{cmd: cmd, stdin: stdin, said: map[string]int{}, acknowledged: counts, outcomes: map[string]int{}}
	q.news = sync.NewCond(&q.mu)
	q.lines.Go(func() {
		defer reports.Close()
		for lines := bufio.NewScanner(reports); lines.Scan(); {
			q.line(lines.Text())
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		q.over = true
		q.news.Broadcast()
	})
	return q, nil
}

func (q *process) line(text string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	defer q.news.Broadcast()
	word, rest, _ := strings.Cut(text, " ")
	q.said[word]++
	switch word {
	case "acknowledged":
		var w int
		var n uint64
		if _, err := fmt.Sscan(rest, &w, &n); err != nil || w < 0 || w >= loadWriters || n <= q.acknowledged[w] {
			q.strange = append(q.strange, text)
			return
		}
		q.acknowledged[w] = n
	case "at":
		q.last = rest
	case "compaction":
		q.outcomes[rest]++
	case "refused":
		q.refusals = append(q.refusals, rest)
	case "ready", "opened", "wrote":
	default:
		q.strange = append(q.strange, text)
	}
}

// heard waits until a word has been said. Its error is that it will not be.
func (q *process) heard(word string) error {
	late := time.AfterFunc(patience, func() { _ = q.cmd.Process.Kill() })
	defer late.Stop()
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.said[word] == 0 && !q.over {
		q.news.Wait()
	}
	if q.said[word] == 0 {
		return fmt.Errorf("a process ended, and never said %q, but %q", word, q.strange)
	}
	return nil
}

// patience is how long anything may take that is to end by itself.
const patience = time.Minute

// wait waits for the end, and returns whether the process was killed, by itself or
// by us.
func (q *process) wait() (killed bool, err error) {
	var late atomic.Bool
	timer := time.AfterFunc(patience, func() { late.Store(q.cmd.Process.Kill() == nil) })
	q.lines.Wait()
	waited := q.cmd.Wait()
	if !timer.Stop() && late.Load() {
		return true, fmt.Errorf("a process did not end in %v; it was %q", patience, q.last)
	}
	_ = q.stdin.Close()
	status, ok := q.cmd.ProcessState.Sys().(syscall.WaitStatus)
	killed = ok && status.Signaled() && status.Signal() == syscall.SIGKILL
	if len(q.strange) > 0 || !killed && waited != nil {
		return killed, fmt.Errorf("a process says %q: %w", q.strange, waited)
	}
	return killed, nil
}
