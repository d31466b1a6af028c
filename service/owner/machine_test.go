package owner

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/retention"
)

func TestLifeOfAJob(t *testing.T) {
	d := newDesk(t)
	d.do(Event{Kind: EventAttach, Create: twoTasks(2)})
	d.want("attached epoch=1")
	d.do(Event{Kind: EventRegister, Worker: 1, Subtasks: subtasks(0)})
	d.want()
	if got := d.m.Head().Attempt; got != 1 {
		t.Errorf("attempt %d, want 1: the first attempt begins with the first worker", got)
	}
	d.do(Event{Kind: EventRegister, Worker: 2, Subtasks: subtasks(1)})
	d.want("attempt epoch=1 attempt=1", "start worker=1 epoch=1 attempt=1", "start worker=2 epoch=1 attempt=1")
	d.do(Event{Kind: EventTrigger, Caller: 5})
	d.want(fmt.Sprintf("trigger refused caller=5 reason=%d", ReasonNotRunning))
	d.do(Event{Kind: EventRunning, Worker: 1, Subtasks: subtasks(0), Attempt: 1})
	d.want()
	d.do(Event{Kind: EventRunning, Worker: 2, Subtasks: subtasks(1), Attempt: 1})
	d.want("all running attempt=1")

	d.do(Event{Kind: EventTrigger, Caller: 5})
	d.want("trigger caller=5 epoch=1 attempt=1 id=1")
	d.do(Event{Kind: EventBegin, Caller: 6, ID: 1, Epoch: 1, Attempt: 1})
	d.want("begun caller=6 id=1")
	d.ack(1, 0, []incremental.File{10, 11})
	d.want("acked caller=9 id=1")
	d.ack(1, 1, []incremental.File{12})
	d.want("acked caller=9 id=1", "unresolved epoch=1 attempt=1 id=1", "complete epoch=1 attempt=1 id=1")

	d.do(Event{Kind: EventTrigger})
	d.do(Event{Kind: EventBegin, Caller: 6, ID: 2, Epoch: 1, Attempt: 1, Files: incremental.FilesOf(10, 12, 99)})
	d.want("begun caller=6 id=2 f10 f12")
	d.ack(2, 0, []incremental.File{20}, 10)
	d.ack(2, 1, nil, 12)
	d.want("acked caller=9 id=2", "unresolved epoch=1 attempt=1 id=2", "complete epoch=1 attempt=1 id=2")
	if _, there := d.files[11]; there || len(d.files) != 3 || len(d.metas) != 1 {
		t.Errorf("files %v, metas %v; want file 11 and the first _metadata deleted: nothing needs them", d.files, d.metas)
	}
	if n := d.m.NeededBy(10); n != 1 {
		t.Errorf("file 10 is needed by %d checkpoints, want 1", n)
	}

	d.do(Event{Kind: EventEnd, Caller: 7, Status: journal.StatusCanceled, Request: journal.RequestOf("r")})
	d.want("ended status=2", "ended caller=7 status=2")
	d.do(Event{Kind: EventEnd, Caller: 8, Status: journal.StatusCanceled, Request: journal.RequestOf("r")})
	d.want("ended caller=8 status=2")
	d.do(Event{Kind: EventRegister, Worker: 1, Subtasks: subtasks(0), Attempt: 1})
	d.want("ended worker=1 status=2")
	d.do(Event{Kind: EventSweep, Caller: 3})
	d.want("swept caller=3", "released")
	if head := d.head(); !head.Owner.IsZero() || len(head.Retained) != 1 || len(d.files) != 3 {
		t.Errorf("after the end: %+v, files %v; want no owner, one checkpoint and three files", head, d.files)
	}
	d.do(Event{Kind: EventAttach, Create: twoTasks(2)})
	d.want(fmt.Sprintf("attach refused status=2 reason=%d", ReasonTerminal))
	d.do(Event{Kind: EventFinish})
	d.want(fmt.Sprintf("attach refused reason=%d", ReasonReleased))
}

func TestEndDeletesByPolicy(t *testing.T) {
	for policy, kept := range map[retention.Policy]map[journal.Status]int{
		retention.Nothing:        {journal.StatusCanceled: 0, journal.StatusFailed: 0, journal.StatusFinished: 0},
		retention.OnFailure:      {journal.StatusCanceled: 0, journal.StatusFailed: 1, journal.StatusFinished: 0},
		retention.OnCancellation: {journal.StatusCanceled: 1, journal.StatusFailed: 1, journal.StatusFinished: 0},
	} {
		for status, kept := range kept {
			create := twoTasks(1)
			create.Config = configOf(1, policy)
			d := newDesk(t)
			d.do(Event{Kind: EventAttach, Create: create})
			d.serve(1, 0)
			d.checkpoint(5)
			d.do(Event{Kind: EventEnd, Status: status})
			d.do(Event{Kind: EventSweep})
			if len(d.metas) != kept || len(d.files) != kept {
				t.Errorf("policy %d, status %d: %d metas, %d files, want %d", policy, status, len(d.metas), len(d.files), kept)
			}
		}
	}
}

