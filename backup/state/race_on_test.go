//go:build race

package state

// The race detector makes sync.Pool forget at random: counts of allocations mean nothing then.
const raceDetector = true
