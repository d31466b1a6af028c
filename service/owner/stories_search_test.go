package owner

import (
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/ckptd/ckptd/retention"
)

// The stories of small are always searched, those of fast unless the race detector is on, those of large only on
// request.
var (
	small = []story{
		{name: "two daemons, an attach and a commit each, one file, a fault", daemons: 2, attaches: 1, triggers: 1, aborts: 1, files: 1,
			crashes: 1, lost: 1, faults: 1},
		{name: "an owner, and a janitor that takes over and collects", daemons: 2, attaches: 1, triggers: 1, files: 1, sweeps: 1, janitor: true},
		{name: "two daemons, an attach each, the store not trusted", daemons: 2, attaches: 1, triggers: 1, lost: 1, distrust: true},
		{name: "third party beside an owner, lost reply", daemons: 1, attaches: 1, triggers: 1, lost: 1, lend: true, begun: true},
		{name: "two workers, kills and a crash", daemons: 1, attaches: 2, triggers: 1, crashes: 1, kills: 1, workers: true},
		{name: "an end, a stop, a sweep, finished by another daemon", daemons: 2, attaches: 1, ends: 1, stops: 1, sweeps: 1, truthful: true},
		{name: "a stop with workers", daemons: 1, attaches: 2, triggers: 1, stops: 1, workers: true, begun: true, progress: true, stale: true},
		{name: "two triggers of one file, stale messages", daemons: 1, attaches: 1, triggers: 2, files: 1, begun: true, stale: true},
		{name: "two retained, workers, a failover", daemons: 1, attaches: 1, triggers: 2, failovers: 1, workers: true, begun: true, numRetained: 2,
			progress: true},
		{name: "an attempt of unknown outcome, lent and returned meanwhile", daemons: 1, attaches: 1, workers: true, failovers: 1, lends: 1,
			returns: 1, lost: 1, begun: true, progress: true},
		{name: "workers that finish, a kill", daemons: 1, attaches: 1, triggers: 1, kills: 1, finishes: 3, workers: true, progress: true, stale: true},
		{name: "unreadable _metadata, subsumed", daemons: 1, attaches: 1, triggers: 1, files: 1, sweeps: 1, begun: true, spoiled: unreadable,
			progress: true, stale: true},
		{name: "unreadable _metadata, two retained", daemons: 1, attaches: 1, triggers: 2, files: 1, sweeps: 1, begun: true, spoiled: unreadable,
			numRetained: 2, progress: true, stale: true},
		{name: "foreign _metadata, two retained", daemons: 1, attaches: 1, triggers: 2, files: 1, sweeps: 1, begun: true, spoiled: foreign,
			numRetained: 2, progress: true, stale: true},
		{name: "missing _metadata, two daemons", daemons: 2, attaches: 1, triggers: 1, files: 1, sweeps: 1, begun: true, spoiled: missing,
			numRetained: 2, progress: true},
		{name: "a foreign _metadata where the first checkpoint comes", daemons: 1, attaches: 1, triggers: 2, files: 1, squatter: true, lost: 1,
			progress: true, stale: true},
		{name: "not done, and a lost reply", daemons: 1, attaches: 1, triggers: 1, files: 1, refusals: 1, lost: 1, sweeps: 1, begun: true,
			progress: true},
		{name: "callers of a job that does not exist: two create it, one does not", daemons: 1, attaches: 1, fresh: true, lost: 1, stops: 1,
			callers: []asker{{create: true}, {}, {create: true, other: true}}},
		{name: "callers beside an end and a crash: one finishes, one attaches", daemons: 1, attaches: 1, ends: 1, crashes: 1, sweeps: 1,
			truthful: true, progress: true, callers: []asker{{finish: true}, {}}},
		{name: "callers with another plan, and workers that come back or not", daemons: 1, attaches: 2, crashes: 1, kills: 1, workers: true,
			expires: true, callers: []asker{{other: true}, {}}, progress: true},
	}
	fast = []story{
		{name: "callers at two daemons, with another plan", daemons: 2, workers: true, expires: true, progress: true,
			callers: []asker{{other: true}, {other: true}}},
		{name: "callers that create a job at two daemons", daemons: 2, workers: true, fresh: true, progress: true,
			callers: []asker{{create: true}, {create: true, other: true}}},
		{name: "third party beside two owners", daemons: 2, attaches: 1, triggers: 1, lend: true, begun: true},
		{name: "an end that retains, beside a completion and a crash", daemons: 1, attaches: 2, triggers: 1, files: 1, ends: 1, crashes: 1,
			lost: 1, sweeps: 1, truthful: true, begun: true, retains: retention.OnCancellation},
		{name: "asked daemons answer", daemons: 2, attaches: 2, triggers: 1, crashes: 1, truthful: true},
		{name: "two daemons, an attach and a commit each, one file, a fault, a sweep", daemons: 2, attaches: 1, triggers: 1, aborts: 1,
			files: 1, crashes: 1, lost: 1, faults: 1, sweeps: 1},
		{name: "unreduced: two daemons, an attach and a commit each, one file, a fault", daemons: 2, attaches: 1, triggers: 1, aborts: 1,
			files: 1, crashes: 1, lost: 1, faults: 1, full: reductions{split: true, trims: true, uploads: true, deletes: true}},
		{name: "two daemons, an attach and a commit each, one file, crash and lost reply", daemons: 2, attaches: 1, triggers: 1,
			aborts: 1, files: 1, crashes: 1, lost: 1},
		{name: "two attaches, two commits, one file, crash and lost reply", daemons: 1, attaches: 2, triggers: 2, files: 1, crashes: 1, lost: 1},
		{name: "promises: two triggers, one file, lost reply, sweep", daemons: 1, attaches: 1, triggers: 2, files: 1, lost: 1, sweeps: 1,
			aborts: 1, begun: true},
		{name: "two workers, two daemons, kill", daemons: 2, attaches: 1, triggers: 1, kills: 1, workers: true},
		{name: "lent and returned, two owners, one file", daemons: 2, attaches: 1, triggers: 1, files: 1, begins: 1, lends: 1, returns: 1, begun: true},
		{name: "an end beside a refused _metadata", daemons: 1, attaches: 1, triggers: 1, files: 1, refusals: 1, ends: 1, lost: 1, truthful: true,
			progress: true},
		{name: "three triggers, one after the other, deletes under way", daemons: 1, attaches: 1, triggers: 3, files: 1, concurrent: 1,
			full: reductions{deletes: true}, progress: true},
		{name: "two daemons, one file, a fault, and back to work", daemons: 2, attaches: 1, triggers: 1, files: 1, lost: 1, crashes: 1, faults: 1,
			progress: true, stale: true},
		{name: "fenced, and attached again", daemons: 2, attaches: 2, triggers: 1, files: 1, progress: true, stale: true},
		{name: "two workers, a kill, a zombie, a crash", daemons: 1, attaches: 2, triggers: 1, crashes: 1, kills: 1, workers: true, zombies: true,
			progress: true},
		{name: "two workers, a kill, a zombie, a failover", daemons: 1, attaches: 1, triggers: 1, kills: 1, workers: true, zombies: true,
			failovers: 1, progress: true, stale: true},
		{name: "two workers, a kill, a zombie, a broken stream", daemons: 1, attaches: 1, kills: 1, breaks: 1, workers: true, zombies: true,
			progress: true, stale: true},
		{name: "workers that do not all come back", daemons: 1, attaches: 2, crashes: 1, kills: 1, workers: true, expires: true, progress: true,
			stale: true},
		{name: "an end beside a checkpoint, two daemons", daemons: 2, attaches: 1, triggers: 1, files: 1, ends: 1, begun: true, truthful: true,
			progress: true, stale: true},
		{name: "an end beside an abort, a lost reply, two sweeps", daemons: 1, attaches: 1, triggers: 1, files: 1, ends: 1, sweeps: 2, aborts: 1,
			lost: 1, truthful: true, progress: true},
		{name: "an end, a list in two pages, a failure", daemons: 1, attaches: 1, triggers: 1, files: 1, ends: 1, sweeps: 1, failures: 1,
			pages: true, begun: true, truthful: true, progress: true},
		{name: "workers that finish, a crash, a checkpoint", daemons: 1, attaches: 2, triggers: 1, crashes: 1, failovers: 1, finishes: 3, files: 1,
			workers: true, begun: true, truthful: true, retains: retention.OnCancellation, progress: true},
		{name: "workers that finish, a zombie, a broken stream", daemons: 1, attaches: 1, kills: 1, breaks: 1, finishes: 3, workers: true,
			zombies: true, progress: true, stale: true},
		{name: "two retained, a fault", daemons: 1, attaches: 2, triggers: 2, files: 1, lost: 1, crashes: 1, faults: 1, begun: true,
			numRetained: 2, progress: true},
		{name: "lent and returned, a crash, one file, a sweep", daemons: 1, attaches: 2, triggers: 1, files: 1, sweeps: 1, crashes: 1, lends: 1,
			returns: 1, begun: true, progress: true},
	}
	large = []story{
		{name: "callers that create a job at two daemons, one that does not, a lost reply", daemons: 2, attaches: 1, fresh: true, lost: 1,
			callers: []asker{{create: true}, {}, {create: true, other: true}}},
		{name: "callers at two daemons, beside an end and a stop", daemons: 2, attaches: 1, ends: 1, stops: 1, truthful: true,
			callers: []asker{{finish: true}, {}}},
		{name: "promises: three triggers, an abort", daemons: 1, attaches: 1, triggers: 3, files: 1, aborts: 1, begun: true},
		{name: "two workers, two daemons, a kill, a zombie", daemons: 2, attaches: 1, triggers: 1, kills: 1, workers: true, zombies: true,
			progress: true},
		{name: "two workers, a kill, a zombie, a crash, a failover", daemons: 1, attaches: 2, triggers: 1, crashes: 1, kills: 1, workers: true,
			zombies: true, failovers: 1, expires: true, progress: true, stale: true},
		{name: "an end beside a checkpoint, two daemons, a crash, a sweep", daemons: 2, attaches: 1, triggers: 1, files: 1, ends: 1, sweeps: 1,
			crashes: 1, begun: true, truthful: true, progress: true},
		{name: "an end, two files, a list in two pages, two failures", daemons: 1, attaches: 1, triggers: 1, files: 2, ends: 1, sweeps: 1,
			failures: 2, pages: true, begun: true, truthful: true, progress: true},
		{name: "two triggers, not done, a lost reply, a sweep", daemons: 1, attaches: 1, triggers: 2, files: 1, refusals: 1, lost: 1, sweeps: 1,
			begun: true, progress: true},
		{name: "lent and returned, a fault, one file, a sweep", daemons: 1, attaches: 2, triggers: 1, files: 1, sweeps: 1, crashes: 1, lends: 1,
			returns: 1, lost: 1, begun: true, progress: true},
		{name: "lent, two daemons, one file", daemons: 2, attaches: 1, triggers: 1, files: 1, lends: 1, returns: 1, lost: 1, begun: true},
		{name: "two retained, two daemons, a fault, a sweep", daemons: 2, attaches: 1, triggers: 2, files: 1, lost: 1, crashes: 1, faults: 1,
			sweeps: 1, begun: true, numRetained: 2},
		{name: "two daemons, two attaches and a commit each, no file, crash and lost reply", daemons: 2, attaches: 2, triggers: 1,
			crashes: 1, lost: 1},
		{name: "an end, a stop, a sweep, a checkpoint, finished by another daemon", daemons: 2, attaches: 1, triggers: 1, files: 1, ends: 1,
			stops: 1, sweeps: 1, truthful: true},
		{name: "two daemons, an attach and a commit each, two files, a fault, a sweep", daemons: 2, attaches: 1, triggers: 1, aborts: 1,
			files: 2, crashes: 1, lost: 1, faults: 1, sweeps: 1, begun: true},
		{name: "two daemons, an attach and a commit each, one file, a fault, two sweeps", daemons: 2, attaches: 1, triggers: 1, aborts: 1,
			files: 1, crashes: 1, lost: 1, faults: 1, sweeps: 2},
		{name: "third party beside two owners, lost reply", daemons: 2, attaches: 1, triggers: 1, lost: 1, lend: true, begun: true},
		{name: "promises: three triggers, two files, lost reply, sweep", daemons: 1, attaches: 1, triggers: 3, files: 2, lost: 1, sweeps: 1, begun: true},
		{name: "two workers, two daemons, kill, crash, lost reply", daemons: 2, attaches: 1, triggers: 1, kills: 1, crashes: 1, lost: 1, workers: true},
		{name: "two daemons, an attach and a commit each, one file, crash and lost reply, sweep", daemons: 2, attaches: 1, triggers: 1,
			aborts: 1, files: 1, crashes: 1, lost: 1, sweeps: 1},
		{name: "two daemons, two attaches and a commit each, one file, crash and lost reply", daemons: 2, attaches: 2, triggers: 1,
			files: 1, crashes: 1, lost: 1},
	}
	// deep stories are searched as deep as time and memory allow.
	deep = []story{
		{name: "two daemons, two attaches and a commit each, one file, crash and lost reply, sweep", daemons: 2, attaches: 2, triggers: 1,
			aborts: 1, files: 1, crashes: 1, lost: 1, sweeps: 1},
		{name: "two daemons, an attach and two commits each, two files, crash, lost reply, sweep", daemons: 2, attaches: 1, triggers: 2,
			files: 2, crashes: 1, lost: 1, sweeps: 1},
	}
)

