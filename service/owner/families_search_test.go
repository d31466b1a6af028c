package owner

import (
	"os"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/ckptd/ckptd/retention"
)

// over is a job that has ended and keeps a checkpoint. Its daemon attends to it when it is due.
var over = story{ended: true, daemons: 1, attaches: 1, files: 1, sweeps: 1, truthful: true}

// The families of fastFamilies are always searched, but without race detector; those of largeFamilies only on request.
var (
	fastFamilies = []family{
		{"an import, a crash, a completion of the source's job", []story{{daemons: 1, attaches: 1, files: 1, triggers: 1},
			{daemons: 1, attaches: 2, crashes: 1, files: 1, triggers: 1}}},
		{"an import, a lost reply, a completion of the source's job", []story{{daemons: 1, attaches: 1, files: 1, triggers: 1},
			{daemons: 1, attaches: 1, lost: 1, files: 1, triggers: 1}}},
		{"an import, an end of the source's job that keeps nothing", []story{{daemons: 1, attaches: 1, files: 1, ends: 1, sweeps: 1, truthful: true},
			{daemons: 1, attaches: 1, files: 1, triggers: 1}}},
		{"an import, and the end of its job", []story{{daemons: 1, attaches: 1, files: 1},
			{daemons: 1, attaches: 2, crashes: 1, files: 1, triggers: 1, ends: 1, sweeps: 1, truthful: true}}},
		{"an import by two daemons", []story{{daemons: 1, attaches: 1, files: 1}, {daemons: 2, attaches: 1, files: 1}}},
		{"an import, two retained, another owner of the source's job", []story{{daemons: 2, attaches: 1, files: 1, truthful: true},
			{daemons: 1, attaches: 1, files: 1, triggers: 1, numRetained: 2}}},
		{"a claim, a crash, a completion", []story{over, {claims: true, daemons: 1, attaches: 2, crashes: 1, files: 1, triggers: 1}}},
		{"a claim, a lost reply, a completion", []story{over, {claims: true, daemons: 1, attaches: 1, lost: 1, files: 1, triggers: 1}}},
		{"a claim, two completions", []story{over, {claims: true, daemons: 1, attaches: 1, files: 1, triggers: 2}}},
		{"a claim, two completions, two retained", []story{over, {claims: true, daemons: 1, attaches: 1, files: 1, triggers: 2, numRetained: 2}}},
		{"a claim, and the end of its job", []story{over, {claims: true, daemons: 1, attaches: 1, files: 1, triggers: 1, ends: 1, sweeps: 1, truthful: true}}},
		{"a claim of a job that may run", []story{{daemons: 1, attaches: 1, files: 1, ends: 1, sweeps: 1, truthful: true, retains: retention.OnCancellation},
			{claims: true, daemons: 1, attaches: 1, files: 1, triggers: 1}}},
		{"two claims of one checkpoint", []story{over, {claims: true, daemons: 1, attaches: 1, files: 1, triggers: 1},
			{claims: true, fromFirst: true, daemons: 1, attaches: 1, files: 1}}},
		{"an import from elsewhere, a crash, a sweep", []story{{elsewhere: true, daemons: 1, attaches: 2, crashes: 1, files: 1, sweeps: 1, triggers: 1}}},
		{"an import from elsewhere, a lost reply, the end of its job", []story{{elsewhere: true, daemons: 1, attaches: 1, lost: 1, files: 1, sweeps: 1, ends: 1,
			truthful: true}}},
		{"an import from elsewhere by two daemons", []story{{elsewhere: true, daemons: 2, attaches: 1, files: 1, sweeps: 1}}},
	}
	largeFamilies = []family{
		{"a chain of claims over three jobs", []story{over,
			{claims: true, daemons: 1, attaches: 2, files: 1, triggers: 1, ends: 1, sweeps: 2, truthful: true, retains: retention.OnCancellation},
			{claims: true, daemons: 1, attaches: 1, files: 1, triggers: 1}}},
		{"a chain of claims, a crash of the last", []story{over,
			{claims: true, daemons: 1, attaches: 1, files: 1, ends: 1, sweeps: 1, truthful: true, retains: retention.OnCancellation},
			{claims: true, daemons: 1, attaches: 2, crashes: 1, files: 1, triggers: 2}}},
		{"a claim, and two jobs that borrow from its job", []story{over, {claims: true, daemons: 1, attaches: 1, files: 1, triggers: 1},
			{daemons: 1, attaches: 1, files: 1, triggers: 1}}},
		{"a claim beside an import of the same checkpoint", []story{over, {claims: true, daemons: 1, attaches: 1, files: 1, triggers: 2},
			{fromFirst: true, daemons: 1, attaches: 1, files: 1, triggers: 1}}},
		{"two claims, a crash of each", []story{over, {claims: true, daemons: 1, attaches: 2, crashes: 1, files: 1, triggers: 1, ends: 1, sweeps: 1, truthful: true},
			{claims: true, fromFirst: true, daemons: 1, attaches: 2, crashes: 1, files: 1, triggers: 1}}},
		{"a claim by two daemons, lost replies, an abort, sweeps", []story{over,
			{claims: true, daemons: 2, attaches: 1, files: 1, triggers: 2, aborts: 1, lost: 1, sweeps: 1}}},
		{"three jobs, a completion of the first", []story{{daemons: 1, attaches: 1, files: 1, triggers: 1},
			{daemons: 1, attaches: 1, files: 1, triggers: 1}, {daemons: 1, attaches: 1, files: 1, triggers: 1}}},
		{"three jobs, a crash of the last", []story{{daemons: 1, attaches: 1, files: 1, triggers: 1},
			{daemons: 1, attaches: 1, files: 1, triggers: 1}, {daemons: 1, attaches: 2, crashes: 1, files: 1, triggers: 1}}},
		{"an import, lost replies at both jobs", []story{{daemons: 1, attaches: 1, files: 1, triggers: 1, lost: 1},
			{daemons: 1, attaches: 1, lost: 1, files: 1, triggers: 1}}},
		{"an import by two daemons, a completion of the source's job", []story{{daemons: 1, attaches: 1, files: 1, triggers: 1},
			{daemons: 2, attaches: 1, files: 1, triggers: 1}}},
		{"an import, a crash of each owner, ends of both jobs", []story{
			{daemons: 1, attaches: 2, crashes: 1, files: 1, triggers: 1, ends: 1, sweeps: 1, truthful: true},
			{daemons: 1, attaches: 2, crashes: 1, files: 1, triggers: 1, ends: 1, sweeps: 1, truthful: true}}},
		{"an import, lost replies, sweeps, unreduced", []story{{daemons: 1, attaches: 1, files: 1, triggers: 1, sweeps: 1, full: reductions{split: true}},
			{daemons: 1, attaches: 2, crashes: 1, lost: 1, faults: 1, files: 1, triggers: 1, sweeps: 1, full: reductions{split: true}}}},
		{"an import whose job retains the import at its end", []story{{daemons: 1, attaches: 1, files: 1, triggers: 1, ends: 1, sweeps: 1, truthful: true},
			{daemons: 1, attaches: 2, crashes: 1, files: 1, triggers: 1, ends: 1, sweeps: 1, truthful: true, retains: retention.OnCancellation}}},
	}
)

