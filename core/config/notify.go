package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Notify is somebody to tell of what happens.
type Notify struct {
	Name string
	// Exactly one of Webhook, Slack and Command is set. The first two are
	// addresses, whose paths are secrets as a rule; Command is an absolute path and
	// its arguments.
	Webhook string
	Slack   string
	Command []string
	// SecretFile holds the key with which a webhook's documents are signed; empty
	// means that they are not.
	SecretFile string
	// Timeout is how long one delivery may take.
	Timeout time.Duration
	// Events are some of NotifyEvents, and never empty.
	Events []string
	// Stores are patterns (path.Match) of names; empty means all stores.
	Stores []string
}

// Wants says whether an event of a store, which may be one that the store
// Configured stands for, is for this target.
func (n Notify) Wants(event, store, configured string) bool {
	if !slices.Contains(n.Events, event) {
		return false
	}
	return len(n.Stores) == 0 || slices.ContainsFunc(n.Stores, func(pattern string) bool {
		return matches(pattern, store) || configured != "" && matches(pattern, configured)
	})
}

func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

// NotifyEvents are what a target can be told.
func NotifyEvents() []string {
	return []string{"failed", "degraded", "overdue", "disk_full_soon", "recovered"}
}

// defaultNotifyTimeout is ample for an answer that says no more than thanks.
const defaultNotifyTimeout = 30 * time.Second

// notifies reads the notify blocks.
func (b *block) notifies(c *Config) {
	b.labelled("notify", func(name string, inner *hclsyntax.Block) {
		n := b.open(inner.Body, fmt.Sprintf("notify %q", name), inner.LabelRanges[0],
			[]string{"webhook", "slack", "command", "secret_file", "timeout", "events", "stores"}, nil)
		c.Notify = append(c.Notify, n.notify(name, c.Stores))
	})
}

func (b *block) notify(name string, stores []Store) Notify {
	n := Notify{Name: name, Timeout: defaultNotifyTimeout, Events: NotifyEvents()}
	n.Webhook, n.Slack = setting(b, "webhook", webAddress).v, setting(b, "slack", webAddress).v
	command, secret := setting(b, "command", b.commandLine), setting(b, "secret_file", b.path)
	n.Command, n.SecretFile = command.v, secret.v
	if v := setting(b, "timeout", duration(time.Second)); v.set {
		n.Timeout = v.v
	}
	if v := setting(b, "events", notifyEvents); v.set {
		n.Events = v.v
	}
	patterns := setting(b, "stores", storePatterns)
	n.Stores = patterns.v
	b.checkOneTarget()
	for _, pattern := range patterns.v {
		b.checkPattern(pattern, patterns.at, stores)
	}
	if b.files && command.set {
		b.checkCommand(command)
	}
	if b.files && secret.set {
		b.checkSecret(secret)
	}
	return n
}

// checkOneTarget makes sure that the block says once who is told.
func (b *block) checkOneTarget() {
	var given []*hclsyntax.Attribute
	for _, name := range []string{"webhook", "slack", "command"} {
		if attribute, ok := b.body.Attributes[name]; ok {
			given = append(given, attribute)
		}
	}
	secret, signed := b.body.Attributes["secret_file"]
	switch {
	case len(given) == 0:
		b.reportMissing(b.place, b.what+" does not say whom to tell", "give it a webhook, a slack or a command")
	case len(given) > 1:
		for _, more := range given[1:] {
			b.report(more.NameRange, fmt.Sprintf("%s has both %s and %s", b.what, given[0].Name, more.Name), "leave one of the two out, or give it a notify block of its own")
		}
	case signed && given[0].Name != "webhook":
		b.report(secret.NameRange, fmt.Sprintf("%s has secret_file, and nothing to sign", b.what), "only a webhook's documents are signed: leave secret_file out")
	}
}

// checkPattern reports a pattern that no store can have the name for: with it
// nobody would ever be told.
func (b *block) checkPattern(pattern string, place hcl.Range, stores []Store) {
	names := make([]string, len(stores))
	for i, s := range stores {
		names[i] = s.Name
		// Who has a socket in a directory is known when they are there.
		first, _, below := strings.Cut(pattern, "/")
		if matches(pattern, s.Name) || below && s.OwnerDir != "" && matches(first, s.Name) {
			return
		}
	}
	detail := "it is matched against names of stores; leave the setting out for all of them"
	if near := Nearest(pattern, names); near != "" {
		detail = fmt.Sprintf("did you mean %q?", near)
	}
	b.reportMissing(place, fmt.Sprintf("no store is called %q", pattern), detail)
}

