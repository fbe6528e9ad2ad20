package bolttest

import (
	"os"
	"testing"
)

// Skip ends a test of something that this machine does not offer. With CI set the test
// fails: there nothing is to be left out.
func Skip(t testing.TB, format string, arguments ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, arguments...)
	}
	t.Skipf(format, arguments...)
}
