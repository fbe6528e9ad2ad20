package sdk

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestSignatures(t *testing.T) {
	dir := t.TempDir()
	long := bytes.Repeat([]byte("x"), MaxMagic+1)
	file, tree := filepath.Join(dir, "file"), filepath.Join(dir, "tree")
	if err := os.MkdirAll(filepath.Join(tree, "1.log"), 0o700); err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string][]byte{
		file: append([]byte("..MAGIC"), long...), filepath.Join(tree, "2.log"): []byte("LOG2"), filepath.Join(tree, "CURRENT"): nil,
	} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		signature  Signature
		file, tree bool
	}{
		{Signature{}, false, false},
		{Signature{Magic: []byte("MAGIC"), Offset: 2}, true, false},
		{Signature{Magic: []byte("MAGIC")}, false, false},
		{Signature{Magic: []byte("MAGIC"), Offset: -2}, false, false},
		{Signature{Magic: long[1:], Offset: 7}, true, false},
		{Signature{Magic: long, Offset: 7}, false, false},
		{Signature{DirEntry: "CURRENT"}, false, true},
		{Signature{DirEntry: "*.log"}, false, true},
		{Signature{DirEntry: "file"}, false, false},
		{Signature{DirEntry: "["}, false, false},
		// The magic of an entry: the second that the pattern fits has it.
		{Signature{DirEntry: "*.log", Magic: []byte("LOG2")}, false, true},
		{Signature{DirEntry: "*.log", Magic: []byte("LOG3")}, false, false},
		{Signature{DirEntry: "CURRENT", Magic: []byte("LOG2")}, false, false},
	} {
		for path, want := range map[string]bool{file: c.file, tree: c.tree} {
			candidate, err := OpenCandidate(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := candidate.Matches(c.signature); got != want {
				t.Errorf("%+v fits %s: %v, want %v", c.signature, filepath.Base(path), got, want)
			}
			candidate.Close()
		}
	}
	if _, err := OpenCandidate(filepath.Join(dir, "none")); !os.IsNotExist(err) {
		t.Errorf("what is not there: %v", err)
	}
}
