package bolt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/wringdb/wring/plugins/bolt/internal/replace"
	"github.com/wringdb/wring/sdk"
)

// rewriteRename is the mode of a campaign's compactions where files cannot be
// exchanged.
const rewriteRename = "rename"

// Roles of other processes in the campaign.
const (
	roleCompact = "torture compact" // MODE N: dies before the operation N
	roleSweep   = "torture sweep"   // - N: dies before the operation N
	roleAppend  = "torture append"  // NAME: opens, writes and closes until its input ends
	roleServe   = "torture serve"   // VICTIM N: is a plugin, and strikes before the operation N
)

// playTorture plays a role of the campaign; arguments are what follows its first
// word.
func playTorture(arguments, path string) error {
	words := strings.Fields(arguments)
	if len(words) == 2 && words[0] == "append" {
		return appendOn(path, words[1])
	}
	if len(words) == 3 && words[0] == "serve" {
		return serveAndStrike(words[1], words[2])
	}
	if len(words) != 3 {
		return fmt.Errorf("there is no role %q", arguments)
	}
	at, err := strconv.ParseInt(words[2], 10, 64)
	if err != nil {
		return err
	}
	var done atomic.Int64
	hook := func(replace.Op) error {
		if done.Add(1) == at+1 {
			die()
		}
		return nil
	}
	if words[0] == "sweep" {
		_, err = sweepHooked(path, hook)
	} else {
		err = compactHooked(path, words[1], hook)
	}
	return err
}

// Words of roleServe for victims.
const (
	strikeHost = "host"
	strikeBoth = "both"
)

// serveAndStrike is a plugin that kills the host which has started it, and with
// strikeBoth itself too, before an operation of the first compaction.
func serveAndStrike(victim, before string) error {
	at, err := strconv.ParseInt(before, 10, 64)
	if err != nil {
		return err
	}
	host := os.Getppid()
	b := newBackend()
	var done atomic.Int64
	b.hook = func(replace.Op) error {
		if done.Add(1) != at+1 {
			return nil
		}
		if err := syscall.Kill(host, syscall.SIGKILL); err != nil {
			return err
		}
		if victim == strikeBoth {
			die()
		}
		return nil
	}
	sdk.Serve(b)
	return nil
}

// compactHooked compacts as a plugin does, and verifies fully.
func compactHooked(path, mode string, hook replace.Hook) error {
	b := newBackend()
	b.hook = hook
	b.lockWait = time.Second // among writers that come and go
	request := fullRequest(path)
	request.Mode = mode
	if mode == rewriteRename {
		request.Mode = ModeRewrite
		b.hook = func(op replace.Op) error {
			if op.Kind == replace.OpExchange {
				return errors.ErrUnsupported
			}
			return hook(op)
		}
	}
	_, err := sdk.Guard(b).Compact(context.Background(), request, func(sdk.Progress) {})
	return err
}

// sweepHooked sweeps as a plugin does.
func sweepHooked(path string, hook replace.Hook) ([]string, error) {
	b := newBackend()
	b.hook = hook
	sweeper, ok := sdk.Guard(b).(sdk.Sweeper)
	if !ok {
		return nil, errors.New("the backend does not sweep")
	}
	return sweeper.Sweep(context.Background(), sdk.Store{Path: path})
}

// perform plays a role in another process to its end.
func perform(role, path string) error {
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(executable, path)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	if said, err := cmd.Output(); err != nil {
		return fmt.Errorf("%s: %w, said %q", role, err, said)
	}
	return nil
}

// appendOn opens the store, writes a key and closes it, over and over. It says
// which keys were acknowledged, and which openings were refused.
func appendOn(path, name string) error {
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	for i := 0; ; i++ {
		select {
		case <-ended:
			return nil
		default:
		}
		db, err := bbolt.Open(path, 0, &bbolt.Options{Timeout: 30 * time.Second})
		if err != nil {
			fmt.Println("refused", err)
			continue
		}
		key := fmt.Sprintf("%s-%d", name, i)
		err = put(db, key, "acknowledged")
		if err == nil {
			fmt.Println("acknowledged", key)
			err = litter(db, i)
		}
		if err := errors.Join(err, db.Close()); err != nil {
			return err
		}
	}
}

// litter leaves free pages.
func litter(db *bbolt.DB, i int) error {
	return db.Update(func(tx *bbolt.Tx) error {
		name := []byte("litter")
		if i%2 == 1 {
			if err := tx.DeleteBucket(name); !errors.Is(err, berrors.ErrBucketNotFound) {
				return err
			}
			return nil
		}
		b, err := tx.CreateBucketIfNotExists(name)
		if err != nil {
			return err
		}
		for k := range 60 {
			if err := b.Put([]byte{byte(k)}, make([]byte, 4<<10)); err != nil {
				return err
			}
		}
		return nil
	})
}
