//go:build !linux

package swap

// mountedAt is left to the exchange: there are no mounts of directories to speak of.
func mountedAt(string) string { return "" }
