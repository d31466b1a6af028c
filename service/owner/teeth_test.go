package owner

import (
	"strings"
	"testing"
)

// tooth is a rule, the smallest configuration that needs it, and the invariant that falls without it.
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
	{"ask before attach", story{daemons: 2, attaches: 1, truthful: true}, func(s *story) { s.off.ask = true }, "deposed"},
}

// TestTeeth: with a rule switched off the search finds what the rule is for; with it on, the same configuration is clean, whole.
func TestTeeth(t *testing.T) {
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