func exhaustFamilies(t *testing.T, families []family, lim limits) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			r := searchFamily(&f, lim)
			if r.bad != "" || !r.whole && lim == (limits{}) {
				t.Fatalf("%v", r)
			}
			t.Logf("%v", r)
		})
	}
}

// TestFamilies is TestSearch with several jobs.
func TestFamilies(t *testing.T) {
	if !raced && !testing.Short() {
		exhaustFamilies(t, fastFamilies, limits{})
	}
}

// TestFamiliesDeep is TestSearchDeep with several jobs.
func TestFamiliesDeep(t *testing.T) {
	if os.Getenv("CKPTD_SEARCH") == "" {
		t.Log("set CKPTD_SEARCH=1 to search for minutes")
		return
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(8 << 30))
	exhaustFamilies(t, largeFamilies, limits{time: 2 * time.Minute, heap: 6 << 30})
}

// familyTeeth are the rules about several jobs.
var familyTeeth = []struct {
	rule    string
	stories []story
	// off switches the rule off at every job.
	off   off
	falls string
}{
	{"lend before an entry names the files", []story{{daemons: 1, attaches: 1, files: 1, triggers: 1}, {daemons: 1, attaches: 1, files: 1}},
		off{lends: true}, "I9"},
	{"return only after the entry", []story{{daemons: 1, attaches: 1, files: 1, triggers: 1}, {daemons: 1, attaches: 1, files: 1, triggers: 1}},
		off{returns: true}, "I9"},
	{"hidden, not deleted, while lent", []story{{daemons: 1, attaches: 1, files: 1, triggers: 1}, {daemons: 1, attaches: 1, files: 1}},
		off{hidden: true}, "I"},
	{"no attempt before the import is done", []story{{daemons: 1, attaches: 1, files: 1}, {daemons: 1, attaches: 1, files: 1}},
		off{gate: true}, "an attempt begins before"},
	{"no pin has leaked while an import is wanted", []story{{daemons: 1, attaches: 1, triggers: 1, sweeps: 1},
		{daemons: 1, attaches: 2, crashes: 1}}, off{wanted: true}, "though its source was lent"},
	{"a holder without journal is occupied before its pin is dropped", []story{{daemons: 1, attaches: 1, files: 1, triggers: 1, sweeps: 1, blind: true},
		{daemons: 1, attaches: 1, files: 1}}, off{occupies: true}, "I9"},
	{"no sweep takes copied files while the import is wanted", []story{{elsewhere: true, daemons: 1, attaches: 1, files: 1, sweeps: 1}}, off{floor: true}, "I"},
	{"an import knows its copies", []story{{elsewhere: true, daemons: 1, attaches: 1, files: 1, sweeps: 1}}, off{copied: true}, "I"},
	{"release after the returns", []story{{daemons: 1, attaches: 1, files: 1},
		{daemons: 1, attaches: 1, files: 1, ends: 1, sweeps: 1, truthful: true}}, off{owes: true}, "released, and its"},
	{"claim from an ended job only", []story{{daemons: 1, attaches: 1, files: 1}, {claims: true, daemons: 1, attaches: 1, files: 1, triggers: 1}},
		off{terminal: true}, "I11: the newest checkpoint of a running job"},
	{"one claim of a checkpoint", []story{over, {claims: true, daemons: 1, attaches: 1, files: 1},
		{claims: true, fromFirst: true, daemons: 1, attaches: 1, files: 1}}, off{one: true}, "two jobs claim"},
	{"a new owner replaces the claim of the one before", []story{over, {claims: true, daemons: 1, attaches: 2, crashes: 1, files: 1}},
		off{replaces: true}, "though its source was lent"},
	{"dispose hides", []story{over, {claims: true, daemons: 1, attaches: 1, files: 1, triggers: 1}}, off{hides: true}, "nothing of it is due"},
	{"no dispose before an own checkpoint", []story{over, {claims: true, daemons: 1, attaches: 1, files: 1, ends: 1, sweeps: 1, truthful: true}},
		off{outlives: true}, "disposed"},
	{"a decision to return condemns", []story{over, {claims: true, daemons: 1, attaches: 1, files: 1, triggers: 2}}, off{condemns: true}, "I9"},
	{"a later checkpoint keeps the pin", []story{over, {claims: true, daemons: 1, attaches: 1, files: 1, triggers: 1}}, off{reaches: true}, "I9"},
	{"a promise keeps the pin", []story{over, {claims: true, daemons: 1, attaches: 1, files: 1, triggers: 2}}, off{pending: true}, "I9"},
	{"return a claim only after the entry", []story{over, {claims: true, daemons: 1, attaches: 1, files: 1, triggers: 1}}, off{returns: true}, "I9"},
	{"release after the returns of claims", []story{over, {claims: true, daemons: 1, attaches: 1, files: 1, ends: 1, sweeps: 1, truthful: true}},
		off{owes: true}, "released, and its"},
	{"the last job of a chain pins the first", []story{over,
		{claims: true, daemons: 1, attaches: 1, files: 1, ends: 1, truthful: true, retains: retention.OnCancellation},
		{claims: true, daemons: 1, attaches: 1, files: 1}}, off{lends: true}, "I9"},
}

// TestFamilyTeeth is TestTeeth with several jobs.
func TestFamilyTeeth(t *testing.T) {
	for _, tooth := range familyTeeth {
		t.Run(tooth.rule, func(t *testing.T) {
			t.Parallel()
			search := func(o off) result {
				f := family{stories: append([]story(nil), tooth.stories...)}
				for i := range f.stories {
					f.stories[i].off = o
				}
				return searchFamily(&f, limits{})
			}
			if r := search(off{}); r.bad != "" || !r.whole {
				t.Errorf("with the rule: %v", r)
			} else {
				t.Logf("with the rule: %v", r)
			}
			r := search(tooth.off)
			if !strings.Contains(r.bad, tooth.falls) {
				t.Fatalf("without the rule: want %s, found %v", tooth.falls, r)
			}
			t.Logf("without the rule: %d steps, %v", len(r.trace), r)
		})
	}
}
