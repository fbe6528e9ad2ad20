//go:build !(linux || darwin)

package punch

import "os"

func hole(*os.File, span) error { return ErrUnsupported }

// SupportedIn says that this system cannot.
func SupportedIn(string) error { return ErrUnsupported }
