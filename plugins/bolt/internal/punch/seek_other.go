//go:build !(linux || darwin || freebsd)

package punch

import "os"

// extents takes the whole file for data: this system does not tell.
func extents(_ *os.File, size int64, take func(span)) error {
	take(span{0, size})
	return nil
}
