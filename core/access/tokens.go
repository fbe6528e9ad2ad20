package access

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/wringdb/wring/sdk"
)

// Names of files in the data directory: the tokens, and the lock that whoever
// changes them holds.
const (
	TokensFile     = "tokens.json"
	TokensLockFile = "tokens.lock"
)

// tokenPrefix begins every token, so that people and scanners for secrets know
// one when they see it.
const tokenPrefix = "wring_"

// Bounds of the file: its size in bytes, and how many tokens are in it.
const (
	maxTokensFile = 1 << 20
	maxTokens     = 1000
)

// TokenInfo is what is known of a token. The token itself is not: it is shown
// once, when it is made.
type TokenInfo struct {
	Name      string    `json:"name"`
	Scope     Scope     `json:"scope"`
	CreatedAt time.Time `json:"created_at"`
	// ExpiresAt is zero for a token that does not expire.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

// Expired says whether the token is of no use any more.
func (t TokenInfo) Expired(now time.Time) bool {
	return !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt)
}

// record is a token as the file has it. A token has 256 random bits, so that a
// plain hash of it tells nothing.
type record struct {
	TokenInfo
	SHA256 string `json:"sha256"`
}

// document is the content of the file.
type document struct {
	Tokens []record `json:"tokens"`
}

// digest stands for a secret wherever one is kept or compared.
type digest [sha256.Size]byte

func digestOf(secret string) digest { return sha256.Sum256([]byte(secret)) }

