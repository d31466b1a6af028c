package owner

import (
	"slices"
	"testing"
)

// savepointStories are searched like those of small and fast; each has savepoints.
var savepointStories = []story{
	{name: "a savepoint, a crash, another owner", daemons: 1, attaches: 2, files: 1, saves: 1, crashes: 1, begun: true, progress: true},
	{name: "a savepoint that its owner, suspended, writes late", daemons: 2, attaches: 1, files: 1, saves: 1, begun: true},
	{name: "a savepoint beside a completion", daemons: 1, attaches: 1, triggers: 1, files: 1, saves: 1, begun: true},
	{name: "a savepoint, lost replies", daemons: 1, attaches: 1, files: 1, saves: 1, lost: 2, begun: true, progress: true},
	{name: "a savepoint that is aborted", daemons: 1, attaches: 1, saves: 1, aborts: 1, lost: 1, progress: true},
	{name: "a savepoint that cannot be written", daemons: 1, attaches: 1, saves: 1, refusals: 1, progress: true},
	{name: "two savepoints, and room for one", daemons: 1, attaches: 1, saves: 2, aborts: 1, maxSavepoints: 1},
	{name: "a savepoint and the end of its job", daemons: 1, attaches: 2, saves: 1, files: 1, ends: 1, sweeps: 1, crashes: 1, truthful: true, progress: true},
	{name: "a savepoint and a failover", daemons: 1, attaches: 1, saves: 1, failovers: 1, workers: true, begun: true},
	{name: "a stop with a savepoint, a crash", daemons: 1, attaches: 2, files: 1, saves: 1, stopping: true, crashes: 1, begun: true, progress: true},
	{name: "a stop with a savepoint, two daemons", daemons: 2, attaches: 1, files: 1, saves: 1, stopping: true, begun: true},
	{name: "a stop with a savepoint beside a completion, an abort", daemons: 1, attaches: 1, triggers: 1, aborts: 1, files: 1, saves: 1, stopping: true, begun: true},
	{name: "a stop with a savepoint, workers, a failover", daemons: 1, attaches: 1, saves: 1, failovers: 1, stopping: true, workers: true, begun: true},
	{name: "a stop with a savepoint, a lost reply", daemons: 1, attaches: 1, files: 1, saves: 1, lost: 1, stopping: true, begun: true, progress: true},
}

// periodicStories are searched like those of savepoints; in each the owner takes one by itself.
var periodicStories = []story{
	{name: "a periodic savepoint is disposed of, a crash", daemons: 1, attaches: 2, saves: 1, disposals: 1, crashes: 1, periodic: true, begun: true, progress: true},
	{name: "a periodic savepoint and one that was asked for, room for one", daemons: 1, attaches: 1, saves: 2, disposals: 1, maxSavepoints: 1, periodic: true, begun: true},
	{name: "a periodic savepoint is disposed of beside another owner", daemons: 2, attaches: 1, saves: 1, disposals: 1, periodic: true, begun: true},
	{name: "a periodic savepoint is disposed of, a lost reply", daemons: 1, attaches: 1, saves: 1, disposals: 2, lost: 1, periodic: true, begun: true, progress: true},
}

// suspendStories are searched like those of savepoints; in each a person suspends a job.
var suspendStories = []story{
	{name: "a job is suspended and goes on, a crash", daemons: 1, attaches: 2, triggers: 1, files: 1, stops: 1, crashes: 1, suspends: true, begun: true, progress: true},
	{name: "a job is suspended beside another owner", daemons: 2, attaches: 1, triggers: 1, stops: 1, suspends: true, begun: true},
	{name: "a job is suspended in the middle of a savepoint", daemons: 1, attaches: 2, saves: 1, files: 1, stops: 1, suspends: true, begun: true, progress: true},
	{name: "a job is suspended, workers, a failover", daemons: 1, attaches: 2, stops: 1, failovers: 1, suspends: true, workers: true, begun: true},
	{name: "a job is suspended and ends, a lost reply", daemons: 1, attaches: 2, ends: 1, stops: 1, lost: 1, suspends: true, begun: true, progress: true},
}

// TestSearchSavepoints is TestSearch with savepoints.
func TestSearchSavepoints(t *testing.T) {
	if !raced && !testing.Short() {
		exhaust(t, slices.Concat(suspendStories, periodicStories, savepointStories), limits{})
	}
}

var savepointTeeth = []tooth{
	{"a tombstone before the cleaning", story{daemons: 2, attaches: 1, saves: 1}, func(s *story) { s.off.tombstone = true }, "S1"},
	{"success only after the entry", story{daemons: 1, attaches: 1, saves: 1}, func(s *story) { s.off.saved = true }, "S5"},
	{"an unfinished savepoint stays on record", story{daemons: 1, attaches: 1, saves: 2, maxSavepoints: 1}, func(s *story) { s.off.listed = true }, "S4"},
	{"a stopping job restores its savepoint", story{daemons: 1, attaches: 1, saves: 1, failovers: 1, stopping: true, workers: true, begun: true},
		func(s *story) { s.off.stopping = true }, "I16"},
	{"only its own savepoints are disposed of", story{daemons: 1, attaches: 1, saves: 1, disposals: 1, begun: true}, func(s *story) { s.off.asked = true }, "S7"},
	{"an attempt ends the suspension", story{daemons: 1, attaches: 2, stops: 1, failovers: 1, suspends: true, workers: true, begun: true}, func(s *story) { s.off.suspended = true }, "S6"},
}

// TestSavepointTeeth is TestTeeth with savepoints.
func TestSavepointTeeth(t *testing.T) { bite(t, savepointTeeth) }
