// Package writer makes a bbolt file out of content that arrives in order.
package writer

import (
	"os"

	"github.com/wringdb/wring/plugins/bolt/internal/content"
)

// Writer fills a file that nobody else knows of yet. It may write whenever it
// likes and syncs nothing: the caller does, once Finish has returned. Until
// then it may refer to all slices that it was handed.
type Writer interface {
	content.Visitor
	// Finish completes the file and returns its size, which is up to the
	// high-water mark exactly. The Writer is of no use afterwards.
	Finish() (int64, error)
	// Abort gives up what is open; after Finish it does nothing.
	Abort()
}

// Config of a file to write.
type Config struct {
	PageSize int
	// Fill is how full pages become, 0.1 to 1.
	Fill float64
	// NoFreelist makes a file as NoFreelistSync leaves it.
	NoFreelist bool
	// SizeHint is the expected size of the file in bytes.
	SizeHint int64
	// BatchBytes bounds the memory of one batch; 0 for 32 MiB.
	BatchBytes int64
	// Wrote is told how many bytes have been written, after the fact; an
	// error ends the writing. May be nil.
	Wrote func(n int64) error
}

// New starts to write a file that exists and is empty. The file stays the
// caller's to close.
type New func(f *os.File, c Config) (Writer, error)
