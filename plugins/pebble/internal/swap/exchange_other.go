//go:build !linux && !darwin

package swap

import "errors"

// exchange is not known here.
func exchange(_, _ string) error {
	return unfit(errors.ErrUnsupported, "this system cannot exchange two directories")
}
