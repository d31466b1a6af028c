package owner

import (
	"testing"

	"github.com/ckptd/ckptd/retention"
)

// editStories are searched like those of small and fast; each has commands of people.
var editStories = []story{
	{name: "a removal beside a completion, one file, a fault", daemons: 1, attaches: 2, triggers: 1, files: 1, removes: 1, lost: 1, crashes: 1,
		faults: 1, begun: true, numRetained: 2},
	{name: "a removal with a trash, two daemons", daemons: 2, attaches: 1, triggers: 1, files: 1, removes: 1, begun: true, numRetained: 2,
		trash: true},
	{name: "into the trash and back, a lost reply, a day", daemons: 1, attaches: 1, triggers: 1, files: 1, removes: 1, undeletes: 1, lost: 1,
		days: 1, sweeps: 1, begun: true, numRetained: 2, trash: true},
	{name: "an end that fills the trash, a day, finished by another daemon", daemons: 2, attaches: 1, files: 1, ends: 1, days: 1, sweeps: 1,
		begun: true, truthful: true, trash: true, progress: true},
	{name: "an end beside a completion, settled a day later, a fault", daemons: 1, attaches: 2, triggers: 1, files: 1, ends: 1, sweeps: 1, days: 1,
		crashes: 1, lost: 1, faults: 1, begun: true, truthful: true, progress: true, retains: retention.OnCancellation},
	{name: "an end, a removal and a purge", daemons: 1, attaches: 2, files: 1, ends: 1, removes: 1, purges: 1, sweeps: 1, crashes: 1, begun: true,
		truthful: true, progress: true, retains: retention.OnCancellation},
	{name: "a purge of what is lent and returned", daemons: 1, attaches: 1, files: 1, ends: 1, purges: 1, sweeps: 1, lends: 1, returns: 1, begun: true,
		truthful: true, retains: retention.OnCancellation},
	{name: "a tool's pin that is never returned, a completion, a day", daemons: 1, attaches: 1, triggers: 1, files: 1, sweeps: 1, lends: 1,
		tool: true, days: 1, begun: true},
	{name: "a tool's pin on what an ended job drops", daemons: 1, attaches: 2, files: 1, ends: 1, sweeps: 1, lends: 1, crashes: 1, tool: true, begun: true,
		truthful: true, progress: true},
	{name: "a removal of what is lent, a completion, a return", daemons: 1, attaches: 1, triggers: 1, files: 1, removes: 1, lends: 1, returns: 1,
		begun: true, numRetained: 2},
}

// TestSearchEdits is TestSearch with commands of people.
func TestSearchEdits(t *testing.T) {
	if !raced && !testing.Short() {
		exhaust(t, editStories, limits{})
	}
}

var editTeeth = []tooth{
	{"the trash is reachable", story{daemons: 1, attaches: 1, triggers: 1, files: 1, removes: 1, begun: true, numRetained: 2, trash: true},
		func(s *story) { s.off.trash = true }, "I"},
	{"the newest stays while the job has not ended", story{daemons: 1, attaches: 1, files: 1, removes: 1, begun: true},
		func(s *story) { s.off.newestGoes = true }, "I11"},
	{"the trash goes by the store's time", story{daemons: 1, attaches: 1, triggers: 1, removes: 1, sweeps: 1, begun: true, numRetained: 2, trash: true},
		func(s *story) { s.off.early = true }, "before its time"},
	{"due once more after the end", story{daemons: 1, attaches: 1, triggers: 1, files: 1, ends: 1, sweeps: 1, lost: 1, begun: true, progress: true},
		func(s *story) { s.off.settles = true }, "at rest, with"},
	{"a tool's pin stays until its time", story{daemons: 1, attaches: 1, triggers: 1, files: 1, sweeps: 1, lends: 1, tool: true, begun: true},
		func(s *story) { s.off.early = true }, "before its time"},
	{"a purge waits for pins", story{daemons: 1, attaches: 1, files: 1, ends: 1, purges: 1, sweeps: 1, lends: 1, begun: true, truthful: true,
		retains: retention.OnCancellation}, func(s *story) { s.off.purge = true }, "I9"},
}

// TestEditTeeth is TestTeeth with commands of people.
func TestEditTeeth(t *testing.T) { bite(t, editTeeth) }
