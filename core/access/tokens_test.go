package access

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wringdb/wring/sdk"
)

var morning = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

func TestTokensAreFoundUntilTheyExpireOrAreRevoked(t *testing.T) {
	tokens := NewTokens(t.TempDir())
	secret, made, err := tokens.Create("ci", Read, morning, morning.Add(time.Hour))
	if err != nil || made.Name != "ci" || made.Scope != Read || !strings.HasPrefix(secret, "wring_") || len(secret) != len("wring_")+43 {
		t.Fatalf("Create() = %q, %+v, %v", secret, made, err)
	}
	other, _, err := tokens.Create("ana", Operate, morning, time.Time{})
	if err != nil || other == secret {
		t.Fatalf("Create() = %q again, %v", other, err)
	}
	for _, test := range []struct {
		secret string
		at     time.Time
		want   error
	}{
		{secret, morning, nil},
		{secret, morning.Add(time.Hour - 1), nil},
		{secret, morning.Add(time.Hour), errExpired},
		{other, morning.AddDate(50, 0, 0), nil},
		{secret[:len(secret)-1], morning, errUnknown},
		{secret + " ", morning, errUnknown},
		{"", morning, errUnknown},
	} {
		if _, err := tokens.find(digestOf(test.secret), test.at); !errors.Is(err, test.want) {
			t.Errorf("find(%q at %v) = %v, want %v", test.secret, test.at, err, test.want)
		}
	}
	list, err := tokens.List()
	if err != nil || len(list) != 2 || list[0].Name != "ana" || list[1] != made {
		t.Errorf("List() = %+v, %v", list, err)
	}
	// Whoever else has the data directory, such as a host, sees it at once.
	if err := NewTokens(tokens.dir).Revoke("ci"); err != nil {
		t.Error(err)
	}
	if _, err := tokens.find(digestOf(secret), morning); !errors.Is(err, errUnknown) {
		t.Errorf("a revoked token: %v", err)
	}
	if _, err := tokens.find(digestOf(other), morning); err != nil {
		t.Errorf("the other token: %v", err)
	}
	if err := tokens.Revoke("ci"); !errors.Is(err, sdk.ErrNotFound) || sdk.HintOf(err) == "" {
		t.Errorf("Revoke() again = %v", err)
	}
}

func TestNoSecretIsOnTheDisk(t *testing.T) {
	tokens := NewTokens(t.TempDir())
	secret, _, err := tokens.Create("ci", Read, morning, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(tokens.dir)
	if err != nil || len(entries) != 2 {
		t.Fatalf("%v, %v: want the tokens and their lock", entries, err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("%s has mode %v, %v", e.Name(), info.Mode(), err)
		}
		content, err := os.ReadFile(filepath.Join(tokens.dir, e.Name()))
		if err != nil || strings.Contains(string(content), strings.TrimPrefix(secret, tokenPrefix)) {
			t.Errorf("%s: %v, %s", e.Name(), err, content)
		}
	}
}

// What root makes for a host that runs as another user, that user can read.
func TestTokensBelongToTheOwnerOfTheDirectory(t *testing.T) {
	tokens := NewTokens(t.TempDir())
	owner := os.Geteuid()
	if owner == 0 {
		owner = 65534
		if err := os.Chown(tokens.dir, owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := tokens.Create("ci", Read, morning, time.Time{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{TokensFile, TokensLockFile} {
		info, err := os.Stat(filepath.Join(tokens.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != owner {
			t.Errorf("%s belongs to %d, the directory to %d", name, st.Uid, owner)
		}
	}
}

func TestWrongTokensAreNotMade(t *testing.T) {
	tokens := NewTokens(t.TempDir())
	if _, _, err := tokens.Create("ci", Read, morning, time.Time{}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		scope Scope
	}{{"ci", Read}, {"", Read}, {"-x", Read}, {"a b", Read}, {"x\ny", Read}, {"x", ""}, {"x", "admin"}} {
		secret, _, err := tokens.Create(test.name, test.scope, morning, time.Time{})
		if !errors.Is(err, sdk.ErrInvalidOption) || sdk.HintOf(err) == "" || secret != "" {
			t.Errorf("Create(%q, %q) = %q, %v", test.name, test.scope, secret, err)
		}
	}
	if list, err := tokens.List(); err != nil || len(list) != 1 {
		t.Errorf("List() = %+v, %v", list, err)
	}
}

func TestTokensAreMadeAtTheSameTime(t *testing.T) {
	dir := t.TempDir()
	var makers sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		makers.Go(func() {
			if _, _, err := NewTokens(dir).Create(name, Read, morning, time.Time{}); err != nil {
				t.Error(err)
			}
		})
	}
	makers.Wait()
	if list, err := NewTokens(dir).List(); err != nil || len(list) != 8 {
		t.Errorf("List() = %+v, %v", list, err)
	}
}

// Without a directory there are no tokens, and looking makes none.
func TestLookingMakesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	tokens := NewTokens(dir)
	if list, err := tokens.List(); err != nil || len(list) != 0 {
		t.Errorf("List() = %v, %v", list, err)
	}
	if err := tokens.Revoke("ci"); !errors.Is(err, sdk.ErrNotFound) {
		t.Errorf("Revoke() = %v", err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory: %v", err)
	}
}

func TestDamagedTokensOpenNothing(t *testing.T) {
	tokens := NewTokens(t.TempDir())
	secret, _, err := tokens.Create("ci", Read, morning, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"text": "secret text", "too large": strings.Repeat(" ", maxTokensFile+1)} {
		if err := os.WriteFile(tokens.path(), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := tokens.find(digestOf(secret), morning)
		if err == nil || errors.Is(err, errUnknown) || strings.Contains(err.Error(), content) {
			t.Errorf("%s: find() = %v", name, err)
		}
		if _, _, err := tokens.Create("x", Read, morning, time.Time{}); err == nil {
			t.Errorf("%s: a token is made in a file that cannot be read", name)
		}
		if after, err := os.ReadFile(tokens.path()); err != nil || string(after) != content {
			t.Errorf("%s: the file has changed, %v", name, err)
		}
	}
}
