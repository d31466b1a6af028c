package owner

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// busy is an owner in the middle of everything. Checkpoint 5 is unresolved. Checkpoint 6 is open: it has promises and
// one acknowledgement. Checkpoint 4 was aborted while its _metadata was being written. Files and a _metadata wait for
// their deletion. A sweep lists.
func busy(t *testing.T) *desk {
	t.Helper()
	d := newDesk(t)
	create := retaining(2)
	create.Plan = twoTasks(2).Plan
	d.do(Event{Kind: EventAttach, Create: create})
	d.serve(2, 0)
	complete := func(id uint64, file incremental.File) {
		d.do(Event{Kind: EventTrigger})
		d.ack(id, 0, []incremental.File{file})
		d.ack(id, 1, nil)
	}
	complete(1, 1)
	complete(2, 2)
	d.holds(OpDeleteMetas, OpDeleteFiles, OpSweep)
	complete(3, 3) // 1 is subsumed, and its _metadata waits
	d.do(Event{Kind: EventSweep, Caller: 20})
	for range 3 {
		d.do(Event{Kind: EventTrigger})
	}
	d.do(Event{Kind: EventBegin, ID: 6, Epoch: 1, Attempt: 1, Files: incremental.FilesOf(2, 3)})
	d.ack(6, 0, []incremental.File{6}, 2)
	d.holds(OpDeleteMetas, OpDeleteFiles, OpSweep, OpCreateMeta, OpJournal)
	d.ack(4, 0, []incremental.File{4})
	d.ack(4, 1, nil)
	d.do(Event{Kind: EventAbort, ID: 4})
	d.answer = nil
	d.holds(OpDeleteMetas, OpDeleteFiles, OpSweep, OpJournal)
	d.ack(5, 0, []incremental.File{5})
	d.ack(5, 1, nil)
	d.do(Event{Kind: EventTrigger, Caller: 21})
	if len(d.m.pending) != 2 || len(d.m.promises) != 2 || len(d.m.unansweredMetas) != 1 || len(d.m.deletingMetas) != 1 || d.m.sweep.stage != sweepListing ||
		d.m.index.Condemned.IsEmpty() || !d.m.trigger.wanted || d.m.doingID != 5 {
		t.Fatalf("not everything is under way: %+v", d.m)
	}
	return d
}

// publishing is the entry that is being published.
func publishing(t *testing.T, ops []Op) Op {
	t.Helper()
	for _, op := range ops {
		if op.Kind == OpJournal && op.Journal.Kind == journal.OpPublish {
			return op
		}
	}
	t.Fatalf("nothing is being published: %+v", ops)
	return Op{}
}

// wantForgotten checks that the machine is like a new one. Only its counts of lives and nonces go on.
func (d *desk) wantForgotten() {
	d.t.Helper()
	if fresh := (Machine{life: d.m.life, count: d.m.count}); !reflect.DeepEqual(d.m, fresh) {
		d.t.Errorf("the machine keeps\n  %+v\nwant\n  %+v", d.m, fresh)
	}
}

// TestAFencedOwnerForgets: a fenced owner announces nothing, deletes nothing and forgets what it knew.
func TestAFencedOwnerForgets(t *testing.T) {
	fenced := func(t *testing.T) (*desk, []Op) {
		d := busy(t)
		late := d.takeHeld()
		d.fence()
		d.answer = nil
		d.reply(publishing(t, late), journal.Exists, nil)
		d.want("fenced")
		if len(d.all(OpDeleteFiles))+len(d.all(OpDeleteMetas)) > 0 {
			t.Errorf("fenced: asked for %+v, want nothing", d.asked)
		}
		return d, late
	}
	t.Run("everything", func(t *testing.T) {
		d, _ := fenced(t)
		d.wantForgotten()
	})
	t.Run("also when it has attached again: what it promised keeps no file", func(t *testing.T) {
		d, _ := fenced(t)
		d.do(Event{Kind: EventAttach})
		d.want("attached epoch=3 attempt=1")
		d.serve(2, 1)
		for _, file := range []incremental.File{40, 41} {
			d.do(Event{Kind: EventTrigger})
			id := d.m.Pending()[0].ID
			d.ack(id, 0, []incremental.File{file})
			d.ack(id, 1, nil)
		}
		d.do(Event{Kind: EventSweep})
		d.wantFiles("those of the last two checkpoints", 40, 41)
	})
	t.Run("a late answer of the life before changes nothing while it attaches and owns again", func(t *testing.T) {
		d, late := fenced(t)
		try := func() {
			t.Helper()
			for _, op := range late {
				for _, outcome := range []journal.Outcome{journal.Unknown, journal.Done, journal.Exists, journal.NotFound, journal.NotDone, journal.Corrupt} {
					res := op.Result(outcome)
					res.Files, res.IDs, res.Found = op.Files, op.IDs, []Found{{7, 1, 1}}
					d.wantUnchanged(Event{Kind: EventResult, Result: res})
				}
			}
		}
		try()
		d.holds(OpReadMeta, OpAsk)
		d.do(Event{Kind: EventAttach})
		try()
		d.release()
		d.holds(OpSweep, OpJournal)
		d.serve(2, 1)
		d.do(Event{Kind: EventSweep})
		d.do(Event{Kind: EventTrigger})
		id := d.m.Pending()[0].ID
		d.ack(id, 0, []incremental.File{40})
		d.ack(id, 1, nil)
		try()
	})
}

