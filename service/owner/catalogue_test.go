package owner

import (
	"fmt"
	"testing"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/retention"
)

// The subtests of this file have the ids of the catalogue of Flink's behaviours: conformance/coverage.

// wantPending compares the pending checkpoints, and how many subtasks have acknowledged each.
func (d *desk) wantPending(pairs ...int) {
	d.t.Helper()
	var got []int
	for _, p := range d.m.Pending() {
		got = append(got, int(p.ID), p.Acked.Len())
	}
	if fmt.Sprint(got) != fmt.Sprint(pairs) {
		d.t.Errorf("pending ids and acknowledgements %v, want %v", got, pairs)
	}
}

func (d *desk) wantRetained(ids ...uint64) {
	d.t.Helper()
	var got []uint64
	for _, c := range d.m.Head().Retained {
		got = append(got, c.ID)
	}
	if fmt.Sprint(got) != fmt.Sprint(ids) {
		d.t.Errorf("retained are %v, want %v", got, ids)
	}
}

// retained is a running job that keeps n checkpoints.
func retained(t *testing.T, n uint32, keeps retention.Policy) *desk {
	t.Helper()
	create := twoTasks(1)
	create.Config = configOf(n, keeps)
	d := newDesk(t)
	d.do(Event{Kind: EventAttach, Create: create})
	d.serve(1, 0)
	return d
}

func TestSimpleCheckpoint(t *testing.T) {
	d := running(t, 2)
	t.Run("CO-1", func(t *testing.T) {
		d.t = t
		d.do(Event{Kind: EventTrigger, Caller: 5})
		d.want("trigger caller=5 epoch=1 attempt=1 id=1")
		d.wantPending(1, 0)
	})
	t.Run("CO-2", func(t *testing.T) {
		d.t = t
		d.ack(1, 0, []incremental.File{1})
		d.want("acked caller=9 id=1")
		d.wantPending(1, 1)
		if !d.m.index.Known.Has(1) || d.m.Pending()[0].Named != incremental.FilesOf(1) {
			t.Errorf("pending %+v, want file 1 known under this id", d.m.Pending())
		}
	})
	t.Run("CO-3 and CO-23", func(t *testing.T) {
		d.t = t
		d.ack(1, 0, []incremental.File{1})
		d.want("acked caller=9 id=1")
		d.wantPending(1, 1)
		d.wantFiles("a repetition deletes nothing", 1)
	})
	t.Run("CO-4", func(t *testing.T) {
		d.t = t
		d.ack(1, 1, nil)
		d.want("acked caller=9 id=1", "unresolved epoch=1 attempt=1 id=1", "complete epoch=1 attempt=1 id=1")
		d.wantPending()
		d.wantRetained(1)
		d.do(Event{Kind: EventSweep})
		d.wantFiles("the file that was acknowledged twice is live", 1)
	})
}

