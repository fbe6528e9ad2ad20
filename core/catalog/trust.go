package catalog

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// distrust says why a program is not run although it could be.
type distrust struct {
	what   string
	remedy string
}

func (d *distrust) Error() string { return d.what }

// checkTrust makes sure that nobody but uid, root and their groups can replace
// the program at path: neither the file nor a directory above it may be
// writable for everybody. A sticky directory such as /tmp is accepted when what
// lies in it on the way to the program belongs to uid or root, since others
// cannot move that away. Both the path as given and what its symbolic links
// lead to are looked at.
//
// This closes the door against planting a program; it is no defence against
// the users it names. The gap between the look and the start stays open to
// them alone.
func checkTrust(path string, uid int) *distrust {
	if d := checkChain(path, uid); d != nil {
		return d
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return &distrust{err.Error(), "correct the symbolic link"}
	}
	if real == path {
		return nil
	}
	return checkChain(real, uid)
}

// checkChain looks at path and at every directory above it.
func checkChain(path string, uid int) *distrust {
	info, err := os.Lstat(path)
	if err != nil {
		return &distrust{err.Error(), "let the user that runs wring look at it"}
	}
	// A symbolic link has no mode of its own; its directory matters.
	if info.Mode()&fs.ModeSymlink == 0 && info.Mode().Perm()&0o002 != 0 {
		return &distrust{
			fmt.Sprintf("everybody may write to %s (mode %04o)", path, info.Mode().Perm()),
			"make sure that it is what you installed, then: chmod o-w " + path,
		}
	}
	for child := path; ; {
		dir := filepath.Dir(child)
		if dir == child {
			return nil
		}
		dirInfo, err := os.Stat(dir)
		if err != nil {
			return &distrust{err.Error(), "let the user that runs wring look at it"}
		}
		if dirInfo.Mode().Perm()&0o002 != 0 {
			if dirInfo.Mode()&fs.ModeSticky == 0 {
				return &distrust{
					fmt.Sprintf("everybody may replace %s, because its directory %s has mode %04o", child, dir, dirInfo.Mode().Perm()),
					"move the program to a directory of its own, or: chmod o-w " + dir,
				}
			}
			if owner, ok := ownerOf(info); ok && owner != 0 && owner != uid {
				return &distrust{
					fmt.Sprintf("%s lies in %s, where everybody may put files, and belongs to user %d", child, dir, owner),
					"move the program to a directory that only you may write to",
				}
			}
		}
		child, info = dir, dirInfo
	}
}

func ownerOf(info fs.FileInfo) (uid int, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(st.Uid), true
}
