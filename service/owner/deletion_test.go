package owner

import (
	"fmt"
	"slices"
	"testing"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// TestMetadataIsDeletedBeforeFiles: every _metadata names files that exist, also after a crash.
func TestMetadataIsDeletedBeforeFiles(t *testing.T) {
	subsumed := func(t *testing.T) (*desk, Op) {
		d := running(t, 1)
		d.checkpoint(1, 2)
		d.holds(OpDeleteMetas, OpDeleteFiles)
		d.checkpoint(3)
		ops := d.takeHeld()
		if len(ops) != 1 || ops[0].Kind != OpDeleteMetas || !slices.Equal(ops[0].IDs, []uint64{1}) {
			t.Fatalf("asked for %+v, want the delete of the _metadata of 1 alone", ops)
		}
		return d, ops[0]
	}
	t.Run("no file is deleted before the answer", func(t *testing.T) {
		d, _ := subsumed(t)
		d.do(Event{Kind: EventTrigger})
		d.do(Event{Kind: EventBegin, ID: 3, Epoch: 1, Attempt: 1})
		if got := d.takeHeld(); len(got) > 0 {
			t.Errorf("asked for %+v, want nothing before the first delete is answered", got)
		}
	})
	t.Run("no file is deleted when the outcome is unknown", func(t *testing.T) {
		d, op := subsumed(t)
		for range 3 {
			d.reply(op, journal.Unknown, nil)
			op = d.one(OpDeleteMetas)
			if len(d.all(OpDeleteFiles)) > 0 || op.Wait != journal.WaitBackoff || !slices.Equal(op.IDs, []uint64{1}) {
				t.Errorf("asked for %+v, want the same delete, after a while", d.asked)
			}
		}
	})
	t.Run("the files are deleted after the answer", func(t *testing.T) {
		d, op := subsumed(t)
		d.reply(op, journal.Done, nil)
		if op = d.one(OpDeleteFiles); op.Files != incremental.FilesOf(1, 2) || op.Wait != journal.WaitNot {
			t.Errorf("asked for %+v, want the delete of files 1 and 2 at once", op)
		}
	})
	for how, left := range map[string]incremental.Files{"all": {}, "some": incremental.FilesOf(2), "none": incremental.FilesOf(1, 2)} {
		t.Run("a _metadata that is condemned meanwhile goes before the next files, when "+how+" of the files before are gone", func(t *testing.T) {
			d, op := subsumed(t)
			d.reply(op, journal.Done, nil)
			op = d.one(OpDeleteFiles)
			d.takeHeld()
			d.checkpoint(4)
			if got := d.takeHeld(); len(got) > 0 {
				t.Errorf("asked for %+v, want nothing while a delete is under way", got)
			}
			outcome := journal.Unknown
			if left.IsEmpty() {
				outcome = journal.Done
			}
			d.reply(op, outcome, func(r *Result) { r.Files = op.Files.Minus(left) })
			next := d.one(OpDeleteMetas)
			if len(d.all(OpDeleteFiles)) > 0 || !slices.Equal(next.IDs, []uint64{2}) {
				t.Errorf("asked for %+v, want the delete of the _metadata of 2", d.asked)
			}
			d.reply(next, journal.Done, nil)
			if files := d.one(OpDeleteFiles).Files; files != left.Or(incremental.FilesOf(3)) {
				t.Errorf("asked for the delete of files %v, want %v", files, left.Or(incremental.FilesOf(3)))
			}
		})
	}
}

// TestFilesAreDeletedInPieces: between two pieces condemned _metadata have their turn, and a file that cannot be deleted
// does not keep the others waiting.
func TestFilesAreDeletedInPieces(t *testing.T) {
	subsumed := func(t *testing.T) (*desk, Op) {
		d := running(t, 1)
		d.cfg.DeleteAtOnce = 2
		d.checkpoint(1, 2, 3, 4, 5)
		d.holds(OpDeleteFiles)
		d.checkpoint(6)
		ops := d.takeHeld()
		if len(ops) != 1 || ops[0].Files.Len() != 2 {
			t.Fatalf("asked for %+v, want the delete of two files", ops)
		}
		return d, ops[0]
	}
	t.Run("the rest follows", func(t *testing.T) {
		d, op := subsumed(t)
		gone := op.Files
		for range 2 {
			d.reply(op, journal.Done, nil)
			op = d.one(OpDeleteFiles)
			if !op.Files.And(gone).IsEmpty() || op.Wait != journal.WaitNot {
				t.Errorf("asked for %+v, want other files than %v, at once", op, gone)
			}
			gone = gone.Or(op.Files)
		}
		if d.reply(op, journal.Done, nil); gone != incremental.FilesOf(1, 2, 3, 4, 5) || len(d.all(OpDeleteFiles)) > 0 {
			t.Errorf("deleted %v, then asked for %+v, want files 1 to 5 and nothing more", gone, d.asked)
		}
	})
	t.Run("after a failure all are tried", func(t *testing.T) {
		d, op := subsumed(t)
		d.reply(op, journal.Unknown, nil)
		if again := d.one(OpDeleteFiles); again.Files != incremental.FilesOf(1, 2, 3, 4, 5) || again.Wait != journal.WaitBackoff {
			t.Errorf("asked for %+v, want files 1 to 5 after a while", again)
		}
	})
}

// TestADeleteIsRetriedUntilAllIsGone: the owner deletes again what a delete left, and nothing else.
func TestADeleteIsRetriedUntilAllIsGone(t *testing.T) {
	t.Run("files", func(t *testing.T) {
		d := running(t, 1)
		d.checkpoint(1, 2, 3)
		d.holds(OpDeleteFiles)
		d.checkpoint(4)
		op := d.takeHeld()[0]
		for _, test := range []struct{ gone, left incremental.Files }{
			{incremental.FilesOf(2), incremental.FilesOf(1, 3)}, {incremental.Files{}, incremental.FilesOf(1, 3)},
			{incremental.FilesOf(1, 4), incremental.FilesOf(3)}, {incremental.FilesOf(4), incremental.FilesOf(3)},
		} {
			d.reply(op, journal.Unknown, func(r *Result) { r.Files = test.gone })
			if op = d.one(OpDeleteFiles); op.Files != test.left || op.Wait != journal.WaitBackoff {
				t.Fatalf("gone %v: asked for %+v, want the delete of %v after a while", test.gone, op, test.left)
			}
			if got := d.m.Condemned(); got != test.left.Len() {
				t.Errorf("%d wait to be deleted, want %d", got, test.left.Len())
			}
		}
		d.takeHeld()
		d.reply(op, journal.NotDone, func(r *Result) { r.Files = op.Files })
		if len(d.asked) > 0 || d.m.Condemned() != 0 {
			t.Errorf("asked for %+v with %d condemned, want nothing: all objects are gone", d.asked, d.m.Condemned())
		}
		d.do(Event{Kind: EventTrigger})
		d.do(Event{Kind: EventBegin, ID: 3, Epoch: 1, Attempt: 1, Files: incremental.FilesOf(1, 2, 3, 4)})
		d.want("begun id=3 f4")
	})
	t.Run("_metadata", func(t *testing.T) {
		d := newDesk(t)
		d.do(Event{Kind: EventAttach, Create: twoTasks(1)})
		d.serve(1, 0)
		d.checkpoint(1)
		d.holds(OpDeleteMetas, OpDeleteFiles)
		d.checkpoint(2)
		first := d.takeHeld()[0]
		d.checkpoint(3)
		d.checkpoint(4)
		d.reply(first, journal.Done, nil)
		op := d.one(OpDeleteMetas)
		if !slices.Equal(op.IDs, []uint64{2, 3}) || d.m.Condemned() != 5 {
			t.Fatalf("asked for %+v with %d condemned, want the deletes of 2 and 3, and three files", op, d.m.Condemned())
		}
		d.reply(op, journal.Unknown, func(r *Result) { r.IDs = []uint64{3} })
		if op = d.one(OpDeleteMetas); !slices.Equal(op.IDs, []uint64{2}) || op.Wait != journal.WaitBackoff {
			t.Fatalf("asked for %+v, want the delete of 2 after a while", op)
		}
		d.reply(op, journal.Unknown, func(r *Result) { r.IDs = []uint64{2} })
		if op = d.one(OpDeleteFiles); op.Files != incremental.FilesOf(1, 2, 3) {
			t.Errorf("asked for %+v, want the delete of files 1, 2 and 3", op)
		}
	})
	t.Run("at the end of the job: it is not released before", func(t *testing.T) {
		for _, kind := range []OpKind{OpDeleteFiles, OpDeleteMetas} {
			d := running(t, 1)
			d.checkpoint(1, 2)
			d.holds(kind)
			d.do(Event{Kind: EventEnd, Status: journal.StatusFinished})
			d.do(Event{Kind: EventSweep})
			d.want("swept")
			for range 40 {
				op := d.takeHeld()[0]
				d.reply(op, journal.Unknown, func(r *Result) { r.Files = incremental.FilesOf(2) })
				d.want()
			}
			d.release()
			d.want("released")
			if _, there := d.files[1]; there || len(d.metas) > 0 {
				t.Errorf("kind %d: the release left files %v, _metadata %v; want none", kind, d.files, d.metas)
			}
		}
	})
}

// TestWhatIsCondemnedIsNotPromised: a worker names a file whose delete is under way or unanswered. The owner does not
// promise it, so the worker has to send the file.
func TestWhatIsCondemnedIsNotPromised(t *testing.T) {
	for name, kinds := range map[string][]OpKind{
		"while its _metadata is deleted": {OpDeleteMetas}, "while it is deleted": {OpDeleteFiles}, "when it is gone": nil,
	} {
		t.Run(name, func(t *testing.T) {
			d := running(t, 1)
			d.checkpoint(1, 2)
			d.holds(kinds...)
			d.checkpoint(3, 4)
			d.do(Event{Kind: EventTrigger})
			d.do(Event{Kind: EventBegin, ID: 3, Epoch: 1, Attempt: 1, Files: incremental.FilesOf(1, 2, 3)})
			d.want("begun id=3 f3")
			d.ack(3, 0, []incremental.File{5}, 3)
			d.release()
			d.wantFiles("checkpoint 3 names 3 and 5", 3, 5)
		})
	}
}

// rotten is a job at a new owner. It retains checkpoints 1, 2 and 3 with files 1, 2 and 3. The _metadata of 2 is
// unreadable.
// edit completes the answer to the read of 2.
func rotten(t *testing.T, outcome journal.Outcome, edit func(Op, *Result)) *desk {
	t.Helper()
	d := newDesk(t)
	d.do(Event{Kind: EventAttach, Create: retaining(3)})
	d.serve(1, 0)
	for i := range incremental.File(3) {
		d.checkpoint(i + 1)
	}
	d.m, d.cfg = Machine{}, DefaultConfig(journal.Process{2}, nil, testPolicy)
	d.answer = func(op Op) *Result {
		if op.Kind != OpReadMeta || op.ID != 2 {
			return nil
		}
		res := op.Result(outcome)
		if edit != nil {
			edit(op, &res)
		}
		return &res
	}
	d.do(Event{Kind: EventAttach})
	d.want("attached epoch=2 attempt=1", fmt.Sprintf("degraded id=2 reason=%d", ReasonDegraded))
	d.answer = nil
	d.serve(1, 1)
	return d
}

// TestWhileAMetadataIsUnreadable: the owner condemns and sweeps nothing. It promises the files that the index knows.
func TestWhileAMetadataIsUnreadable(t *testing.T) {
	for name, test := range map[string]struct {
		outcome journal.Outcome
		edit    func(Op, *Result)
	}{
		"corrupt":                {journal.Corrupt, nil},
		"corrupt, the nonce not": {journal.Corrupt, func(op Op, r *Result) { r.Nonce = op.Nonce }},
		"newer":                  {journal.Newer, nil},
		"gone":                   {journal.NotFound, nil},
		"of another process": {journal.Done, func(op Op, r *Result) {
			r.Nonce, r.Files = journal.Nonce{Process: journal.Process{9}, Count: op.Nonce.Count}, incremental.FilesOf(2)
		}},
		"another of this process": {journal.Done, func(op Op, r *Result) {
			r.Nonce, r.Files = journal.Nonce{Process: op.Nonce.Process, Count: op.Nonce.Count + 1}, incremental.FilesOf(2)
		}},
		"without a nonce": {journal.Done, func(op Op, r *Result) { r.Files = incremental.FilesOf(2) }},
	} {
		t.Run(name, func(t *testing.T) {
			d := rotten(t, test.outcome, test.edit)
			d.ops = map[OpKind]int{}
			d.do(Event{Kind: EventTrigger})
			open := d.m.Pending()[0].ID
			d.do(Event{Kind: EventBegin, ID: open, Epoch: 2, Attempt: 1, Files: incremental.FilesOf(1, 3, 9)})
			d.want(fmt.Sprintf("begun id=%d f1 f3", open))
			d.ack(open, 0, []incremental.File{4}, 3)
			if _, ok := d.m.Head().Checkpoint(open); !ok {
				t.Fatalf("told %q, want the checkpoint complete", d.told)
			}
			// A checkpoint is aborted while its _metadata is being written.
			d.holds(OpCreateMeta)
			d.do(Event{Kind: EventTrigger})
			d.ack(open+1, 0, []incremental.File{5})
			d.do(Event{Kind: EventAbort, ID: open + 1})
			d.release()
			// A checkpoint is aborted when its _metadata is durable.
			d.do(Event{Kind: EventTrigger})
			d.do(Event{Kind: EventTrigger})
			d.holds(OpJournal)
			d.ack(open+2, 0, []incremental.File{6})
			d.ack(open+3, 0, []incremental.File{7})
			d.do(Event{Kind: EventAbort, ID: open + 3})
			d.do(Event{Kind: EventSweep, Caller: 1})
			d.want(fmt.Sprintf("swept caller=1 reason=%d", ReasonDegraded))
			if n := d.ops[OpDeleteMetas] + d.ops[OpDeleteFiles] + d.ops[OpAbortUnfinished] + d.ops[OpSweep]; n > 0 {
				t.Errorf("%d operations that delete or sweep, want none", n)
			}
			d.wantMetas("nothing is deleted", 1, 2, 3, open, open+1, open+2, open+3)
			d.wantFiles("nothing is deleted", 1, 2, 3, 4, 5, 6, 7)
			// With the next completion 2 leaves the head. Then a sweep deletes everything that nothing needs.
			if told := fmt.Sprint(d.release()); told != fmt.Sprintf("[complete epoch=2 attempt=1 id=%d degraded]", open+2) {
				t.Errorf("told %s, want the completion, and that it is no longer degraded", told)
			}
			d.do(Event{Kind: EventSweep, Caller: 1})
			d.want("swept caller=1")
			d.wantMetas("three are retained", 3, open, open+2)
			d.wantFiles("those of the three", 3, 4, 6)
		})
	}
	t.Run("files that could be read from a damaged one stay reachable", func(t *testing.T) {
		d := rotten(t, journal.Corrupt, func(_ Op, r *Result) { r.Files = incremental.FilesOf(2) })
		d.do(Event{Kind: EventTrigger})
		open := d.m.Pending()[0].ID
		d.do(Event{Kind: EventBegin, ID: open, Epoch: d.m.Head().Epoch, Attempt: 1, Files: incremental.FilesOf(1, 2)})
		d.want(fmt.Sprintf("begun id=%d f1 f2", open))
	})
}

// TestWhatIsHiddenButLentStays: a hidden checkpoint that is lent counts as retained. After its return it goes.
func TestWhatIsHiddenButLentStays(t *testing.T) {
	lent := func(t *testing.T) *desk {
		d := running(t, 1)
		d.checkpoint(1)
		d.seize(func(e *journal.Entry) {
			e.Kind, e.Lent = journal.KindLend, []journal.Lent{{Pin: pin, Checkpoint: 1, Holder: "other"}}
		})
		d.checkpoint(2)
		if c, ok := d.m.Head().Checkpoint(1); !ok || c.State != journal.StateHidden {
			t.Fatalf("head %+v, want checkpoint 1 hidden", d.m.Head())
		}
		return d
	}
	keeps := func(d *desk) {
		d.t.Helper()
		d.wantMetas("1 is lent, 2 is retained", 1, 2)
		d.wantFiles("1 is lent, 2 is retained", 1, 2)
		d.do(Event{Kind: EventSweep})
		d.want("swept")
		d.wantMetas("swept; 1 is lent, 2 is retained", 1, 2)
		d.wantFiles("swept; 1 is lent, 2 is retained", 1, 2)
		if files, ok := d.m.Files(1); !ok || files != incremental.FilesOf(1) {
			d.t.Errorf("checkpoint 1 has files %v, %v; want 1", files, ok)
		}
	}
	t.Run("at the owner that hid it", func(t *testing.T) {
		keeps(lent(t))
	})
	t.Run("at a new owner, through sweep, completion and return", func(t *testing.T) {
		d := lent(t)
		d.takeOver(2)
		keeps(d)
		d.serve(1, 1)
		third := d.checkpoint(3)
		d.do(Event{Kind: EventSweep})
		d.wantMetas("1 is lent", 1, third)
		d.wantFiles("1 is lent", 1, 3)
		d.seize(func(e *journal.Entry) { e.Kind, e.Lent = journal.KindReturn, nil })
		fourth := d.checkpoint(4)
		d.wantMetas("1 was returned", fourth)
		d.wantFiles("1 was returned", 4)
	})
	returned := func(t *testing.T) *desk {
		d := lent(t)
		d.seize(func(e *journal.Entry) { e.Kind, e.Lent = journal.KindReturn, nil })
		d.takeOver(2)
		d.want("attached epoch=2 attempt=1")
		d.serve(1, 1)
		return d
	}
	t.Run("a new owner drops what is hidden and was returned when it sweeps", func(t *testing.T) {
		d := returned(t)
		d.wantFiles("the entry still lists 1", 1, 2)
		d.do(Event{Kind: EventSweep})
		d.want("swept")
		if e := d.head(); e.Kind != journal.KindDiscard || len(e.Retained) != 1 {
			t.Errorf("head %+v, want an entry that drops checkpoint 1", e)
		}
		d.wantMetas("1 has left the state", 2)
		d.wantFiles("1 has left the state", 2)
	})
	t.Run("a new owner keeps what is hidden and was returned until an entry drops it", func(t *testing.T) {
		d := returned(t)
		d.wantFiles("the entry still lists 1", 1, 2)
		d.do(Event{Kind: EventTrigger})
		d.do(Event{Kind: EventBegin, Caller: 1, Epoch: 2, Attempt: 1, ID: d.m.next - 1, Files: incremental.FilesOf(1, 2)})
		if got := d.m.promisedTo(d.m.next - 1); got != incremental.FilesOf(2) {
			t.Errorf("files %v are promised, want only 2: the checkpoint that names 1 is about to leave", got)
		}
		d.do(Event{Kind: EventAbort, ID: d.m.next - 1})
		third := d.checkpoint(3)
		d.wantMetas("1 has left the state", third)
		d.wantFiles("1 has left the state", 3)
	})
}