func TestLateAndForeignAcknowledgements(t *testing.T) {
	t.Run("CO-16, CO-17, CO-18", func(t *testing.T) {
		create := twoTasks(2)
		create.Config = configOf(1, retention.Nothing)
		d := newDesk(t)
		d.do(Event{Kind: EventAttach, Create: create})
		d.serve(2, 0)
		d.do(Event{Kind: EventTrigger})
		d.do(Event{Kind: EventTrigger})
		d.ack(1, 0, []incremental.File{1})
		d.ack(2, 0, []incremental.File{2})
		d.ack(2, 1, []incremental.File{3})
		d.want("acked caller=9 id=2", "unresolved epoch=1 attempt=1 id=2", "complete epoch=1 attempt=1 id=2",
			fmt.Sprintf("abort epoch=1 attempt=1 id=1 reason=%d", ReasonSubsumed))
		d.wantFiles("only checkpoint 2 counts", 2, 3)
		d.ack(1, 1, []incremental.File{4})
		d.want(fmt.Sprintf("acked caller=9 id=1 reason=%d", ReasonNotOpen))
		d.do(Event{Kind: EventSweep})
		d.wantFiles("nothing names what came too late", 2, 3)
		d.do(Event{Kind: EventEnd, Status: journal.StatusFinished})
		d.do(Event{Kind: EventSweep})
		d.wantFiles("the job has finished")
		d.wantMetas("the job has finished")
	})
	t.Run("CO-15", func(t *testing.T) {
		d := running(t, 2)
		d.do(Event{Kind: EventTrigger})
		d.do(Event{Kind: EventTrigger})
		d.ack(1, 0, nil)
		d.ack(2, 0, nil)
		d.ack(1, 1, nil)
		d.want("acked caller=9 id=1", "unresolved epoch=1 attempt=1 id=1", "complete epoch=1 attempt=1 id=1")
		d.ack(2, 1, nil)
		d.want("acked caller=9 id=2", "unresolved epoch=1 attempt=1 id=2", "complete epoch=1 attempt=1 id=2")
		d.wantPending()
	})
	t.Run("CO-19", func(t *testing.T) {
		d := running(t, 2)
		d.do(Event{Kind: EventTrigger})
		d.ack(1, 0, []incremental.File{1})
		d.do(Event{Kind: EventAbort, ID: 1, Reason: ReasonExpired})
		d.want(fmt.Sprintf("abort epoch=1 attempt=1 id=1 reason=%d", ReasonExpired))
		d.wantPending()
		d.checkpointOf(2, 2)
		d.wantFiles("no checkpoint names what was acknowledged for 1", 2)
	})
	t.Run("CO-21", func(t *testing.T) {
		d := running(t, 2)
		d.do(Event{Kind: EventTrigger})
		d.ack(1, 0, []incremental.File{1})
		d.ack(1, 7, []incremental.File{2})
		d.want(fmt.Sprintf("acked caller=9 id=1 reason=%d", ReasonSubtasks))
		d.ack(1, 1, []incremental.File{3})
		d.do(Event{Kind: EventSweep})
		d.wantFiles("2 came from a subtask that is not in the plan", 1, 3)
	})
	t.Run("CO-24", func(t *testing.T) {
		d := running(t, 2)
		d.do(Event{Kind: EventTrigger})
		d.do(Event{Kind: EventAbort, ID: 1, Reason: ReasonDeclined})
		d.ack(1, 1, []incremental.File{1})
		d.want(fmt.Sprintf("acked caller=9 id=1 reason=%d", ReasonNotOpen))
		d.do(Event{Kind: EventSweep})
		d.wantFiles("it was acknowledged after the decline")
	})
	t.Run("CO-25 and CO-26", func(t *testing.T) {
		d := running(t, 2)
		d.do(Event{Kind: EventTrigger})
		d.ack(1, 0, []incremental.File{1, 2})
		d.do(Event{Kind: EventAbort, ID: 1, Reason: ReasonExpired})
		d.wantFiles("an abort deletes nothing: the next checkpoint may name it", 1, 2)
		d.do(Event{Kind: EventTrigger})
		d.do(Event{Kind: EventBegin, ID: 2, Epoch: 1, Attempt: 1, Files: incremental.FilesOf(1)})
		d.want("begun id=2 f1")
		d.ack(2, 0, nil, 1)
		d.ack(2, 1, nil)
		d.wantFiles("checkpoint 2 names 1, and not 2", 1)
	})
	t.Run("PC-3", func(t *testing.T) {
		for _, why := range []Reason{ReasonExpired, ReasonDeclined, ReasonFailover, ReasonSubsumed, ReasonStopping} {
			d := running(t, 2)
			d.do(Event{Kind: EventTrigger})
			d.ack(1, 0, []incremental.File{1})
			d.do(Event{Kind: EventAbort, ID: 1, Reason: why})
			d.ops = map[OpKind]int{}
			d.checkpointOf(2, 2)
			if d.wantFiles("checkpoint 1 was aborted", 2); d.ops[OpDeleteFiles] != 1 {
				t.Errorf("reason %d: %d deletes, want one", why, d.ops[OpDeleteFiles])
			}
		}
	})
	t.Run("CO-46", func(t *testing.T) {
		d := running(t, 1)
		d.checkpoint()
		d.do(Event{Kind: EventTrigger})
		d.do(Event{Kind: EventAbort, ID: 2, Reason: ReasonDeclined})
		if len(d.said) != 1 || d.said[0].Kind != TellAbort || d.said[0].ID != 2 || d.said[0].Latest != 1 {
			t.Errorf("said %+v, want the abort of 2, which names 1 as the latest complete", d.said)
		}
	})
}

