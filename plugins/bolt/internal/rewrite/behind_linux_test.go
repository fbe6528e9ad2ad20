package rewrite

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// What was read of a mapped file does not stay in the process's memory.
func TestBehindGivesBack(t *testing.T) {
	const size, step = 32 << 20, 4 << 10
	f, err := os.Create(filepath.Join(t.TempDir(), "a.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	mapping, err := page.Map(f, size)
	if err != nil {
		t.Fatal(err)
	}
	defer mapping.Close()
	b, sum := &behind{mapping: mapping, every: 2 << 20}, byte(0)
	for at := int64(0); at < size; at += step {
		sum += mapping.Data[at]
		b.read(step)
	}
	if kib := resident(t, f.Name()); sum != 0 || kib > size>>10/4 {
		t.Errorf("%d KiB are resident of the %d that were read", kib, size>>10)
	}
}

// resident is how many KiB of a mapped file are in the process's memory.
func resident(t *testing.T, path string) (kib int) {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if strings.HasSuffix(lines.Text(), path) {
			found = true
		} else if found && strings.HasPrefix(lines.Text(), "Rss:") {
			if _, err := fmt.Sscanf(lines.Text(), "Rss: %d kB", &kib); err != nil {
				t.Fatal(err)
			}
			return kib
		}
	}
	t.Fatalf("%s is not mapped", path)
	return 0
}
