//go:build !race

package service_test

// raceDetector: everything takes several times as long.
const raceDetector = false