func TestTriggersThatAreGivenUp(t *testing.T) {
	t.Run("CO-9", func(t *testing.T) {
		d := running(t, 2)
		d.do(Event{Kind: EventTrigger})
		d.do(Event{Kind: EventFailover, Attempt: 1, Reason: ReasonFailover}) // a process ended before its trigger arrived
		d.want(fmt.Sprintf("abort epoch=1 attempt=1 id=1 reason=%d", ReasonFailover))
		d.wantPending()
	})
	t.Run("TR-8", func(t *testing.T) {
		d := running(t, 1)
		d.holds(OpJournal)
		d.useUp() // ids have to be reserved first
		d.want()
		d.do(Event{Kind: EventNewAttempt, Attempt: 1})
		for _, op := range d.said {
			if op.Kind == TellTrigger {
				t.Errorf("told %q, want no trigger: the attempt is over", d.told)
			}
		}
		for _, told := range d.release() {
			if told[:min(len(told), 8)] == "trigger " && told[:min(len(told), 16)] != "trigger refused " {
				t.Errorf("told %q, want no trigger: the attempt is over", told)
			}
		}
		d.wantPending()
	})
	t.Run("FT-6", func(t *testing.T) {
		d := newDesk(t)
		d.do(Event{Kind: EventAttach, Create: twoTasks(2)})
		for i := range uint32(2) {
			d.do(register(i+1, 0, Subtask(i)))
		}
		d.do(Event{Kind: EventRunning, Worker: 1, Subtasks: subtasks(0), Attempt: 1})
		d.do(Event{Kind: EventTrigger, Caller: 5})
		d.want(fmt.Sprintf("trigger refused caller=5 reason=%d", ReasonNotRunning))
	})
}

// save wishes for a savepoint and returns its id.
func (d *desk) save() uint64 {
	d.t.Helper()
	before := len(d.m.Pending())
	d.do(Event{Kind: EventSavepoint, Caller: 3, Savepoint: &journal.Savepoint{Path: "far://s"}})
	if p := d.m.Pending(); len(p) == before+1 && p[before].Savepoint() {
		return p[before].ID
	}
	d.t.Fatalf("no savepoint began: %v", d.told)
	return 0
}

func (d *desk) wantSaved(id uint64) {
	d.t.Helper()
	if s, ok := d.m.Head().Savepoint(id); !ok || s.Outcome != journal.SavepointDone {
		d.t.Errorf("savepoint %d: %+v, want it done; told %v", id, s, d.told)
	}
}

func TestSavepointsBesideCheckpoints(t *testing.T) {
	t.Run("CO-31", func(t *testing.T) {
		d := running(t, 2)
		id := d.save()
		d.ack(id, 0, nil)
		d.ack(id, 0, nil)
		d.wantPending(int(id), 1)
		d.ack(id, 1, nil)
		d.wantSaved(id)
		d.wantRetained()
		if said := fmt.Sprint(d.told); said != "[acked caller=9 id=1  id=1]" {
			t.Errorf("told %q, want no completion: workers hear of none", said)
		}
	})
	t.Run("CO-32, CO-33, PC-1", func(t *testing.T) {
		d := running(t, 1)
		first := d.save()
		d.do(Event{Kind: EventTrigger})
		second := d.m.Pending()[1].ID
		third := d.checkpoint()
		d.wantPending(int(first), 0)
		d.want("acked caller=9 id=3", "unresolved epoch=1 attempt=1 id=3", "complete epoch=1 attempt=1 id=3",
			fmt.Sprintf("abort epoch=1 attempt=1 id=%d reason=%d", second, ReasonSubsumed))
		d.do(Event{Kind: EventTrigger})
		fourth := d.m.Pending()[1].ID
		fifth := d.save()
		d.ack(fifth, 0, nil)
		d.wantSaved(fifth)
		d.wantPending(int(first), 0, int(fourth), 0)
		d.wantRetained(third)
		d.ack(first, 0, nil)
		d.wantSaved(first)
	})
	t.Run("CO-35", func(t *testing.T) {
		d := running(t, 1)
		var ids []uint64
		for range 5 {
			ids = append(ids, d.save())
		}
		d.wantPending(1, 0, 2, 0, 3, 0, 4, 0, 5, 0)
		for _, id := range ids {
			d.ack(id, 0, nil)
			d.wantSaved(id)
		}
		d.wantPending()
	})
	t.Run("SR-15", func(t *testing.T) {
		d := running(t, 1)
		d.checkpoint(1)
		id := d.save()
		d.ack(id, 0, []incremental.File{2})
		d.wantSaved(id)
		d.do(Event{Kind: EventTrigger})
		next := d.m.Pending()[0].ID
		d.do(Event{Kind: EventBegin, ID: next, Epoch: 1, Attempt: 1, Files: incremental.FilesOf(1)})
		d.want(fmt.Sprintf("begun id=%d f1", next))
	})
	t.Run("CS-1", func(t *testing.T) {
		d := running(t, 1)
		d.checkpoint()
		second := d.checkpoint()
		for range 3 {
			d.ack(d.save(), 0, nil)
		}
		d.wantRetained(second)
		d.wantMetas("three savepoints push out no checkpoint", second)
	})
}