// TestALateReadSaysNothingOfTheNextLife: the answer to a read of an earlier attach arrives while this attach reads
// the same _metadata. The machine ignores it.
func TestALateReadSaysNothingOfTheNextLife(t *testing.T) {
	d := running(t, 1)
	d.checkpoint(1)
	d.takeOver(2)
	d.do(Event{Kind: EventStop})
	d.holds(OpReadMeta)
	d.do(Event{Kind: EventAttach})
	first := d.takeHeld()[0]
	d.do(Event{Kind: EventStop})
	d.do(Event{Kind: EventAttach})
	res := first.Result(journal.Done)
	res.Nonce = first.Nonce
	d.wantUnchanged(Event{Kind: EventResult, Result: res}) // it names no files
	d.do(Event{Kind: EventSweep, Caller: 1})
	d.want(fmt.Sprintf("swept caller=1 reason=%d", ReasonLoading))
	d.release()
	d.serve(1, 1)
	d.do(Event{Kind: EventSweep})
	d.wantFiles("the checkpoint that is retained names 1", 1)
}

// TestWhatAnOwnerLetsGoItForgets: after a stop, a refusal or a redirect the machine knows nothing of the job.
func TestWhatAnOwnerLetsGoItForgets(t *testing.T) {
	t.Run("released", func(t *testing.T) {
		d := busy(t)
		d.do(Event{Kind: EventStop})
		d.want()
		late := publishing(t, d.takeHeld())
		d.answer = nil
		d.journal(late.Journal, &Result{})
		d.reply(late, journal.Done, nil)
		d.want("complete epoch=1 attempt=1 id=5", "released") // which answers caller 21, too
		d.wantForgotten()
	})
	t.Run("redirected", func(t *testing.T) {
		d := running(t, 1)
		d.holds(OpAsk)
		d.m, d.cfg = Machine{}, DefaultConfig(journal.Process{2}, nil, testPolicy)
		d.do(Event{Kind: EventAttach, Create: twoTasks(1)})
		d.reply(d.takeHeld()[0], journal.Done, func(r *Result) { r.Answered = true })
		d.want("redirect epoch=1http://a")
		d.wantForgotten()
	})
	t.Run("refused", func(t *testing.T) {
		d := running(t, 1)
		d.do(Event{Kind: EventEnd, Status: journal.StatusFailed})
		d.m, d.cfg = Machine{}, DefaultConfig(journal.Process{2}, nil, testPolicy)
		d.do(Event{Kind: EventAttach, Create: twoTasks(1)})
		d.want(fmt.Sprintf("attach refused status=3 reason=%d", ReasonTerminal))
		d.wantForgotten()
	})
}

