package catalog

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/wringdb/wring/core/config"
	"github.com/wringdb/wring/sdk"
)

func TestRecognise(t *testing.T) {
	plugins, stores := t.TempDir(), t.TempDir()
	install(t, plugins, "magic", "tree", "treemagic", "nothing-set", "crash")
	store := func(name, content string) string { return write(t, filepath.Join(stores, name), 0o600, content) }

	magic := store("magic.db", strings.Repeat("\x00", 16)+"MAGIC and more")
	second := store("second.db", "SECOND")
	text := store("notes.txt", "dear diary, this is no database")
	short := store("short", "x")
	tree := filepath.Dir(store("tree/CURRENT", "x"))
	marker := filepath.Dir(store("marked/marker.manifest.000001.MANIFEST-000001", ""))
	logs := filepath.Dir(store("logs/1.log", "LOG1..."))
	noLogs := filepath.Dir(store("other/1.log", "text"))
	empty := store("empty", "")
	emptyDir := filepath.Join(stores, "dir")
	pipe := filepath.Join(stores, "pipe")
	socket := filepath.Join(stores, "s")
	if err := errors.Join(os.Mkdir(emptyDir, 0o700), syscall.Mkfifo(pipe, 0o600)); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()

	c := New(Config{SelfDir: plugins})
	for _, test := range []struct {
		path  string
		want  string
		kind  error
		parts []string
	}{
		{magic, "magic", nil, nil},
		{second, "magic", nil, nil},
		{tree, "tree", nil, nil},
		{marker, "tree", nil, nil},
		{logs, "treemagic", nil, nil},
		{text, "", sdk.ErrUnsupported, []string{text + ": no plugin recognises this file; known: magic, nothing-set, tree, treemagic", "not asked: crash (", "--plugin"}},
		{short, "", sdk.ErrUnsupported, nil},
		{filepath.Join(tree, "CURRENT"), "", sdk.ErrUnsupported, []string{"this file", "it lies in " + tree + ", a directory that tree recognises"}},
		{noLogs, "", sdk.ErrUnsupported, []string{"this directory"}},
		{emptyDir, "", sdk.ErrUnsupported, []string{"this directory"}},
		{empty, "", sdk.ErrCorrupt, []string{"is empty (0 bytes)"}},
		{pipe, "", sdk.ErrUnsupported, []string{"neither a file nor a directory"}},
		{socket, "", sdk.ErrUnsupported, []string{"is a socket", "owner = "}},
		{filepath.Join(stores, "gone"), "", sdk.ErrNotFound, []string{"there is no such file or directory"}},
	} {
		t.Run(filepath.Base(test.path), func(t *testing.T) {
			got, err := c.Recognise(t.Context(), test.path)
			if test.kind == nil {
				if err != nil || got != test.want {
					t.Errorf("Recognise = %q, %v, want %q", got, err, test.want)
				}
				return
			}
			if !errors.Is(err, test.kind) {
				t.Errorf("error is %v, want %v", err, test.kind)
			}
			says(t, err, test.parts...)
		})
	}
}

func TestRecogniseDoesNotGuessBetweenTwo(t *testing.T) {
	dir := t.TempDir()
	install(t, dir, "magic", "magic2")
	path := write(t, filepath.Join(t.TempDir(), "x.db"), 0o600, strings.Repeat("\x00", 16)+"MAGIC")
	_, err := New(Config{SelfDir: dir}).Recognise(t.Context(), path)
	says(t, err, "recognised by several plugins: magic, magic2", "--plugin")
}

func TestRecogniseKnowsConfiguredPlugins(t *testing.T) {
	dir := t.TempDir()
	install(t, dir, "magic")
	path := write(t, filepath.Join(t.TempDir(), "x.db"), 0o600, "SECOND")
	c := New(Config{Plugins: []config.Plugin{{Name: "acme", Command: filepath.Join(dir, "wring-plugin-magic")}}})
	if got, err := c.Recognise(t.Context(), path); err != nil || got != "acme" {
		t.Errorf("Recognise = %q, %v, want acme", got, err)
	}
	if _, err := New(Config{}).Recognise(t.Context(), path); err == nil || !strings.Contains(err.Error(), "none is known") {
		t.Errorf("without plugins: %v", err)
	}
}

func TestRecogniseEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	install(t, dir, "hang")
	path := write(t, filepath.Join(t.TempDir(), "x.db"), 0o600, "SECOND")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := New(Config{SelfDir: dir}).Recognise(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want the context's", err)
	}
}