func (b *block) checkCommand(command value[[]string]) {
	program := command.v[0]
	info, err := os.Stat(program)
	switch {
	case err != nil:
		b.report(command.at, "the command cannot be run: "+reason(err), "name a program by its path; "+program+" is what would be run")
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		b.report(command.at, "the command is no program: "+program, "make it executable: chmod +x "+program)
	}
}

func (b *block) checkSecret(secret value[string]) {
	if _, err := ReadSecret(secret.v); err != nil {
		what, todo, _ := strings.Cut(err.Error(), "\n")
		b.report(secret.at, "the secret_file "+what, todo)
	}
}

// maxSecret bounds a secret, in bytes.
const maxSecret = 4096

// ReadSecret returns what is in a file that holds a secret, which must be closed
// to others, without the blanks around it. What to do about an error is in its
// second line.
func ReadSecret(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err == nil && !info.Mode().IsRegular() {
		return nil, errors.New("is not a file\nname the file that the secret is in")
	}
	if err == nil && info.Size() > 2*maxSecret {
		return nil, noSecret(info.Size())
	}
	var content []byte
	if err == nil {
		content, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %s\n%s", reason(err), forSecret(file, err))
	}
	if mode := info.Mode().Perm(); mode&0o037 != 0 {
		return nil, fmt.Errorf("is open to others\nclose it, its mode is %#o: chmod 600 %s; and if others may have read it, choose another secret", mode, file)
	}
	secret := bytes.TrimSpace(content)
	switch {
	case len(secret) == 0:
		return nil, fmt.Errorf("has no secret in it\nmake one: openssl rand -hex 32 > %s", file)
	case len(secret) > maxSecret:
		return nil, noSecret(info.Size())
	}
	return secret, nil
}

// noSecret refuses a file with something else in it. Nobody is told to write to
// it: it may be a database.
func noSecret(size int64) error {
	return fmt.Errorf("has no secret in it: it is too large\na secret has at most %d bytes, and the file has %d: name the file that the secret is in", maxSecret, size)
}

// forSecret is what to do about a file that cannot be read. One that is there is
// not to be written over: the receiver knows what is in it.
func forSecret(file string, err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("make one: (umask 077; openssl rand -hex 32 > %s)", file)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("let it belong to the user that runs wring, as in: chown wring %s; and let that user into its directory", file)
	}
	return "see what is wrong with the file, or name another"
}

// reason is the error of a file without its name, which is in the line that is
// shown.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// webAddress parses the address of a webhook. It does not show what it refuses:
// whoever knows an address may use it.
func webAddress(v cty.Value) (string, error) {
	s, err := text(v)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", errors.New("is no address of a web server\nwrite one such as \"https://hooks.example.org/wring\"")
	}
	return s, nil
}

// commandLine parses a program and its arguments; no shell is involved.
func (d *decoder) commandLine(v cty.Value) ([]string, error) {
	list, err := texts(v)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errors.New("names no program\nwrite [\"/path/of/program\", \"argument\", …]")
	}
	list[0], err = d.path(cty.StringVal(list[0]))
	return list, err
}

func notifyEvents(v cty.Value) ([]string, error) {
	names, err := texts(v)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, errors.New("has no event in it\nname some, or leave the setting out for all")
	}
	var wrong []error
	for _, name := range names {
		if !slices.Contains(NotifyEvents(), name) {
			wrong = append(wrong, fmt.Errorf("has no event %q\n%s", name, suggest(name, NotifyEvents(), "events")))
		}
	}
	return names, errors.Join(wrong...)
}

func storePatterns(v cty.Value) ([]string, error) {
	patterns, err := texts(v)
	if err != nil {
		return nil, err
	}
	if len(patterns) == 0 {
		return nil, errors.New("has no pattern in it\nwrite some, or leave the setting out for all stores")
	}
	var wrong []error
	for _, pattern := range patterns {
		if _, err := path.Match(pattern, ""); err != nil {
			wrong = append(wrong, fmt.Errorf("has %q, which is no pattern\nclose every [, and write \\[ for the character itself", pattern))
		}
	}
	return patterns, errors.Join(wrong...)
}

var address = regexp.MustCompile(`([A-Za-z]+://)([^\s"/@]*@)?([^\s"/?#]*)[^\s"]*`)

// addressed is a line that sets an address which has no scheme, up to its path.
var addressed = regexp.MustCompile(`^(\s*(?:webhook|slack)\s*=[^/]*)/.*$`)

// shownLine is a line of a configuration without its secrets.
func shownLine(line string) string {
	if shorter := WithoutSecrets(line); shorter != line {
		return shorter
	}
	return addressed.ReplaceAllString(line, "$1/…")
}

// WithoutSecrets shortens addresses in a text to their hosts: what follows, and
// what may stand before the @, lets whoever reads it post there.
func WithoutSecrets(s string) string {
	return address.ReplaceAllString(s, "$1$3/…")
}
