//go:build !linux

package main

// newClock is one for a single goroutine.
func newClock() (clock, func(), error) { return timerClock{}, func() {}, nil }