func TestRetained(t *testing.T) {
	t.Run("CS-4", func(t *testing.T) {
		d := retained(t, 3, retention.Nothing)
		d.checkpoint(1)
		d.checkpoint(2)
		d.checkpoint(3)
		d.wantRetained(1, 2, 3)
		d.wantMetas("three may stay", 1, 2, 3)
		d.wantFiles("three may stay", 1, 2, 3)
	})
	t.Run("CS-7, CS-14, CS-15", func(t *testing.T) {
		d := retained(t, 1, retention.Nothing)
		for i := range incremental.File(4) {
			d.ops = map[OpKind]int{}
			id := d.checkpoint(i + 1)
			d.wantRetained(id)
			d.wantMetas("each completion deletes the one before", id)
			d.wantFiles("each completion deletes the one before", i+1)
			if got := d.m.Head().Newest(); got != id {
				t.Errorf("the newest is %d, want %d", got, id)
			}
			if want := min(int(i), 1); d.ops[OpDeleteMetas] != want || d.ops[OpDeleteFiles] != want {
				t.Errorf("%d and %d deletes at completion %d, want %d of each", d.ops[OpDeleteMetas], d.ops[OpDeleteFiles], id, want)
			}
		}
	})
	t.Run("CS-13", func(t *testing.T) {
		d := running(t, 1)
		if got := d.m.Head().Newest(); got != 0 || len(d.m.Head().Retained) != 0 {
			t.Errorf("head %+v, want no checkpoint, and 0 as the newest", d.m.Head())
		}
	})
	t.Run("CS-10", func(t *testing.T) {
		d := retained(t, 2, retention.Nothing)
		d.checkpoint(1)
		d.checkpoint(2)
		d.do(Event{Kind: EventStop})
		d.want("released")
		d.wantMetas("the daemon stops, the job does not", 1, 2)
		d.wantFiles("the daemon stops, the job does not", 1, 2)
		d.takeOver(2)
		d.wantRetained(1, 2)
	})
	t.Run("CS-11", func(t *testing.T) {
		for _, status := range []journal.Status{journal.StatusFinished, journal.StatusCanceled, journal.StatusFailed} {
			d := running(t, 1)
			d.do(Event{Kind: EventTrigger})
			d.do(Event{Kind: EventEnd, Status: status})
			d.ack(1, 0, nil)
			d.want(fmt.Sprintf("acked caller=9 id=1 reason=%d", ReasonNotOpen))
			d.wantRetained()
		}
	})
	t.Run("CS-16", func(t *testing.T) {
		d := retained(t, 2, retention.Nothing)
		d.checkpoint(1)
		d.checkpoint(2)
		d.do(Event{Kind: EventEnd, Status: journal.StatusFinished})
		d.wantRetained()
		d.wantMetas("the job has finished")
		d.wantFiles("the job has finished")
	})
	t.Run("CC-4", func(t *testing.T) {
		d := running(t, 1)
		d.checkpoint(1, 2)
		d.checkpoint(3)
		d.wantMetas("1 was subsumed", 2)
		d.wantFiles("1 was subsumed", 3)
	})
}

// unwritten answers that no _metadata can be written.
func unwritten(op Op) *Result {
	if op.Kind != OpCreateMeta {
		return nil
	}
	res := op.Result(journal.NotDone)
	return &res
}

