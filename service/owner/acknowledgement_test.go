package owner

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// TestAcknowledgementsBringPieces: the answer to an accepted acknowledgement names its subtasks, so that their pieces
// are kept. The answer to a repetition or a refusal names none.
func TestAcknowledgementsBringPieces(t *testing.T) {
	pieces := func(d *desk) Subtasks {
		d.t.Helper()
		for _, op := range d.said {
			if op.Kind == TellAcked {
				return op.Subtasks
			}
		}
		d.t.Fatalf("told %q, want an answer to the acknowledgement", d.told)
		return Subtasks{}
	}
	d := running(t, 3)
	d.do(Event{Kind: EventTrigger})
	ack := func(attempt uint64, tasks ...Subtask) Subtasks {
		d.do(Event{Kind: EventAck, Caller: 9, ID: 1, Epoch: 1, Attempt: attempt, Subtasks: subtasks(tasks...)})
		return pieces(d)
	}
	if got := ack(1, 0, 1); got != subtasks(0, 1) {
		t.Errorf("accepted: pieces of %v, want of both subtasks", got)
	}
	if got := ack(1, 0); !got.IsEmpty() {
		t.Errorf("repeated: pieces of %v, want none", got)
	}
	if got := ack(2, 2); !got.IsEmpty() || len(d.m.Pending()) != 1 {
		t.Errorf("refused: pieces of %v, want none", got)
	}
	if got := ack(1, 2); got != subtasks(2) {
		t.Errorf("the last one: pieces of %v, want of subtask 2", got)
	}
	if got := ack(1, 0, 1, 2); !got.IsEmpty() {
		t.Errorf("repeated after the completion: pieces of %v, want none", got)
	}
}

// TestARepetitionIsOfTheSameEpochAndAttempt: after the completion a worker may repeat an acknowledgement in the epoch
// and attempt of that checkpoint only.
func TestARepetitionIsOfTheSameEpochAndAttempt(t *testing.T) {
	repeat := func(d *desk, why Reason, edit func(*Event)) {
		d.t.Helper()
		head := d.m.Head()
		ev := Event{Kind: EventAck, Caller: 4, ID: 1, Epoch: head.Epoch, Attempt: head.Attempt, Subtasks: subtasks(0)}
		edit(&ev)
		want := fmt.Sprintf("acked caller=4 id=%d", ev.ID)
		if why != ReasonNone {
			want += fmt.Sprintf(" reason=%d", why)
		}
		d.wantUnchanged(ev, want)
	}
	same := func(*Event) {}
	complete := func(t *testing.T) *desk { d := running(t, 1); d.checkpoint(1); return d }
	t.Run("at its owner", func(t *testing.T) {
		d := complete(t)
		repeat(d, ReasonNone, same)
		repeat(d, ReasonEpoch, func(ev *Event) { ev.Epoch++ })
		repeat(d, ReasonAttempt, func(ev *Event) { ev.Attempt++ })
		repeat(d, ReasonNotOpen, func(ev *Event) { ev.Subtasks = subtasks(0, 1) })
		repeat(d, ReasonNotOpen, func(ev *Event) { ev.Subtasks = subtasks() })
		repeat(d, ReasonNotOpen, func(ev *Event) { ev.ID = 2 })
	})
	t.Run("in the next attempt, which restored it", func(t *testing.T) {
		d := complete(t)
		d.do(Event{Kind: EventNewAttempt, Attempt: 1})
		repeat(d, ReasonNotOpen, same)
	})
	t.Run("in the next attempt, which restored a newer one", func(t *testing.T) {
		d := newDesk(t)
		d.do(Event{Kind: EventAttach, Create: retaining(3)})
		d.serve(1, 0)
		d.checkpoint(1)
		d.checkpoint(2)
		d.do(Event{Kind: EventNewAttempt, Attempt: 1})
		repeat(d, ReasonNotOpen, same)
	})
	t.Run("at a new owner", func(t *testing.T) {
		d := complete(t)
		d.takeOver(2)
		d.do(register(1, 1, 0))
		repeat(d, ReasonNotOpen, same)
	})
	t.Run("while the _metadata is written, and the entry", func(t *testing.T) {
		for _, kind := range []OpKind{OpCreateMeta, OpJournal} {
			d := running(t, 1)
			d.do(Event{Kind: EventTrigger})
			d.holds(kind)
			d.ack(1, 0, nil)
			repeat(d, ReasonNone, same)
			repeat(d, ReasonNotOpen, func(ev *Event) { ev.Subtasks = subtasks(1) })
			d.wantUnchanged(Event{Kind: EventBegin, Caller: 4, ID: 1, Epoch: 1, Attempt: 1, Files: incremental.FilesOf(1)},
				fmt.Sprintf("begun caller=4 id=1 reason=%d", ReasonNotOpen))
		}
	})
}