// newSecret returns 256 random bits as text.
func newSecret() string {
	var bits [32]byte
	_, _ = rand.Read(bits[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(bits[:])
}

// Why a token is of no use.
var (
	errUnknown = errors.New("the token is not known")
	errExpired = errors.New("the token has expired")
)

// Tokens are the tokens of a data directory, in a file that hosts and command
// lines share: each reads it anew, and replaces it as a whole under a lock.
type Tokens struct{ dir string }

// NewTokens returns the tokens of a data directory. It has to exist before one can
// be made.
func NewTokens(dataDir string) Tokens { return Tokens{dataDir} }

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.@-]{0,99}$`)

// Create makes a token and returns it. It cannot be had again. A zero expires
// is never.
func (t Tokens) Create(name string, scope Scope, now, expires time.Time) (string, TokenInfo, error) {
	if !nameForm.MatchString(name) {
		return "", TokenInfo{}, sdk.Errorf(sdk.ErrInvalidOption, "%q is no name for a token", name).
			WithHint("a name begins with a letter or a digit and has letters, digits, '-', '_', '.' and '@', 100 at most")
	}
	if !scope.Valid() {
		return "", TokenInfo{}, sdk.Errorf(sdk.ErrInvalidOption, "there is no scope %q", scope).
			WithHint("read is for looking, operate for everything")
	}
	secret := tokenPrefix + newSecret()
	hash := digestOf(secret)
	made := record{TokenInfo{Name: name, Scope: scope, CreatedAt: now.UTC().Truncate(time.Second), ExpiresAt: expires.UTC()}, hex.EncodeToString(hash[:])}
	err := t.change(func(d *document) error {
		if slices.ContainsFunc(d.Tokens, func(r record) bool { return r.Name == name }) {
			return sdk.Errorf(sdk.ErrInvalidOption, "there is a token %q already", name).
				WithHint("choose another name, or first end that one: wring token revoke %s", name)
		}
		if len(d.Tokens) >= maxTokens {
			return sdk.Errorf(sdk.ErrInvalidOption, "there are %d tokens, which is the most", maxTokens).
				WithHint("revoke those that nobody needs: wring token list")
		}
		d.Tokens = append(d.Tokens, made)
		return nil
	})
	if err != nil {
		return "", TokenInfo{}, err
	}
	return secret, made.TokenInfo, nil
}

// Revoke ends a token, and the sessions that were begun with it.
func (t Tokens) Revoke(name string) error {
	missing := sdk.Errorf(sdk.ErrNotFound, "there is no token %q", name).WithHint("see: wring token list")
	if _, err := os.Stat(t.path()); errors.Is(err, fs.ErrNotExist) {
		return missing // and nothing is made
	}
	return t.change(func(d *document) error {
		before := len(d.Tokens)
		d.Tokens = slices.DeleteFunc(d.Tokens, func(r record) bool { return r.Name == name })
		if len(d.Tokens) == before {
			return missing
		}
		return nil
	})
}

// List returns the tokens by name, also those that have expired.
func (t Tokens) List() ([]TokenInfo, error) {
	d, err := t.read()
	if err != nil {
		return nil, err
	}
	list := make([]TokenInfo, len(d.Tokens))
	for i, r := range d.Tokens {
		list[i] = r.TokenInfo
	}
	slices.SortFunc(list, func(a, b TokenInfo) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// find returns the token with that digest. The file is read each time, so that
// one that was revoked is of no use from that moment on.
func (t Tokens) find(hash digest, now time.Time) (TokenInfo, error) {
	d, err := t.read()
	if err != nil {
		return TokenInfo{}, err
	}
	// Time may tell how much of a digest is right, which leads to no token.
	wanted := hex.EncodeToString(hash[:])
	for _, r := range d.Tokens {
		if r.SHA256 != wanted {
			continue
		}
		if r.Expired(now) {
			return TokenInfo{}, errExpired
		}
		return r.TokenInfo, nil
	}
	return TokenInfo{}, errUnknown
}

func (t Tokens) path() string { return filepath.Join(t.dir, TokensFile) }

// read returns what is in the file; nothing where there is none.
func (t Tokens) read() (document, error) {
	var d document
	file, err := os.Open(t.path())
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return d, fmt.Errorf("read the tokens: %w", err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxTokensFile+1))
	if err != nil {
		return d, fmt.Errorf("read the tokens: %w", err)
	}
	if len(content) > maxTokensFile {
		return d, fmt.Errorf("read the tokens: %s is larger than %s", t.path(), sdk.FormatBytes(maxTokensFile))
	}
	if err := json.Unmarshal(content, &d); err != nil {
		// What stands there is not quoted: it may be anything.
		return d, sdk.Errorf(sdk.ErrCorrupt, "read the tokens: %s is no list of tokens", t.path()).
			WithHint("restore the file, or remove it and make new tokens")
	}
	return d, nil
}

// change replaces the file by one with what f has changed, in one step.
func (t Tokens) change(f func(*document) error) error {
	lock, err := os.OpenFile(filepath.Join(t.dir, TokensLockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("lock the tokens: %w", err)
	}
	defer lock.Close()
	if err := t.giveToOwner(lock); err != nil {
		return err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock the tokens: %w", err)
	}
	d, err := t.read()
	if err != nil {
		return err
	}
	if err := f(&d); err != nil {
		return err
	}
	content, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the tokens: %w", err)
	}
	return t.replace(append(content, '\n'))
}

func (t Tokens) replace(content []byte) (err error) {
	file, err := os.CreateTemp(t.dir, TokensFile+".") // mode 0600
	if err != nil {
		return fmt.Errorf("write the tokens: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(file.Name())
		}
	}()
	_, err = file.Write(content)
	if err = errors.Join(err, t.giveToOwner(file), file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("write the tokens: %w", err)
	}
	if err := os.Rename(file.Name(), t.path()); err != nil {
		return fmt.Errorf("put the tokens in place: %w", err)
	}
	dir, err := os.Open(t.dir)
	if err != nil {
		return fmt.Errorf("sync the tokens: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("sync the tokens: %w", err)
	}
	return nil
}

// giveToOwner makes a file belong to whoever the directory belongs to. The host
// could not read what root makes for it.
func (t Tokens) giveToOwner(file *os.File) error {
	info, err := os.Stat(t.dir)
	if err != nil {
		return fmt.Errorf("look at the data directory: %w", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(owner.Uid) == os.Geteuid() {
		return nil
	}
	if err := file.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
		return sdk.Errorf(sdk.ErrPermission, "give %s to the owner of the data directory: %w", file.Name(), err).
			WithHint("run this as the user who runs wring")
	}
	return nil
}
