//go:build !linux

package sdk

// setGroupIOPriority does nothing: this system has no such rank, or none that
// one process can give another.
func setGroupIOPriority(int, bool) error { return nil }
