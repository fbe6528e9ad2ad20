//go:build !linux

package sdk

// awaitExit returns true when the child has ended and not been reaped; this
// system has no simple way to wait for that.
func awaitExit(int) bool { return false }