func exhaust(t *testing.T, stories []story, lim limits) {
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			if lim == (limits{}) { // a small story: spend memory to save time
				defer debug.SetGCPercent(debug.SetGCPercent(300))
			} else {
				runtime.GC() // frees the memory of the story before
			}
			r := search(&s, lim)
			if r.bad != "" || !r.whole && lim == (limits{}) {
				t.Fatalf("%v", r)
			}
			t.Logf("%v", r)
		})
	}
}

// TestSearch wants no order of events, within the bounds of its stories, that breaks an invariant.
func TestSearch(t *testing.T) {
	exhaust(t, small, limits{})
	if !raced && !testing.Short() {
		exhaust(t, fast, limits{})
	}
}

// TestSearchDeep is `make search`: at most 15 minutes, 8 GB. CKPTD_SEARCH=1 asks for it.
func TestSearchDeep(t *testing.T) {
	if os.Getenv("CKPTD_SEARCH") == "" {
		t.Log("set CKPTD_SEARCH=1 to search for minutes")
		return
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(8 << 30))
	end := time.Now().Add(14 * time.Minute)
	stories := append(slices.Clone(large), deep...)
	for i := range stories {
		// The rest of the time is shared evenly; most of the first stories need less.
		exhaust(t, stories[i:i+1], limits{time: max(time.Second, time.Until(end)/time.Duration(len(stories)-i)), heap: 6 << 30})
	}
}