func TestAttach(t *testing.T) {
	begun := func(edit func(*journal.Entry)) *desk {
		d := running(t, 1)
		d.checkpoint(1)
		d.seize(edit)
		d.m = Machine{}
		d.cfg = DefaultConfig(journal.Process{2}, nil, testPolicy)
		return d
	}
	for name, test := range map[string]struct {
		desk *desk
		want string
	}{
		"no job":        {newDesk(t), fmt.Sprintf("attach refused reason=%d", ReasonNoJob)},
		"foreign":       {func() *desk { d := newDesk(t); d.foreign = true; return d }(), fmt.Sprintf("attach refused reason=%d", ReasonForeign)},
		"newer writer":  {begun(func(e *journal.Entry) { e.LeastWriter = journal.FormatVersion + 1 }), fmt.Sprintf("attach refused reason=%d", ReasonNewer)},
		"newer reader":  {begun(func(e *journal.Entry) { e.LeastReader = journal.FormatVersion + 1 }), fmt.Sprintf("attach refused reason=%d", ReasonNewer)},
		"stopping":      {begun(func(e *journal.Entry) { e.Status = journal.StatusStopping }), "attached epoch=2 attempt=1"},
		"a copy":        {begun(func(e *journal.Entry) { e.Status = journal.StatusCopied }), fmt.Sprintf("attach refused status=6 reason=%d", ReasonTerminal)},
		"removed":       {begun(func(e *journal.Entry) { e.Status = journal.StatusRemoved }), fmt.Sprintf("attach refused reason=%d", ReasonNoJob)},
		"imported":      {begun(func(e *journal.Entry) { e.Import.State = journal.ImportDone }), "attached epoch=2 attempt=1"},
		"borrowed":      {begun(func(e *journal.Entry) { e.Borrowed = []journal.Borrowed{{Job: "a"}} }), "attached epoch=2 attempt=1"},
		"claimed":       {begun(func(e *journal.Entry) { e.Borrowed = []journal.Borrowed{{Job: "a", Mode: journal.Claim}} }), "attached epoch=2 attempt=1"},
		"to be purged":  {begun(func(e *journal.Entry) { e.PurgeWanted = true }), "attached epoch=2 attempt=1"},
		"newer config":  {begun(func(e *journal.Entry) { e.Config = journal.NewConfig(nil) }), fmt.Sprintf("attach refused reason=%d", ReasonNewer)},
		"terminal":      {begun(func(e *journal.Entry) { e.Status = journal.StatusFailed }), fmt.Sprintf("attach refused status=3 reason=%d", ReasonTerminal)},
		"no answer":     {begun(func(*journal.Entry) {}), "attached epoch=2 attempt=1"},
		"nobody's":      {begun(func(e *journal.Entry) { e.Owner = journal.Nonce{} }), "attached epoch=2 attempt=1"},
		"ours, earlier": {begun(func(e *journal.Entry) { e.Owner.Process = journal.Process{2} }), "attached epoch=2 attempt=1"},
	} {
		t.Run(name, func(t *testing.T) {
			slots, metas := len(test.desk.slots), len(test.desk.metas)
			test.desk.do(Event{Kind: EventAttach})
			test.desk.want(test.want)
			if strings.HasPrefix(test.want, "attach refused") && (len(test.desk.slots) != slots || len(test.desk.metas) != metas) {
				t.Error("the refused attach changed slots or _metadata, want both as before")
			}
		})
	}
	t.Run("an owner that answers", func(t *testing.T) {
		d := begun(func(*journal.Entry) {})
		d.answer = func(op Op) *Result {
			if op.Kind != OpAsk {
				return nil
			}
			res := op.Result(journal.Done)
			res.Answered = true
			return &res
		}
		d.do(Event{Kind: EventAttach})
		d.want("redirect epoch=1http://a")
	})
	t.Run("a corrupt head", func(t *testing.T) {
		d := begun(func(*journal.Entry) {})
		d.answer = func(op Op) *Result {
			if op.Journal.Kind != journal.OpGet {
				return nil
			}
			res := op.Result(journal.Corrupt)
			return &res
		}
		d.do(Event{Kind: EventAttach})
		d.want(fmt.Sprintf("attach refused reason=%d", ReasonCorrupt))
	})
	t.Run("finish a job that is not over", func(t *testing.T) {
		d := begun(func(*journal.Entry) {})
		d.do(Event{Kind: EventFinish})
		d.want(fmt.Sprintf("attach refused reason=%d", ReasonNotTerminal))
	})
	t.Run("finish a job that was killed after its end", func(t *testing.T) {
		d := begun(func(e *journal.Entry) { e.Status, e.Retained = journal.StatusFinished, nil })
		d.do(Event{Kind: EventFinish})
		d.want("attached epoch=2 attempt=1")
		d.do(Event{Kind: EventSweep})
		d.want("swept", "released")
		if len(d.files)+len(d.metas) != 0 {
			t.Errorf("left: files %v, metas %v; want none", d.files, d.metas)
		}
	})
}

