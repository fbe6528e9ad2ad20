//go:build !linux

package bolt

import "os"

// dropCache does nothing where the system has no such call.
func dropCache(*os.File) {}
