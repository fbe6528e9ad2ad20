package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
)

// check makes sure that a result is sound, by `bbolt check`, and that its
// content is that of the file it was made from. Bytes that were checked once
// are not checked again.
func (b *bench) check(ctx context.Context, f *file, result string) error {
	sum, err := sumOf(result)
	if err != nil {
		return err
	}
	digest, known := b.checked[sum]
	if !known {
		if _, err := command(ctx, b.tools.bbolt, "check", result).output(); err != nil {
			return err
		}
		if digest, err = bolttest.Digest(result); err != nil {
			return err
		}
		b.checked[sum] = digest
	}
	if digest != f.Digest {
		return fmt.Errorf("the result has other content than %s: digest %s, not %s", f.Path, digest, f.Digest)
	}
	return nil
}

func sumOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
