package punch

import (
	"os"

	"golang.org/x/sys/unix"
)

// allocation is which parts of some runs hold blocks.
type allocation struct {
	// punch are the runs that do, clipped to whole blocks, without what is a
	// hole already at either end.
	punch []span
	// bytes of data in punch, and dataBytes in the whole file.
	bytes, dataBytes int64
}

// allocated holds runs, ascending, against the file's holes. Runs with less
// than minRun of data are left out: a hole in which a few pages were used and
// freed again is not worth another call.
func allocated(f *os.File, size int64, runs []span, minRun int64) (allocation, error) {
	block, err := blockSize(f)
	if err != nil {
		return allocation{}, err
	}
	m := &matcher{size: size, block: block, minRun: minRun, runs: runs}
	if err := extents(f, size, m.extent); err != nil {
		return allocation{}, err
	}
	m.finish()
	return m.found, nil
}

// matcher goes through runs and extents of data side by side.
type matcher struct {
	size, block, minRun int64
	runs                []span // those not done yet
	data                span   // of runs[0]: from its first to its last byte of data
	dataBytes           int64  // of runs[0]
	found               allocation
}

// extent takes the next part of the file that holds data.
func (m *matcher) extent(e span) {
	m.found.dataBytes += e.length()
	for len(m.runs) > 0 {
		run := m.clipped()
		if part := (span{max(run.from, e.from), min(run.to, e.to)}); part.length() > 0 {
			if m.dataBytes == 0 {
				m.data.from = part.from
			}
			m.data.to = part.to
			m.dataBytes += part.length()
		}
		if run.to > e.to {
			return // the next extent may lie in it too
		}
		m.next()
	}
}

// clipped is the current run without the blocks that it shares with others.
// Those would only be zeroed, which is harmless and gives nothing back. The
// file's last block has no other owner.
func (m *matcher) clipped() span {
	run := m.runs[0]
	to := run.to / m.block * m.block
	if run.to == m.size {
		to = roundUp(run.to, m.block)
	}
	return span{roundUp(run.from, m.block), to}
}

// next is done with the current run.
func (m *matcher) next() {
	if m.dataBytes >= max(m.minRun, 1) {
		if m.data.to == m.size {
			m.data.to = roundUp(m.size, m.block)
		}
		m.found.punch = append(m.found.punch, m.data)
		m.found.bytes += m.dataBytes
	}
	m.runs, m.dataBytes = m.runs[1:], 0
}

func (m *matcher) finish() {
	for len(m.runs) > 0 {
		m.next()
	}
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }

// blockSize is the size in which the file system allocates, as far as it
// tells.
func blockSize(f *os.File) (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: f.Name(), Err: err}
	}
	return max(int64(fs.Bsize), 1), nil //nolint:unconvert // the type differs between systems
}
