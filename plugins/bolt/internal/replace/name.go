package replace

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"
)

// mark is what a temp's name says beside the name of the store:
// .NAME.wring-RANDOM-INODE-VERSION-OWN.tmp, all four in hex digits.
//
// After a kill it tells the old file, which an exchange has left under that
// name, from a new one that was never put in place, and both from a file that
// somebody else put in the store's place at the last moment; and whether the
// old file is still what the new one was made from.
type mark struct {
	random [8]byte
	// inode and version of the file that the temp was to replace. The version of
	// the temp itself is one more at most.
	inode, version uint64
	// own is the temp's inode. For the moment in which that is not known yet it
	// is 0 and not part of the name; the temp is empty then.
	own uint64
}

func (m mark) name(path string) string {
	prefix, suffix := affixes(path)
	numbers := fmt.Sprintf("%x-%x-%x", m.random, m.inode, m.version)
	if m.own != 0 {
		numbers += fmt.Sprintf("-%x", m.own)
	}
	return prefix + numbers + suffix
}

// parseMark reads the name of a temp of the file at path; ok is false for any
// other name.
func parseMark(path, name string) (m mark, ok bool) {
	prefix, suffix := affixes(path)
	rest, isOurs := strings.CutPrefix(name, prefix)
	rest, isTemp := strings.CutSuffix(rest, suffix)
	parts := strings.Split(rest, "-")
	if !isOurs || !isTemp || len(parts) < 3 || len(parts) > 4 {
		return mark{}, false
	}
	random, err := hex.DecodeString(parts[0])
	if err != nil || len(random) != len(m.random) {
		return mark{}, false
	}
	copy(m.random[:], random)
	if m.inode, err = strconv.ParseUint(parts[1], 16, 64); err != nil {
		return mark{}, false
	}
	if m.version, err = strconv.ParseUint(parts[2], 16, 64); err != nil {
		return mark{}, false
	}
	if len(parts) == 4 {
		if m.own, err = strconv.ParseUint(parts[3], 16, 64); err != nil {
			return mark{}, false
		}
	}
	return m, m.name(path) == name
}

// longestBase is how many bytes of a file's name a temp's name takes whole.
// Most file systems end at 255, of which the mark takes up to 79.
const longestBase = 163

// affixes are what the names of the temps of a file have around their mark.
func affixes(path string) (prefix, suffix string) {
	base := filepath.Base(path)
	if len(base) > longestBase {
		sum := sha256.Sum256([]byte(base))
		end := longestBase - 20
		for end > 0 && !utf8.RuneStart(base[end]) {
			end--
		}
		base = fmt.Sprintf("%s~%x", base[:end], sum[:8])
	}
	return "." + base + ".wring-", ".tmp"
}

// inode is a file's number, or 0 where it has none.
func inode(info os.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Ino
	}
	return 0
}
