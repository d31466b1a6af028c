package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/ckptd/ckptd/cmd/ckptd/launch"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/runtime/launcher"
)

// Kill is a planned kill: its victim, the number of records before it, and whether it waits for a checkpoint in
// progress.
type Kill struct {
	daemon bool
	worker int
	After  uint64
	amid   bool
}

// amidPatience bounds the time for which a kill waits for a checkpoint in progress.
const amidPatience = 1500 * time.Millisecond

// planKills spreads the kills over the middle of the input: it divides the middle into equal stretches and puts one
// kill at a random point of each. Workers and the daemon take turns. Two of each four kills wait for a checkpoint in
// progress, because checkpoints are short and chance would rarely hit one. Without daemonToo only workers are killed.
func planKills(n int, total, seed uint64, daemonToo bool) []Kill {
	const first, last = 0.08, 0.88 // of the input
	rng := rand.New(rand.NewPCG(seed, 0x6b696c6c))
	kills := make([]Kill, n)
	for i := range kills {
		at := first + (float64(i)+rng.Float64())*(last-first)/float64(n)
		kills[i] = Kill{daemon: daemonToo && i%2 == 1, worker: rng.IntN(NumWorkers), After: uint64(at * float64(total)), amid: i%4 < 2}
	}
	return kills
}

// strike is a kill that was carried out and from which the job has not recovered yet.
type strike struct {
	Kill
	at             time.Time
	epoch, attempt uint64
	// pending is the checkpoint that was in progress at the kill; 0: none.
	pending uint64
	// fate says how that checkpoint ended, as far as known.
	fate string
	// restored is the checkpoint that the attempt after the kill has restored.
	restored uint64
}

// settle notes how the checkpoint in progress ended, if the event tells that. A nil strike notes nothing.
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

// due tells whether the next kill is to be carried out now. The demo kills only while records are left to read, and
// only after a checkpoint has completed since the last kill.
func (d *Demo) due(s *ckptdv1.JobState) bool {
	if d.Struck == len(d.Kills) || d.strike != nil || !d.Watch.Running || !d.Watch.fresh {
		return false
	}
	read, next := d.estimate(), &d.Kills[d.Struck]
	if read < next.After || read >= d.total || s.GetSourcesAtEnd() == s.GetSources() {
		return false
	}
	if d.dueSince.IsZero() {
		d.dueSince = time.Now()
	}
	return !next.amid || len(s.GetPending()) > 0 || time.Since(d.dueSince) > amidPatience
}

// pause is the time until the next poll. It is short while a kill waits for a checkpoint in progress, because a
// checkpoint lasts some tens of milliseconds.
func (d *Demo) pause() time.Duration {
	if d.dueSince.IsZero() {
		return pollEvery
	}
	return pollEvery / 10
}

// kill carries out the next kill. s is the job's state at this moment.
func (d *Demo) kill(ctx context.Context, s *ckptdv1.JobState) error {
	k := &strike{Kill: d.Kills[d.Struck], epoch: d.Watch.Epoch, attempt: d.Watch.Attempt}
	whom, p := "the daemon", d.Daemon
	if !k.daemon {
		whom, p = fmt.Sprintf("worker %d", k.worker), d.Workers[k.worker]
	}
	progress := "no checkpoint was in progress"
	if len(s.GetPending()) > 0 {
		c := s.GetPending()[0]
		k.pending = c.GetCheckpointId()
		progress = fmt.Sprintf("checkpoint %d was in progress: %d of %s had acknowledged, %s",
			k.pending, c.GetAcknowledged(), output.Count(c.GetSubtasks(), "subtask"), output.Enum(c.GetState(), "PENDING_STATE_"))
	}
	read := d.estimate()
	k.at = time.Now()
	pid, err := p.Kill()
	if err != nil {
		return nil // the victim does not run at this moment; try again later
	}
	d.strike, d.Watch.fresh, d.Watch.Running = k, false, false
	d.Struck++
	d.dueSince = time.Time{}
	d.Watch.stand(read)
	d.say.Event("KILL %d of %d: %s (process %d) by SIGKILL, at about record %s of %s", d.Struck, len(d.Kills), whom, pid, launch.Grouped(read), launch.Grouped(d.total))
	d.say.More("%s", progress)
	if k.daemon {
		return d.readJournal(ctx, p, pid)
	}
	return nil
}

// readJournal reads the journal while no daemon runs. Only the journal decides how the checkpoint in progress ended. If
// the store cannot be read at this moment, the job has not failed.
func (d *Demo) readJournal(ctx context.Context, p *launcher.Process, pid int) error {
	for p.PID() == pid {
		if !launch.Sleep(ctx, time.Millisecond) {
			return context.Cause(ctx)
		}
	}
	kept, err := d.kept(ctx)
	if err != nil {
		d.say.More("the journal cannot be read now: %v", err)
		return nil
	}
	newest := uint64(0)
	for _, c := range kept {
		newest = max(newest, c.GetCheckpointId())
	}
	d.Watch.Newest = max(d.Watch.Newest, newest)
	k := d.strike
	switch {
	case k.pending == 0:
	case newest >= k.pending:
		k.fate = "its entry is in the journal: it is complete, and the next owner tells the sinks"
	default:
		k.fate = "it has no entry in the journal: the next owner gives it up"
	}
	d.say.More("the journal's newest checkpoint is %d", newest)
	return nil
}

// recovered checks whether the job has recovered from the last kill. If so, it prints how.
func (d *Demo) recovered() {
	k, w := d.strike, &d.Watch
	if k == nil || !w.Running || (k.daemon && w.Epoch == k.epoch) || (!k.daemon && w.Attempt == k.attempt) {
		return
	}
	took := time.Since(k.at).Seconds()
	w.stand(w.Records)
	switch {
	case k.daemon && w.Attempt == k.attempt:
		d.say.Event("recovered in %.1f s: epoch %d, still attempt %d: no worker restored, records flowed on", took, w.Epoch, w.Attempt)
	default:
		d.say.Event("recovered in %.1f s: epoch %d, attempt %d%s", took, w.Epoch, w.Attempt, from(k.restored))
	}
	if k.pending != 0 {
		fate := k.fate
		if fate == "" {
			fate = "no event tells what became of it"
		}
		d.say.More("checkpoint %d: %s", k.pending, fate)
	}
	d.strike = nil
}
