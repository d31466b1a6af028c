//go:build race

package owner

// raced: the race detector makes a search ten times slower; the small stories do then.
const raced = true
