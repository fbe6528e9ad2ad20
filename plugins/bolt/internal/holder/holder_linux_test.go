package holder

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLockers(t *testing.T) {
	stat := &syscall.Stat_t{Dev: unix.Mkdev(0xfd, 1), Ino: 131073}
	const others = `1: POSIX  ADVISORY  WRITE 11 fd:01:131073 0 EOF
2: FLOCK  ADVISORY  WRITE 12 fd:01:131074 0 EOF
2: -> FLOCK  ADVISORY  WRITE 13 fd:01:131073 0 EOF
3: FLOCK  ADVISORY  WRITE 0 fd:01:131073 0 EOF
4: OFDLCK ADVISORY  WRITE -1 fd:01:131073 0 EOF
5: FLOCK
`
	for name, test := range map[string]struct {
		table string
		want  []int
	}{
		"nobody":         {others, nil},
		"one":            {others + "6: FLOCK  ADVISORY  WRITE 4711 fd:01:131073 0 EOF\n", []int{4711}},
		"readers":        {"1: FLOCK  ADVISORY  READ 7 fd:01:131073 0 EOF\n2: FLOCK  ADVISORY  READ 8 fd:01:131073 0 EOF\n", []int{7, 8}},
		"another device": {"1: FLOCK  ADVISORY  WRITE 9 00:2a:131073 0 EOF\n", []int{9}},
		"both":           {"1: FLOCK  ADVISORY  WRITE 9 00:2a:131073 0 EOF\n2: FLOCK  ADVISORY  WRITE 5 fd:01:131073 0 EOF\n", []int{5}},
	} {
		if got := lockers(test.table, stat); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func TestOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := Of(f); len(got) != 0 {
		t.Errorf("nobody holds it, but %v is named", got)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("process %d (this process)", os.Getpid())
	if got := Describe(Of(f)); got != want {
		t.Errorf("held by %s, want %s", got, want)
	}
}