func TestOwnsAndRelease(t *testing.T) {
	d := running(t, 1)
	me := d.head().Owner
	if !d.m.Owns(me) || d.m.Owns(journal.Nonce{}) || d.m.Owns(journal.Nonce{Process: me.Process, Count: 99}) {
		t.Error("Owns is wrong, want true for the nonce of this attach and for no other")
	}
	d.do(Event{Kind: EventTrigger})
	d.do(Event{Kind: EventStop})
	d.want("released")
	if d.m.Owns(me) || !d.head().Owner.IsZero() || d.m.Head() != nil {
		t.Error("still the owner, want the job released")
	}
	d.do(Event{Kind: EventStop})
	d.want("released")
	d.do(Event{Kind: EventTrigger, Caller: 1})
	d.want(fmt.Sprintf("trigger refused caller=1 reason=%d", ReasonNotOwner))
	d.do(Event{Kind: EventRegister, Worker: 1})
	d.want("reregister worker=1")
}

// TestStopAfterTheEnd: a job that has ended but was not swept keeps its owner in the journal. So the next daemon finds
// the job and sweeps it.
func TestStopAfterTheEnd(t *testing.T) {
	d := running(t, 1)
	d.do(Event{Kind: EventEnd, Status: journal.StatusCanceled})
	d.do(Event{Kind: EventStop})
	d.want("released")
	if d.head().Owner.IsZero() {
		t.Error("the journal names no owner, want the owner until a sweep has gone through")
	}
}

func TestFencedForgets(t *testing.T) {
	d := running(t, 1)
	d.checkpoint(1)
	d.do(Event{Kind: EventTrigger})
	d.seize(func(e *journal.Entry) {
		e.Epoch++
		e.Kind = journal.KindAttach
		e.Owner = journal.Nonce{Process: journal.Process{3}, Count: 1}
	})
	metas, files := len(d.metas), len(d.files)
	d.ack(2, 0, []incremental.File{2})
	d.want("acked caller=9 id=2", "unresolved epoch=1 attempt=1 id=2", "fenced")
	if d.m.Phase() != PhaseIdle || len(d.metas) != metas+1 || len(d.files) != files+1 {
		t.Error("the fenced owner has deleted or remembers something, want neither")
	}
	life := d.m.life
	d.do(Event{Kind: EventResult, Result: Result{Kind: OpSweep, Life: life}})
	d.want()
	d.do(Event{Kind: EventAttach})
	d.do(Event{Kind: EventResult, Result: Result{Kind: OpDeleteFiles, Life: life}})
	d.want()
}

// TestThirdPartyTakesTheSlot: an entry of another job takes the slot in the owner's epoch. The owner tries again on the
// new head, and keeps the other job's pin.
func TestThirdPartyTakesTheSlot(t *testing.T) {
	d := running(t, 1)
	d.checkpoint(1)
	d.seize(func(e *journal.Entry) {
		e.Kind = journal.KindLend
		e.Lent = []journal.Lent{{Pin: pin, Checkpoint: 1, Holder: "other"}}
	})
	d.checkpoint(2)
	head := d.head()
	if len(head.Lent) != 1 || len(head.Retained) != 2 || head.Retained[0].State != journal.StateHidden {
		t.Errorf("head %+v, want the pin, and two checkpoints, the first one hidden", head)
	}
	if len(d.files) != 2 || len(d.metas) != 2 {
		t.Errorf("files %v, metas %v; want two of each: checkpoint 1 is lent", d.files, d.metas)
	}
	d.seize(func(e *journal.Entry) { e.Kind = journal.KindReturn; e.Lent = nil })
	d.checkpoint(3)
	if len(d.files) != 1 || len(d.metas) != 1 {
		t.Errorf("files %v, metas %v; want one of each: the lent checkpoint was returned", d.files, d.metas)
	}
}