func TestStoringFails(t *testing.T) {
	t.Run("FM-6 and FM-7", func(t *testing.T) {
		d := running(t, 1)
		d.answer = unwritten
		d.do(Event{Kind: EventTrigger})
		d.ack(1, 0, []incremental.File{1, 2})
		d.want("acked caller=9 id=1", fmt.Sprintf("abort epoch=1 attempt=1 id=1 reason=%d", ReasonMetadata))
		d.answer, d.ops = nil, map[OpKind]int{}
		d.checkpoint(3)
		if d.wantFiles("1 could not be stored", 3); d.ops[OpDeleteFiles] != 1 {
			t.Errorf("%d deletes of files, want one", d.ops[OpDeleteFiles])
		}
		d.wantMetas("1 could not be stored", 2)
	})
	t.Run("FM-8", func(t *testing.T) {
		d := running(t, 1)
		d.checkpoint(1)
		d.holds(OpJournal)
		d.do(Event{Kind: EventTrigger})
		d.ack(2, 0, []incremental.File{2})
		op := publishing(t, d.takeHeld())
		for range 3 {
			d.reply(op, journal.Unknown, nil)
			op = publishing(t, d.takeHeld())
			d.wantFiles("the entry may have been stored", 1, 2)
			d.wantMetas("the entry may have been stored", 1, 2)
		}
	})
	t.Run("CS-8", func(t *testing.T) {
		d := running(t, 1)
		d.checkpoint(1)
		d.answer = unwritten
		d.do(Event{Kind: EventTrigger})
		d.ack(2, 0, []incremental.File{2})
		d.want("acked caller=9 id=2", fmt.Sprintf("abort epoch=1 attempt=1 id=2 reason=%d", ReasonMetadata))
		d.wantRetained(1)
		d.wantMetas("2 was not added", 1)
	})
	t.Run("CS-18", func(t *testing.T) {
		d := running(t, 1)
		d.checkpoint(1)
		d.answer = func(op Op) *Result {
			if op.Kind != OpDeleteMetas && op.Kind != OpDeleteFiles {
				return nil
			}
			if op.Wait == journal.WaitBackoff {
				return hold
			}
			res := op.Result(journal.Unknown)
			return &res
		}
		second := d.checkpoint(2)
		d.wantRetained(second)
		d.wantFiles("the delete has failed", 1, 2)
		d.release()
		d.wantFiles("and is done at last", 2)
	})
}

func TestSharedFiles(t *testing.T) {
	t.Run("SR-1 and SR-10", func(t *testing.T) {
		d := retained(t, 2, retention.OnCancellation)
		d.checkpoint(1, 2, 3)
		d.do(Event{Kind: EventTrigger})
		d.do(Event{Kind: EventBegin, ID: 2, Epoch: 1, Attempt: 1, Files: incremental.FilesOf(1, 2)})
		d.want("begun id=2 f1 f2")
		d.ack(2, 0, []incremental.File{4}, 1, 2)
		if n := d.m.NeededBy(1); n != 2 {
			t.Errorf("file 1 is needed by %d checkpoints, want both", n)
		}
		d.checkpoint(5)
		d.wantFiles("1 has left: 3 was its own, and 2 needs the rest", 1, 2, 4, 5)
		d.checkpoint(6)
		d.wantFiles("2 has left", 5, 6)
		if d.m.NeededBy(1)+d.m.NeededBy(2) != 0 {
			t.Error("files 1 and 2 are needed, and they are gone")
		}
	})
	t.Run("SR-2", func(t *testing.T) {
		d := running(t, 1)
		if n := d.m.NeededBy(7); n != 0 {
			t.Errorf("a file nobody has sent is needed by %d checkpoints, want none", n)
		}
		d.do(Event{Kind: EventSweep})
		d.want("swept")
		d.wantUnchanged(Event{Kind: EventAbort, ID: 77})
	})
	t.Run("SR-9", func(t *testing.T) {
		d := running(t, 1)
		d.checkpoint(1)
		d.files[8] = Found{8, 1, 1} // its acknowledgement never came
		d.do(Event{Kind: EventSweep})
		d.wantFiles("nothing names 8", 1)
	})
	t.Run("CC-8", func(t *testing.T) {
		d := running(t, 2)
		d.do(Event{Kind: EventTrigger})
		d.ack(1, 0, []incremental.File{1, 2})
		d.ack(1, 1, []incremental.File{3})
		if files, ok := d.m.Files(1); !ok || files != incremental.FilesOf(1, 2, 3) {
			t.Errorf("checkpoint 1 has files %v, want all three", files)
		}
	})
	t.Run("CS-21 and CS-22", func(t *testing.T) {
		d := running(t, 1)
		d.checkpoint(1)
		d.seize(func(e *journal.Entry) {
			e.Kind, e.Lent = journal.KindLend, []journal.Lent{{Pin: pin, Checkpoint: 1, Holder: "other"}}
		})
		d.checkpoint(2)
		d.checkpoint(3)
		d.wantMetas("1 is in use, 2 is not, 3 is the newest", 1, 3)
		d.wantFiles("1 is in use, 2 is not, 3 is the newest", 1, 3)
	})
}