// TestAStopGivesUpWhatIsPending: after EventStop no checkpoint is acknowledged or completed. The one exception is the
// checkpoint whose entry is being published.
func TestAStopGivesUpWhatIsPending(t *testing.T) {
	stopping := func(t *testing.T) *desk {
		d := running(t, 1)
		for range 3 {
			d.do(Event{Kind: EventTrigger})
		}
		d.holds(OpJournal)
		d.ack(1, 0, []incremental.File{1})
		return d
	}
	t.Run("an open one", func(t *testing.T) {
		d := stopping(t)
		d.do(Event{Kind: EventStop})
		d.want()
		d.ack(2, 0, []incremental.File{2})
		d.want(fmt.Sprintf("acked caller=9 id=2 reason=%d", ReasonNotOpen))
		d.do(Event{Kind: EventBegin, ID: 3, Epoch: 1, Attempt: 1})
		d.want(fmt.Sprintf("begun id=3 reason=%d", ReasonNotOpen))
		if len(d.m.Pending()) != 1 || !d.m.Stopping() {
			t.Errorf("pending %+v, want only the unresolved one; stopping %v", d.m.Pending(), d.m.Stopping())
		}
		if told := d.release(); fmt.Sprint(told) != "[complete epoch=1 attempt=1 id=1 released]" {
			t.Errorf("told %q, want the one checkpoint complete, then released", told)
		}
		if head := d.head(); len(head.Retained) != 1 || head.Kind != journal.KindRelease {
			t.Errorf("head %+v, want a release with one checkpoint", head)
		}
	})
	t.Run("one whose _metadata is durable", func(t *testing.T) {
		d := stopping(t)
		d.ack(2, 0, []incremental.File{2})
		d.do(Event{Kind: EventStop})
		if told := d.release(); fmt.Sprint(told) != "[complete epoch=1 attempt=1 id=1 released]" {
			t.Errorf("told %q, want only checkpoint 1 complete, then released", told)
		}
	})
	t.Run("nothing begins any more", func(t *testing.T) {
		d := stopping(t)
		d.do(Event{Kind: EventStop})
		d.do(Event{Kind: EventTrigger, Caller: 1})
		d.want(fmt.Sprintf("trigger refused caller=1 reason=%d", ReasonStopping))
		d.do(Event{Kind: EventNewAttempt, Attempt: 1, Caller: 1})
		d.want(fmt.Sprintf("attempted caller=1 attempt=1 reason=%d", ReasonStopping))
		d.do(Event{Kind: EventEnd, Caller: 1, Status: journal.StatusFailed})
		d.want(fmt.Sprintf("ended caller=1 reason=%d", ReasonStopping))
		d.do(Event{Kind: EventSweep, Caller: 1})
		d.want(fmt.Sprintf("swept caller=1 reason=%d", ReasonStopping))
		d.do(register(1, 1, 0))
		d.want("reregister worker=1")
	})
}

// TestAnOwnerWhoseHeadRotsStops: the head becomes unreadable while the owner publishes an entry. The outcome cannot
// be known, so the owner stops as if it were fenced.
func TestAnOwnerWhoseHeadRotsStops(t *testing.T) {
	for name, outcome := range map[string]journal.Outcome{"corrupt": journal.Corrupt, "newer": journal.Newer} {
		t.Run(name, func(t *testing.T) {
			rot := func(op Op) *Result {
				if op.Kind != OpJournal || op.Journal.Kind != journal.OpGet {
					return nil
				}
				res := op.Result(outcome)
				return &res
			}
			for what, begin := range map[string]func(*desk){
				"commit":  func(d *desk) { d.ack(2, 0, []incremental.File{2}) },
				"attempt": func(d *desk) { d.do(Event{Kind: EventNewAttempt, Attempt: 1}) },
				"end":     func(d *desk) { d.do(Event{Kind: EventEnd, Status: journal.StatusFailed}) },
				"release": func(d *desk) { d.do(Event{Kind: EventStop}) },
			} {
				d := running(t, 1)
				d.checkpoint(1)
				d.do(Event{Kind: EventTrigger})
				d.answer = rot
				begin(d)
				if n := len(d.told); n == 0 || d.told[n-1] != "fenced" {
					t.Fatalf("%s: told %q, want fenced at last", what, d.told)
				}
				d.wantForgotten()
				if len(d.files) == 0 || d.metas[1].id != 1 {
					t.Errorf("%s: something was deleted, want nothing deleted", what)
				}
			}
		})
	}
	t.Run("an attach is refused", func(t *testing.T) {
		d := running(t, 1)
		d.m, d.cfg = Machine{}, DefaultConfig(journal.Process{2}, nil, testPolicy)
		published := false
		d.answer = func(op Op) *Result {
			published = published || op.Kind == OpJournal && op.Journal.Kind == journal.OpPublish
			if !published || op.Journal.Kind != journal.OpGet {
				return nil
			}
			res := op.Result(journal.Corrupt)
			return &res
		}
		d.do(Event{Kind: EventAttach})
		d.want(fmt.Sprintf("attach refused reason=%d", ReasonCorrupt))
		d.wantForgotten()
	})
}
