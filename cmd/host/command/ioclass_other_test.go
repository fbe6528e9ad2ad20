//go:build !linux

package command_test

import "errors"

func printIOClass([]string) error { return errors.New("this system has no I/O classes") }
