//go:build unix

package pebble

import (
	"os"
	"syscall"
)

// openDescriptors is how many descriptors are looked at where the system does
// not list them. A process gets the lowest number that is free.
const openDescriptors = 1 << 16

// openHere says whether this process has the file open, by whatever name. It
// does not open the file.
func openHere(info os.FileInfo) bool {
	want, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	is := func(descriptor int) bool {
		var stat syscall.Stat_t
		err := syscall.Fstat(descriptor, &stat)
		return err == nil && stat.Dev == want.Dev && stat.Ino == want.Ino
	}
	if listed, err := descriptors(); err == nil {
		for _, d := range listed {
			if is(d) {
				return true
			}
		}
		return false
	}
	for d := range openDescriptors {
		if is(d) {
			return true
		}
	}
	return false
}