// TestAPromiseGrows: each subtask calls BeginSnapshot. A later call takes no promise back.
func TestAPromiseGrows(t *testing.T) {
	d := running(t, 2)
	d.checkpointOf(2, 1, 2)
	d.do(Event{Kind: EventTrigger})
	begin := func(files ...incremental.File) {
		d.do(Event{Kind: EventBegin, Caller: 4, ID: 2, Epoch: 1, Attempt: 1, Files: incremental.FilesOf(files...)})
	}
	begin(1)
	d.want("begun caller=4 id=2 f1")
	begin(2)
	d.want("begun caller=4 id=2 f2")
	begin(7)
	d.want("begun caller=4 id=2")
	d.ack(2, 0, []incremental.File{3}, 1)
	d.want("acked caller=9 id=2")
	d.ack(2, 1, nil, 2, 3)
	if _, ok := d.m.Head().Checkpoint(2); !ok {
		t.Fatalf("told %q, want the checkpoint complete", d.told)
	}
	d.wantFiles("checkpoint 2 names all three", 1, 2, 3)
	if files, ok := d.m.Files(2); !ok || files != incremental.FilesOf(1, 2, 3) {
		t.Errorf("checkpoint 2 names %v, want 1, 2 and 3", files)
	}
}

// writing is a job that writes the _metadata of checkpoint 1.
func writing(t *testing.T) (*desk, Op) {
	t.Helper()
	d := running(t, 1)
	d.do(Event{Kind: EventTrigger})
	d.holds(OpCreateMeta, OpReadMeta)
	d.ack(1, 0, []incremental.File{1})
	op := d.one(OpCreateMeta)
	if op.ID != 1 || op.Epoch != 1 || op.Attempt != 1 || op.Files != incremental.FilesOf(1) || op.Nonce.Process != d.cfg.Process ||
		op.Wait != journal.WaitNot {
		t.Errorf("asked for %+v, want the _metadata of 1 with a nonce, file 1, epoch and attempt", op)
	}
	d.takeHeld()
	return d, op
}

// TestTheMetadataIsWrittenUntilItIsThere: the owner repeats the write with the same contents. The entry says what was
// written.
func TestTheMetadataIsWrittenUntilItIsThere(t *testing.T) {
	again := func(d *desk, first Op) {
		d.t.Helper()
		op := d.one(OpCreateMeta)
		first.Wait = journal.WaitBackoff
		if fmt.Sprintf("%+v", op) != fmt.Sprintf("%+v", first) {
			d.t.Errorf("asked for\n  %+v\nwant\n  %+v", op, first)
		}
	}
	t.Run("what was written is written once", func(t *testing.T) {
		d, op := writing(t)
		d.answer = nil
		d.reply(op, journal.Done, func(r *Result) {
			r.Meta = journal.Checkpoint{ID: 77, Type: journal.TypeSavepoint, State: journal.StateHidden, Nonce: journal.Nonce{Count: 4}, Size: 10, CRC: 11,
				CompletedAt: 12, DurationMillis: 13, StateBytes: 14, NewBytes: 15}
		})
		d.want("unresolved epoch=1 attempt=1 id=1", "complete epoch=1 attempt=1 id=1")
		if n := len(d.all(OpCreateMeta)) + len(d.all(OpReadMeta)); n > 0 {
			t.Errorf("asked for %+v, and it is there", d.asked)
		}
		want := journal.Checkpoint{ID: 1, Nonce: op.Nonce, Size: 10, CRC: 11, CompletedAt: 12, DurationMillis: 13, StateBytes: 14, NewBytes: 15}
		if got, _ := d.head().Checkpoint(1); !reflect.DeepEqual(got, want) {
			t.Errorf("the entry says %+v, want %+v", got, want)
		}
	})
	t.Run("an unknown outcome", func(t *testing.T) {
		d, op := writing(t)
		d.reply(op, journal.Unknown, nil)
		again(d, op)
	})
	t.Run("one that is there, and cannot be read now", func(t *testing.T) {
		for _, outcome := range []journal.Outcome{journal.Unknown, journal.NotFound, journal.Corrupt, journal.Newer} {
			d, op := writing(t)
			d.reply(op, journal.Exists, nil)
			read := d.one(OpReadMeta)
			if read.ID != 1 || read.Nonce != op.Nonce {
				t.Errorf("asked for %+v, want a look at the _metadata of 1 with its nonce", read)
			}
			d.reply(read, outcome, func(r *Result) { r.Nonce = op.Nonce }) // which says nothing of the rest
			d.want()
			again(d, op)
		}
	})
}

