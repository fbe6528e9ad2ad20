package engine

import (
	"testing"

	"github.com/wringdb/wring/sdk"
)

// TestProgressIsLate has somebody tell of less than was told already.
func TestProgressIsLate(t *testing.T) {
	var told []int64
	p := &Progress{Report: func(p sdk.Progress) { told = append(told, p.Done) }}
	p.Tell("read", 5, 10)
	p.Tell("read", 3, 10)
	p.Tell("read", 7, 10)
	p.Tell("verify", 1, 10)
	if len(told) != 3 || told[0] != 5 || told[1] != 7 || told[2] != 1 {
		t.Errorf("told of %v", told)
	}
}
