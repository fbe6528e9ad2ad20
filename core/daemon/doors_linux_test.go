package daemon_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wringdb/wring/core/api"
)

// listeners counts the TCP sockets on which a process listens.
func listeners(t *testing.T, pid int) int {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d", pid)
	own := map[string]bool{} // inodes of its sockets
	links, err := filepath.Glob(filepath.Join(dir, "fd/*"))
	if err != nil || len(links) == 0 {
		t.Fatalf("files of process %d: %v", pid, err)
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, "socket:[") {
			own[strings.Trim(target, "socket:[]")] = true
		}
	}
	if len(own) == 0 {
		t.Fatalf("process %d has no socket at all", pid)
	}
	found := 0
	for _, table := range []string{"net/tcp", "net/tcp6"} {
		content, err := os.ReadFile(filepath.Join(dir, table))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(content)) {
			const state, inode, listen = 3, 9, "0A"
			if fields := strings.Fields(line); len(fields) > inode && fields[state] == listen && own[fields[inode]] {
				found++
			}
		}
	}
	return found
}

func TestNothingListensOnTCPUnlessConfigured(t *testing.T) {
	for block, want := range map[string]int{"": 0, `listen { address = "127.0.0.1:0" }`: 1} {
		dir, config := shortPlace(t, block)
		host := startChild(t, config)
		client := api.NewClient(api.SocketPath(filepath.Join(dir, "data")))
		(&place{t: t}).wait("the host answers", func() bool { _, err := client.Status(t.Context()); return err == nil })
		if got := listeners(t, host.cmd.Process.Pid); got != want {
			t.Errorf("with %q it listens on %d sockets, want %d", block, got, want)
		}
		client.Close()
		host.stop()
	}
}