func TestEndWithOneKept(t *testing.T) {
	t.Run("CS-9", func(t *testing.T) {
		d := retained(t, 8, retention.Nothing)
		for i := range 3 {
			d.checkpoint(incremental.File(i + 1))
		}
		d.seize(func(e *journal.Entry) { // a person keeps the second
			e.Kind = journal.KindTag
			e.Retained = append([]journal.Checkpoint(nil), e.Retained...)
			e.Retained[1].Keep = true
		})
		d.do(register(9, 7, 0)) // the head is read again
		d.do(Event{Kind: EventEnd, Status: journal.StatusFinished})
		d.do(Event{Kind: EventSweep})
		d.wantMetas("a person keeps 2", 2)
		d.wantFiles("a person keeps 2", 2)
	})
}

func TestRecovery(t *testing.T) {
	t.Run("CS-5 and CS-19", func(t *testing.T) {
		d := retained(t, 3, retention.OnCancellation)
		for i := range 3 {
			d.checkpoint(incremental.File(i + 1))
		}
		d.m, d.cfg = Machine{}, DefaultConfig(journal.Process{2}, nil, testPolicy)
		d.holds(OpReadMeta)
		d.do(Event{Kind: EventAttach})
		reads := d.takeHeld()
		if len(reads) != 3 {
			t.Fatalf("%d _metadata are read, want three", len(reads))
		}
		d.answer = nil
		for _, i := range []int{2, 0, 1} {
			m := d.metas[reads[i].ID]
			d.reply(reads[i], journal.Done, func(r *Result) { r.Nonce, r.Files = m.nonce, setOf(m.files) })
		}
		d.wantRetained(1, 2, 3)
		if why, _ := d.m.Degraded(); why != ReasonNone {
			t.Errorf("degraded: %d, want nothing amiss", why)
		}
	})
	t.Run("CS-6", func(t *testing.T) {
		d := rotten(t, journal.Corrupt, nil) // it wants to hear of the damage
		d.wantRetained(1, 2, 3)
		if why, id := d.m.Degraded(); why != ReasonDegraded || id != 2 {
			t.Errorf("degraded %d by %d, want by 2", why, id)
		}
		d.do(Event{Kind: EventSweep})
		d.want(fmt.Sprintf("swept reason=%d", ReasonDegraded))
	})
	t.Run("SR-18", func(t *testing.T) {
		d := running(t, 1)
		d.checkpoint(1)
		d.do(Event{Kind: EventTrigger})
		d.do(Event{Kind: EventBegin, ID: 2, Epoch: 1, Attempt: 1, Files: incremental.FilesOf(1)})
		d.ack(2, 0, nil, 1) // in vain: the attempt fails before its completion is known
		d.do(Event{Kind: EventTrigger})
		d.do(Event{Kind: EventFailover, Attempt: 1, Reason: ReasonFailover})
		d.do(Event{Kind: EventNewAttempt, Attempt: 1})
		d.serve(1, 2)
		d.do(Event{Kind: EventTrigger})
		id := d.m.Pending()[0].ID
		d.do(Event{Kind: EventBegin, ID: id, Epoch: 1, Attempt: 2, Files: incremental.FilesOf(1)})
		d.want(fmt.Sprintf("begun id=%d f1", id))
		d.ack(id, 0, nil, 1)
		d.do(Event{Kind: EventSweep})
		d.wantFiles("the checkpoint of the new attempt names 1", 1)
	})
}
