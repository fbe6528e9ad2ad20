//go:build !linux

package pebble

import "errors"

// lockOwner returns 0: this system has no table of locks to read.
func lockOwner(string) int { return 0 }

func processName(int) string { return "" }

// descriptors has no answer: /dev/fd lists all of them on some systems only.
func descriptors() ([]int, error) { return nil, errors.ErrUnsupported }
