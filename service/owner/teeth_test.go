package owner

import (
	"strings"
	"testing"
)

// tooth is a rule, the smallest configuration that needs the rule, and the invariant that breaks without the rule.
type tooth struct {
	rule  string
	story story
	// without switches the rule off.
	without func(*story)
	falls   string
}

func journalOff(name string) func(*story) {
	return func(s *story) { s.journalOff = append(s.journalOff, name) }
}

var teeth = []tooth{
	{"LIST after GET", story{daemons: 2, attaches: 1, triggers: 1, lost: 1}, journalOff("listAfterGet"), "I5"},
	{"check after create", story{daemons: 2, attaches: 1, triggers: 1, lost: 1}, journalOff("check"), "I5"},
	{"occupy", story{daemons: 1, attaches: 1, triggers: 1, lost: 1, sweeps: 1},
		func(s *story) { journalOff("occupy")(s); s.off.lost = true }, "I"},
	{"nonce (a)", story{daemons: 2, attaches: 1}, journalOff("nonceA"), "I5"},
	{"nonce (b)", story{daemons: 1, attaches: 1, triggers: 1, files: 1, lost: 1, sweeps: 1},
		func(s *story) { journalOff("nonceB")(s); s.off.lost = true }, "I"},
	{"promises", story{daemons: 1, attaches: 1, triggers: 2, files: 1, begun: true}, func(s *story) { s.off.promises = true }, "I6"},
	{"floor", story{daemons: 1, attaches: 1, triggers: 1, files: 1, sweeps: 1}, func(s *story) { s.off.floor = true }, "I"},
	{"third sweep line", story{daemons: 1, attaches: 1, triggers: 1, files: 1, aborts: 1, sweeps: 1},
		func(s *story) { s.off.third = true }, "I4"},
	{"reservation by max", story{daemons: 1, attaches: 1, triggers: 3}, func(s *story) { s.off.reserveMax = true }, "I10"},
	{"no id above reserved", story{daemons: 1, attaches: 1, triggers: 2, reserve: 1}, func(s *story) { s.off.reserved = true }, "I10"},
	{"guarded BeginSnapshot", story{daemons: 1, attaches: 1, triggers: 1, files: 1, begun: true}, func(s *story) { s.off.guard = true }, "I4"},
	{"_metadata before entry", story{daemons: 1, attaches: 1, triggers: 1}, func(s *story) { s.off.metadata = true }, "I1"},
	{"plan in the journal", story{daemons: 1, attaches: 1, triggers: 1, workers: true}, func(s *story) { s.off.plan = true }, "I14"},
	{"raise, not repeat", story{daemons: 1, attaches: 2, triggers: 1, crashes: 1, kills: 1, workers: true}, func(s *story) { s.off.raise = true }, "I15"},
	{"restore the newest", story{daemons: 1, attaches: 1, triggers: 2, failovers: 1, workers: true, begun: true, numRetained: 2},
		func(s *story) { s.off.newest = true }, "I16"},
	{"what fell is not promised again", story{daemons: 1, attaches: 1, triggers: 3, files: 1, aborts: 1, begins: 2, concurrent: 2, begun: true},
		func(s *story) { s.off.atAttach = true }, "I6"},
	{"results of this life only", story{daemons: 1, attaches: 2, triggers: 1, files: 1, stops: 1, begun: true, stale: true},
		func(s *story) { s.off.life = true }, "stale"},
	{"this epoch and attempt only", story{daemons: 1, attaches: 1, triggers: 1, files: 1, begun: true, stale: true},
		func(s *story) { s.off.stale = true }, "stale"},
	{"a live process stays", story{daemons: 1, attaches: 1, kills: 1, breaks: 1, workers: true, zombies: true},
		func(s *story) { s.off.keeps = true }, "replaces a live one"},
	{"no trigger before all is read", story{daemons: 1, attaches: 1, triggers: 1, begun: true}, func(s *story) { s.off.loading = true }, "Trigger("},
	{"unknown is not a failure", story{daemons: 1, attaches: 1, triggers: 1, lost: 1}, func(s *story) { s.off.unknown = true }, "I13"},
	{"exists is not a success", story{daemons: 1, attaches: 1, triggers: 1, squatter: true}, func(s *story) { s.off.exists = true }, "I1"},
	{"no release before the last write", story{daemons: 1, attaches: 1, triggers: 1, files: 1, ends: 1, sweeps: 1, aborts: 1, truthful: true},
		func(s *story) { s.off.unansweredMetas = true }, "I4"},
	{"hidden, but lent", story{daemons: 1, attaches: 1, triggers: 1, files: 1, lends: 1, begun: true}, func(s *story) { s.off.hidden = true }, "I"},
	{"no delete while a _metadata is unreadable", story{daemons: 1, attaches: 1, triggers: 2, files: 1, begun: true, spoiled: unreadable, numRetained: 2},
		func(s *story) { s.off.unread = true }, "I12"},
	{"_metadata before files", story{daemons: 1, attaches: 1, triggers: 1, files: 1, begun: true}, func(s *story) { s.off.order = true }, "deleted before"},
	{"every page of a list", story{daemons: 1, attaches: 1, triggers: 1, files: 1, ends: 1, sweeps: 1, pages: true, begun: true, truthful: true},
		func(s *story) { s.off.page = true }, "I4"},
	{"a sweep after the end", story{daemons: 1, attaches: 1, triggers: 1, files: 1, ends: 1, sweeps: 1, begun: true, truthful: true},
		func(s *story) { s.off.swept = true }, "I4"},
	{"what was not deleted", story{daemons: 1, attaches: 1, triggers: 1, files: 1, ends: 1, sweeps: 1, failures: 1, begun: true, truthful: true},
		func(s *story) { s.off.failed = true }, "I4"},
	{"nothing above the head is given up", story{daemons: 1, attaches: 1, sweeps: 1}, func(s *story) { s.off.above = true }, "above the head"},
	{"a refusal answers the callers that it fits", story{daemons: 1, attaches: 1, fresh: true, callers: []asker{{}, {create: true}}},
		func(s *story) { s.off.forgets = true }, "I19"},
	{"no other plan while workers are registered", story{daemons: 1, attaches: 1, workers: true, fresh: true,
		callers: []asker{{create: true}, {other: true}}}, func(s *story) { s.off.changes = true }, "while a worker is registered"},
	{"no other plan before it is known who runs", story{daemons: 1, attaches: 1, workers: true, callers: []asker{{other: true}}},
		func(s *story) { s.off.unknownAttempt = true }, "while a worker of the attempt may run"},
	{"finished in this attempt only", story{daemons: 1, attaches: 1, failovers: 1, finishes: 2, workers: true},
		func(s *story) { s.off.finished = true }, "I21"},
	{"ask before attach", story{daemons: 2, attaches: 1, truthful: true}, func(s *story) { s.off.ask = true }, "deposed"},
}

// TestTeeth: with a rule switched off, the search finds the harm that the rule prevents. With the rule on, it searches
// the same configuration whole and finds nothing.
func TestTeeth(t *testing.T) { bite(t, teeth) }

func bite(t *testing.T, teeth []tooth) {
	for _, tooth := range teeth {
		t.Run(tooth.rule, func(t *testing.T) {
			t.Parallel()
			with := tooth.story
			if r := search(&with, limits{}); r.bad != "" || !r.whole {
				t.Errorf("with the rule: %v", r)
			} else {
				t.Logf("with the rule: %v", r)
			}
			without := tooth.story
			tooth.without(&without)
			r := search(&without, limits{})
			if !strings.Contains(r.bad, tooth.falls) {
				t.Fatalf("without the rule: want %s, found %v", tooth.falls, r)
			}
			t.Logf("without the rule: %d steps, %v", len(r.trace), r)
		})
	}
}
