//go:build !race

package live

// raceDetector says whether the tests run with it, which makes them slow.
const raceDetector = false