// TestAMetadataThatIsNotWritten: the checkpoint is aborted. The release of the job waits for every write that may
// still land, and for no other.
func TestAMetadataThatIsNotWritten(t *testing.T) {
	for name, end := range map[string]func(*desk, Op){
		"disk full": func(d *desk, op Op) { d.reply(op, journal.NotDone, nil) },
		"another's is there": func(d *desk, op Op) {
			d.metas[1] = metaObject{id: 1, nonce: journal.Nonce{Count: 99}}
			d.reply(op, journal.Exists, nil)
			d.reply(d.one(OpReadMeta), journal.Done, func(r *Result) { r.Nonce = journal.Nonce{Count: 99} })
			if _, there := d.metas[1]; !there {
				d.t.Error("the _metadata of another was deleted")
			}
			delete(d.metas, 1)
		},
	} {
		t.Run(name+": aborted, and nothing is waited for", func(t *testing.T) {
			d, op := writing(t)
			end(d, op)
			d.want(fmt.Sprintf("abort epoch=1 attempt=1 id=1 reason=%d", ReasonMetadata))
			d.answer = nil
			d.do(Event{Kind: EventEnd, Status: journal.StatusFailed})
			d.do(Event{Kind: EventSweep})
			d.want("swept", "released")
		})
	}
	t.Run("two that were aborted on their way: the release waits for both", func(t *testing.T) {
		d := running(t, 1)
		d.do(Event{Kind: EventTrigger})
		d.do(Event{Kind: EventTrigger})
		d.holds(OpCreateMeta)
		d.ack(1, 0, nil)
		d.ack(2, 0, nil)
		ops := d.takeHeld()
		d.do(Event{Kind: EventEnd, Status: journal.StatusFailed})
		d.do(Event{Kind: EventSweep})
		d.want("swept")
		d.reply(ops[1], journal.NotDone, nil)
		d.want()
		d.reply(ops[0], journal.NotDone, nil)
		d.want("released")
	})
}

// TestNoIDAboveTheReservedOnesIsTriggered: the owner first appends an entry that reserves more ids. The reserved id
// never goes down.
func TestNoIDAboveTheReservedOnesIsTriggered(t *testing.T) {
	t.Run("the last reserved id needs no entry, the next one does", func(t *testing.T) {
		d := running(t, 1)
		slots := d.head().Slot
		for id := uint64(1); id <= 16; id++ {
			d.do(Event{Kind: EventTrigger, Caller: 4})
			d.want(fmt.Sprintf("trigger caller=4 epoch=1 attempt=1 id=%d", id))
			d.do(Event{Kind: EventAbort, ID: id})
		}
		if e := d.head(); e.Slot != slots || e.Reserved != 16 {
			t.Fatalf("head %+v, want no entry for the 16 ids that the attach reserved", e)
		}
		d.holds(OpJournal)
		d.do(Event{Kind: EventTrigger, Caller: 4})
		d.want()
		d.do(Event{Kind: EventTrigger, Caller: 5})
		d.want(fmt.Sprintf("trigger refused caller=5 reason=%d", ReasonBusy))
		d.wantReleased("trigger caller=4 epoch=1 attempt=1 id=17")
		if e := d.head(); e.Slot != slots+1 || e.Kind != journal.KindReserve || e.Reserved != 32 {
			t.Errorf("head %+v, want one entry that reserves up to 32", e)
		}
	})
	t.Run("an old checkpoint that completes takes nothing back", func(t *testing.T) {
		d := running(t, 1)
		d.do(Event{Kind: EventTrigger})
		for id := uint64(2); id <= 40; id++ {
			d.do(Event{Kind: EventTrigger})
			d.do(Event{Kind: EventAbort, ID: id})
		}
		before := d.head().Reserved
		d.ack(1, 0, nil)
		if e := d.head(); e.Kind != journal.KindCommit || e.Reserved != before || before != 48 {
			t.Errorf("head %+v, want a commit that leaves 48 reserved, as before: %d", e, before)
		}
		d.do(Event{Kind: EventTrigger})
		d.want("trigger epoch=1 attempt=1 id=41")
		d.ack(41, 0, nil)
		if e := d.head(); e.Reserved != 41+16 {
			t.Errorf("reserved %d, want 57", e.Reserved)
		}
	})
}