func TestTrim(t *testing.T) {
	d := running(t, 1)
	for i := range incremental.File(40) {
		d.checkpoint(i)
	}
	if len(d.slots) != 17 {
		t.Errorf("%d slots, want the head and 16", len(d.slots))
	}
	if got := len(d.head().Ring); got != 16 {
		t.Errorf("a ring of %d nonces, want 16", got)
	}
}

// TestFull: the owner refuses a trigger whose checkpoint would not fit into the entry.
func TestFull(t *testing.T) {
	create := twoTasks(1)
	create.Config = configOf(300, retention.OnCancellation)
	d := newDesk(t)
	d.cfg.MaxRetained = 3
	d.do(Event{Kind: EventAttach, Create: create})
	d.serve(1, 0)
	for i := range incremental.File(3) {
		d.checkpoint(i)
	}
	d.do(Event{Kind: EventTrigger, Caller: 1})
	d.want(fmt.Sprintf("trigger refused caller=1 reason=%d", ReasonFull))
}

// TestDeadTargets: the name of its target decides whether an unfinished write is dead.
func TestDeadTargets(t *testing.T) {
	op := Op{Kind: OpAbortUnfinished, Epoch: 3, Floor: 10}
	for _, test := range []struct {
		epoch, checkpoint uint64
		dead              bool
	}{{2, 50, true}, {3, 9, true}, {3, 10, false}, {4, 1, false}} {
		if op.DeadTarget(test.epoch, test.checkpoint) != test.dead {
			t.Errorf("epoch %d, checkpoint %d: dead %v, want %v", test.epoch, test.checkpoint, !test.dead, test.dead)
		}
	}
	if !TellAttached.IsTell() || OpSweep.IsTell() {
		t.Error("IsTell is wrong, want true for TellAttached and false for OpSweep")
	}
}

// TestSweepJudgesWhatItSees: the sweep deletes each kind of dead object, and leaves all others alone.
func TestSweepJudgesWhatItSees(t *testing.T) {
	d := running(t, 1)
	d.checkpoint(1, 2)
	d.m = Machine{}
	d.cfg = DefaultConfig(journal.Process{2}, nil, testPolicy)
	d.do(Event{Kind: EventAttach})
	d.serve(1, 1)
	d.do(Event{Kind: EventTrigger})
	open := d.m.Pending()[0].ID
	for f, found := range map[incremental.File]Found{
		20: {20, 1, 5},        // an older epoch, named by nothing
		21: {21, 2, open - 1}, // below the floor
		22: {22, 2, open},     // may still be acknowledged
		23: {23, 3, 1},        // a larger epoch
	} {
		d.files[f] = found
	}
	d.metas[open-1] = metaObject{id: open - 1}
	d.metas[open+5] = metaObject{id: open + 5}
	d.do(Event{Kind: EventSweep, Caller: 1})
	d.want("swept caller=1")
	left := ""
	for f := range incremental.File(30) {
		if _, ok := d.files[f]; ok {
			left += fmt.Sprint(f, " ")
		}
	}
	if left != "1 2 22 23 " || len(d.metas) != 2 {
		t.Errorf("left files %s, metas %v; want 1 2 22 23, and two _metadata", left, d.metas)
	}
	d.do(Event{Kind: EventSweep, Caller: 1})
	d.answer = func(op Op) *Result {
		if op.Kind == OpSweep {
			return hold
		}
		return nil
	}
	d.do(Event{Kind: EventSweep, Caller: 2})
	d.want()
	d.do(Event{Kind: EventSweep, Caller: 3})
	d.want(fmt.Sprintf("swept caller=3 reason=%d", ReasonBusy))
	d.release()
}

// TestReleaseWaitsForDeletes: the owner releases an ended job only when no object waits for its delete.
func TestReleaseWaitsForDeletes(t *testing.T) {
	for _, kind := range []OpKind{OpDeleteMetas, OpDeleteFiles, OpCreateMeta} {
		d := running(t, 1)
		d.checkpoint(1)
		d.answer = func(op Op) *Result {
			if op.Kind == kind {
				return hold
			}
			return nil
		}
		d.do(Event{Kind: EventTrigger})
		d.ack(2, 0, []incremental.File{2})
		d.do(Event{Kind: EventEnd, Status: journal.StatusFinished})
		d.do(Event{Kind: EventSweep})
		d.want("swept")
		if told := d.release(); fmt.Sprint(told) != "[released]" {
			t.Errorf("kind %d: told %q, want released", kind, told)
		}
		if !d.head().Owner.IsZero() || len(d.files)+len(d.metas) != 0 {
			t.Errorf("kind %d: files %v, metas %v; want none, and no owner", kind, d.files, d.metas)
		}
	}
}
