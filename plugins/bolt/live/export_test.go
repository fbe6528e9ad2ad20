package live

import "time"

// RaceDetector says whether the tests run with it, which makes them slow.
const RaceDetector = raceDetector

// SetWriterWait bounds for how long a compaction waits for a write transaction of
// the application. It must not be called while one runs.
func (db *DB) SetWriterWait(d time.Duration) { db.writerWait = d }
