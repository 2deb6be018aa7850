//go:build !race

package master

// raceDetector says that everything is slow.
const raceDetector = false