// special is a job at a new owner. Its head retains the checkpoints in add, with the ids from 1 on.
func special(t *testing.T, numRetained uint32, add ...journal.Checkpoint) *desk {
	t.Helper()
	d := newDesk(t)
	d.do(Event{Kind: EventAttach, Create: retaining(numRetained)})
	d.serve(1, 0)
	for range len(add) {
		d.do(Event{Kind: EventTrigger})
		d.do(Event{Kind: EventAbort, ID: d.m.Pending()[0].ID})
	}
	d.seize(func(e *journal.Entry) {
		e.Kind = journal.KindLend
		for i, c := range add {
			c.ID, c.Nonce = uint64(i+1), journal.Nonce{Process: journal.Process{7}, Count: uint32(i + 1)}
			if e.Retained = append(e.Retained, c); c.State == journal.StateHidden {
				e.Lent = append(e.Lent, journal.Lent{Pin: pin, Checkpoint: c.ID, Holder: "other"})
			}
			d.metas[c.ID] = metaObject{id: c.ID, nonce: c.Nonce, files: 1 << (i + 1)}
			d.files[incremental.File(i+1)] = Found{incremental.File(i + 1), 1, c.ID}
		}
	})
	d.takeOver(2)
	d.serve(1, 1)
	return d
}

var (
	aSavepoint = journal.Checkpoint{Type: journal.TypeSavepoint}
	aTrashed   = journal.Checkpoint{State: journal.StateTrashed}
	aHidden    = journal.Checkpoint{State: journal.StateHidden}
)

// TestPolicyHasNoSay: savepoints, trashed checkpoints and hidden ones that are lent are not subsumed, and do not
// count.
func TestPolicyHasNoSay(t *testing.T) {
	ids := func(d *desk) (out []uint64) {
		for _, c := range d.head().Retained {
			out = append(out, c.ID)
		}
		return out
	}
	for name, c := range map[string]journal.Checkpoint{"a savepoint": aSavepoint, "a trashed one": aTrashed, "a hidden one that is lent": aHidden} {
		t.Run(name, func(t *testing.T) {
			d := special(t, 2, c)
			var last [4]uint64
			for i := range last {
				last[i] = d.checkpoint(incremental.File(20 + i))
			}
			if got := ids(d); !slices.Equal(got, []uint64{1, last[2], last[3]}) {
				t.Errorf("retained %v, want 1 and the last two, %d and %d", got, last[2], last[3])
			}
			if got, _ := d.head().Checkpoint(1); got.State != c.State || got.Type != c.Type {
				t.Errorf("checkpoint 1 became %+v", got)
			}
			d.do(Event{Kind: EventSweep})
			d.wantFiles("1 is kept beside the last two", 1, 22, 23)
			d.do(Event{Kind: EventEnd, Status: journal.StatusFinished})
			if got := ids(d); !slices.Equal(got, []uint64{1}) {
				t.Errorf("retained %v after the end, want 1", got)
			}
			d.wantFiles("1 is kept", 1)
		})
	}
}

// TestWhatIsHiddenIsNoneOfTheNewest: a hidden checkpoint does not count. It leaves the state with the first commit
// after its return.
func TestWhatIsHiddenIsNoneOfTheNewest(t *testing.T) {
	retained := func(d *desk, ids ...uint64) {
		d.t.Helper()
		var got []uint64
		for _, c := range d.head().Retained {
			got = append(got, c.ID)
		}
		if !slices.Equal(got, ids) {
			d.t.Errorf("retained %v, want %v", got, ids)
		}
	}
	kept := journal.Checkpoint{}
	t.Run("lent", func(t *testing.T) {
		d := special(t, 2, kept, aHidden)
		id := d.checkpoint(20)
		retained(d, 1, 2, id)
		d.wantFiles("two are kept, one is hidden", 1, 2, 20)
	})
	t.Run("returned", func(t *testing.T) {
		d := special(t, 3, kept, aHidden)
		d.seize(func(e *journal.Entry) { e.Kind, e.Lent = journal.KindReturn, nil })
		id := d.checkpoint(20)
		retained(d, 1, id)
		d.wantFiles("two are kept", 1, 20)
		d.wantMetas("two are kept", 1, id)
	})
	t.Run("an attempt does not restore it", func(t *testing.T) {
		d := special(t, 2, kept, aHidden)
		d.do(Event{Kind: EventNewAttempt, Attempt: 1})
		if e := d.head(); e.Restore != 1 {
			t.Errorf("attempt %d restores %d, want 1", e.Attempt, e.Restore)
		}
	})
}

