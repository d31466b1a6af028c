package main

import (
	"runtime"
	"testing"
)

func TestPlacesForSyncs(t *testing.T) {
	for cores, want := range map[int]int{1: 4, 2: 8, 8: 32, 64: 96} {
		if got := placesFor(cores); got != want {
			t.Errorf("%d cores: %d places, want %d", cores, got, want)
		}
	}
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	t.Setenv("GOMAXPROCS", "3")
	if runMore(); runtime.GOMAXPROCS(0) != before {
		t.Errorf("with GOMAXPROCS set: %d places, want %d as before", runtime.GOMAXPROCS(0), before)
	}
	t.Setenv("GOMAXPROCS", "")
	if runMore(); runtime.GOMAXPROCS(0) != placesFor(before) {
		t.Errorf("%d places, want %d", runtime.GOMAXPROCS(0), placesFor(before))
	}
}
