package command_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdRemember takes a fingerprint of files and directories, for unchanged.
func cmdRemember(ts *testscript.TestScript, neg bool, args []string) {
	refuseNegation(ts, neg)
	for _, path := range args {
		is, err := fingerprint(ts.MkAbs(path))
		ts.Check(err)
		scriptOf(ts).prints[path] = is
	}
}

// cmdUnchanged says that files and directories are as they were remembered:
// the same files with the same bytes, owner, mode and time of change.
func cmdUnchanged(ts *testscript.TestScript, neg bool, args []string) {
	for _, path := range args {
		was, ok := scriptOf(ts).prints[path]
		if !ok {
			ts.Fatalf("%s was not remembered", path)
		}
		is, err := fingerprint(ts.MkAbs(path))
		ts.Check(err)
		if changed := was != is; changed != neg {
			ts.Fatalf("changed: %v\n%s", changed, difference(was, is))
		}
	}
}

// difference shows the first lines of one text that the other has not.
func difference(was, is string) string {
	var lines []string
	only := func(sign, in, notIn string) {
		for line := range strings.Lines(in) {
			if !strings.Contains(notIn, line) && len(lines) < 20 {
				lines = append(lines, sign+line)
			}
		}
	}
	only("- ", was, is)
	only("+ ", is, was)
	return strings.Join(lines, "")
}

// fingerprint describes all files at or below path, a line for each. That a
// file came and went in a directory does not matter, nor do the locks that a
// sweep holds for a moment: notemps looks for those that stay.
func fingerprint(path string) (string, error) {
	var lines strings.Builder
	err := filepath.WalkDir(path, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, ".wring.lock") {
			return nil
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		owner, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return fmt.Errorf("%s: the system does not tell its owner", path)
		}
		fmt.Fprintf(&lines, "%s %v %d:%d inode %d", path, info.Mode(), owner.Uid, owner.Gid, owner.Ino)
		if !info.IsDir() {
			fmt.Fprintf(&lines, ", %v", info.ModTime())
		}
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum := sha256.Sum256(content)
			fmt.Fprintf(&lines, ", %d bytes %s", len(content), hex.EncodeToString(sum[:]))
		}
		lines.WriteByte('\n')
		return nil
	})
	return lines.String(), err
}

// cmdNoTemps says that compactions have left nothing in a directory.
func cmdNoTemps(ts *testscript.TestScript, neg bool, args []string) {
	refuseNegation(ts, neg)
	for _, dir := range args {
		left, err := filepath.Glob(filepath.Join(ts.MkAbs(dir), ".*wring*"))
		ts.Check(err)
		if len(left) > 0 {
			ts.Fatalf("left behind: %q", left)
		}
	}
}

// cmdExpand replaces variables in files, as it was done with those named
// *.hcl when the script began.
func cmdExpand(ts *testscript.TestScript, neg bool, args []string) {
	refuseNegation(ts, neg)
	for _, file := range args {
		ts.Check(expandFile(ts.MkAbs(file), ts.Getenv))
	}
}
