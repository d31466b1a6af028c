package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/runtime/launcher"
)

// kill is a kill that is planned: whom, after how many records, and whether in the middle of a checkpoint.
type kill struct {
	daemon bool
	worker int
	after  uint64
	amid   bool
}

// amidPatience is how long a kill waits for a checkpoint to be in progress.
const amidPatience = 1500 * time.Millisecond

// planKills spreads kills over the middle of the input: one in each of so many equal stretches, at a random point of it. A worker
// and the daemon take turns. Checkpoints are short: of each four kills, two wait for one.
func planKills(n int, total, seed uint64) []kill {
	const first, last = 0.08, 0.88 // of the input
	rng := rand.New(rand.NewPCG(seed, 0x6b696c6c))
	kills := make([]kill, n)
	for i := range kills {
		at := first + (float64(i)+rng.Float64())*(last-first)/float64(n)
		kills[i] = kill{daemon: i%2 == 1, worker: rng.IntN(demoWorkers), after: uint64(at * float64(total)), amid: i%4 < 2}
	}
	return kills
}

// strike is a kill that was carried out, until the job has recovered from it.
type strike struct {
	kill
	at             time.Time
	epoch, attempt uint64
	// pending is the checkpoint that was in progress; 0: none.
	pending uint64
	// fate is what became of it, as far as known.
	fate string
	// restored is what the attempt after the kill began with.
	restored uint64
}

// settle notes what became of the checkpoint in progress, if the event tells that. A nil strike notes nothing.
func (k *strike) settle(e *ckptdv1.JobEvent) bool {
	if k == nil || e.GetCheckpointId() != k.pending {
		return false
	}
	switch e.GetKind() {
	case ckptdv1.JobEventKind_JOB_EVENT_KIND_COMPLETED:
		k.fate = "it had all it needed, and completed"
	case ckptdv1.JobEventKind_JOB_EVENT_KIND_ABORTED:
		reason, _, _ := strings.Cut(e.GetText(), ":")
		k.fate = "its owner gave it up: " + reason
	}
	return true
}

// due says whether the next kill is to be carried out now. A kill counts only while there are records to be read, and if a
// checkpoint has completed since the last one.
func (d *demo) due(s *ckptdv1.JobState) bool {
	if d.struck == len(d.kills) || d.strike != nil || !d.watch.running || !d.watch.fresh {
		return false
	}
	read, next := d.estimate(), &d.kills[d.struck]
	if read < next.after || read >= d.total || s.GetSourcesAtEnd() == s.GetSources() {
		return false
	}
	if d.dueSince.IsZero() {
		d.dueSince = time.Now()
	}
	return !next.amid || len(s.GetPending()) > 0 || time.Since(d.dueSince) > amidPatience
}

// pause is how long to wait until the next look: a checkpoint that a kill waits for lasts some tens of milliseconds.
func (d *demo) pause() time.Duration {
	if d.dueSince.IsZero() {
		return pollEvery
	}
	return pollEvery / 10
}

// kill carries out the next kill. s is how things stand.
func (d *demo) kill(ctx context.Context, s *ckptdv1.JobState) error {
	k := &strike{kill: d.kills[d.struck], epoch: d.watch.epoch, attempt: d.watch.attempt}
	whom, p := "the daemon", d.daemon
	if !k.daemon {
		whom, p = fmt.Sprintf("worker %d", k.worker), d.workers[k.worker]
	}
	progress := "no checkpoint was in progress"
	if len(s.GetPending()) > 0 {
		c := s.GetPending()[0]
		k.pending = c.GetCheckpointId()
		progress = fmt.Sprintf("checkpoint %d was in progress: %d of %d subtasks had acknowledged, %s",
			k.pending, c.GetAcknowledged(), c.GetSubtasks(), enumText(c.GetState(), "PENDING_STATE_"))
	}
	read := d.estimate()
	k.at = time.Now()
	pid, err := p.Kill()
	if err != nil {
		return nil // it is not there at this moment: another time
	}
	d.strike, d.watch.fresh, d.watch.running = k, false, false
	d.struck++
	d.dueSince = time.Time{}
	d.watch.stand(read)
	d.say.event("KILL %d of %d: %s (process %d) by SIGKILL, at about record %s of %s", d.struck, len(d.kills), whom, pid, grouped(read), grouped(d.total))
	d.say.more("%s", progress)
	if k.daemon {
		return d.readJournal(ctx, p, pid)
	}
	return nil
}

// readJournal says what the journal holds while there is no daemon: that alone decides what became of the checkpoint in progress. A store
// that cannot be read at this moment is no failure of the job.
func (d *demo) readJournal(ctx context.Context, p *launcher.Process, pid int) error {
	for p.PID() == pid {
		if !sleep(ctx, time.Millisecond) {
			return context.Cause(ctx)
		}
	}
	kept, err := d.kept(ctx)
	if err != nil {
		d.say.more("the journal cannot be read now: %v", err)
		return nil
	}
	newest := uint64(0)
	for _, c := range kept {
		newest = max(newest, c.GetCheckpointId())
	}
	d.watch.newest = max(d.watch.newest, newest)
	k := d.strike
	switch {
	case k.pending == 0:
	case newest >= k.pending:
		k.fate = "its entry is in the journal: it is complete, and the next owner tells the sinks"
	default:
		k.fate = "it has no entry in the journal: the next owner gives it up"
	}
	d.say.more("the journal's newest checkpoint is %d", newest)
	return nil
}

// recovered looks whether the job goes on after the last kill, and says how.
func (d *demo) recovered() {
	k, w := d.strike, &d.watch
	if k == nil || !w.running || (k.daemon && w.epoch == k.epoch) || (!k.daemon && w.attempt == k.attempt) {
		return
	}
	took := time.Since(k.at).Seconds()
	w.stand(w.records)
	switch {
	case k.daemon && w.attempt == k.attempt:
		d.say.event("recovered in %.1f s: epoch %d, still attempt %d: no worker restored, records flowed on", took, w.epoch, w.attempt)
	default:
		d.say.event("recovered in %.1f s: epoch %d, attempt %d%s", took, w.epoch, w.attempt, from(k.restored))
	}
	if k.pending != 0 {
		fate := k.fate
		if fate == "" {
			fate = "no event tells what became of it"
		}
		d.say.more("checkpoint %d: %s", k.pending, fate)
	}
	d.strike = nil
}