// TestAnAttemptRestoresTheNewestCheckpoint: only checkpoints that are kept and no savepoints count.
func TestAnAttemptRestoresTheNewestCheckpoint(t *testing.T) {
	kept := journal.Checkpoint{}
	for name, test := range map[string]struct {
		add  []journal.Checkpoint
		want uint64
	}{
		"none": {nil, 0}, "one": {[]journal.Checkpoint{kept}, 1}, "the last of three": {[]journal.Checkpoint{kept, kept, kept}, 3},
		"a savepoint is newer": {[]journal.Checkpoint{kept, aSavepoint}, 1}, "a trashed one is newer": {[]journal.Checkpoint{kept, aTrashed}, 1},
		"a hidden one is newer": {[]journal.Checkpoint{kept, kept, aHidden}, 2}, "a savepoint alone": {[]journal.Checkpoint{aSavepoint}, 0},
	} {
		d := special(t, 5, test.add...)
		d.do(Event{Kind: EventNewAttempt, Attempt: 1})
		want := "attempt epoch=2 attempt=2"
		if test.want > 0 {
			want += fmt.Sprintf(" id=%d", test.want)
		}
		if e := d.head(); e.Restore != test.want || d.told[0] != want {
			t.Errorf("%s: the entry restores %d, told %q; want %d", name, e.Restore, d.told, test.want)
		}
	}
}

// TestWhatWouldNotFitIsNotBegun: the owner triggers no checkpoint that its entry would have no room for.
func TestWhatWouldNotFitIsNotBegun(t *testing.T) {
	for _, test := range []struct {
		name        string
		numRetained uint32
		add         []journal.Checkpoint
		max         int
		full        bool
		// leaves is how many checkpoints leave the trash, to make room.
		leaves int
	}{
		{"two of policy beside one", 2, []journal.Checkpoint{aSavepoint}, 3, false, 0},
		{"two of policy beside two", 2, []journal.Checkpoint{aSavepoint, aTrashed}, 3, true, 1},
		{"hidden ones count", 2, []journal.Checkpoint{aHidden, aHidden}, 3, true, 0},
		{"trashed ones count", 2, []journal.Checkpoint{aTrashed, aTrashed}, 3, true, 1},
		{"savepoints count", 2, []journal.Checkpoint{aSavepoint, aSavepoint}, 3, true, 0},
		{"none of policy means one", 0, []journal.Checkpoint{aSavepoint, aTrashed}, 3, false, 0},
		{"none of policy means one, and there is no room", 0, []journal.Checkpoint{aSavepoint, aTrashed, aHidden}, 3, true, 1},
		{"policy alone", 3, nil, 3, false, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := special(t, test.numRetained, test.add...)
			for i := range 3 {
				d.cfg.MaxRetained = 200
				if !test.full {
					d.cfg.MaxRetained = test.max
				}
				d.checkpoint(incremental.File(20 + i))
			}
			d.cfg.MaxRetained = test.max
			before := len(d.head().Retained)
			d.do(Event{Kind: EventTrigger, Caller: 4})
			if got, want := d.told[0] == fmt.Sprintf("trigger refused caller=4 reason=%d", ReasonFull), test.full && test.leaves == 0; got != want {
				t.Errorf("told %q, want full: %v", d.told, want)
			}
			if got := before - len(d.head().Retained); got != test.leaves {
				t.Errorf("%d checkpoints left the trash, want %d", got, test.leaves)
			}
		})
	}
	t.Run("what is pending counts", func(t *testing.T) {
		d := special(t, 300)
		d.cfg.MaxRetained = 3
		d.checkpoint(1)
		for range 2 {
			d.do(Event{Kind: EventTrigger})
		}
		d.do(Event{Kind: EventTrigger, Caller: 4})
		d.want(fmt.Sprintf("trigger refused caller=4 reason=%d", ReasonFull))
	})
}
