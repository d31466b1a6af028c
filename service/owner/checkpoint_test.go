package owner

import (
	"fmt"
	"testing"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/retention"
)

func TestAcknowledgementsRefused(t *testing.T) {
	d := running(t, 2)
	d.do(Event{Kind: EventTrigger})
	d.ack(1, 1, []incremental.File{5})
	good := Event{Kind: EventAck, Caller: 1, ID: 1, Epoch: 1, Attempt: 1, Subtasks: subtasks(0)}
	for name, test := range map[string]struct {
		edit func(*Event)
		why  Reason
	}{
		"epoch":            {func(e *Event) { e.Epoch = 2 }, ReasonEpoch},
		"attempt":          {func(e *Event) { e.Attempt = 2 }, ReasonAttempt},
		"not open":         {func(e *Event) { e.ID = 2 }, ReasonNotOpen},
		"no subtasks":      {func(e *Event) { e.Subtasks = subtasks() }, ReasonSubtasks},
		"not of the plan":  {func(e *Event) { e.Subtasks = subtasks(2) }, ReasonSubtasks},
		"one not of it":    {func(e *Event) { e.Subtasks = subtasks(0, 2) }, ReasonSubtasks},
		"half repeated":    {func(e *Event) { e.Subtasks = subtasks(0, 1) }, ReasonSubtasks},
		"not promised":     {func(e *Event) { e.Files = incremental.FilesOf(7) }, ReasonNotPromised},
		"one not promised": {func(e *Event) { e.Files = incremental.FilesOf(5, 7) }, ReasonNotPromised},
		"the second file":  {func(e *Event) { e.Uploads = []Found{{6, 1, 1}, {7, 1, 2}} }, ReasonNotNamed},
		"the first file":   {func(e *Event) { e.Uploads = []Found{{7, 2, 1}, {6, 1, 1}} }, ReasonNotNamed},
		"other epoch's":    {func(e *Event) { e.Uploads = []Found{{7, 2, 1}} }, ReasonNotNamed},
		"other checkpoint": {func(e *Event) { e.Uploads = []Found{{7, 1, 2}} }, ReasonNotNamed},
	} {
		ev := good
		test.edit(&ev)
		before := d.m
		d.do(ev)
		d.want(fmt.Sprintf("acked caller=1 id=%d reason=%d", ev.ID, test.why))
		if string(before.appendKey(nil)) != string(d.m.appendKey(nil)) {
			t.Errorf("%s: the machine has changed, want it as before the refusal", name)
		}
	}
	for why, ev := range map[Reason]Event{ReasonEpoch: {Epoch: 2, Attempt: 1, ID: 1}, ReasonAttempt: {Epoch: 1, Attempt: 3, ID: 1},
		ReasonNotOpen: {Epoch: 1, Attempt: 1, ID: 4}} {
		ev.Kind, ev.Caller, ev.Files = EventBegin, 1, incremental.FilesOf(5)
		d.wantUnchanged(ev, fmt.Sprintf("begun caller=1 id=%d reason=%d", ev.ID, why))
	}
}

// TestAcknowledgementRepeated: a worker repeats an acknowledgement whose answer was lost. The owner accepts it and
// changes nothing, even after the completion.
func TestAcknowledgementRepeated(t *testing.T) {
	d := running(t, 2)
	d.do(Event{Kind: EventTrigger})
	d.ack(1, 0, []incremental.File{1})
	d.ack(1, 0, []incremental.File{2})
	d.want("acked caller=9 id=1")
	if d.m.index.Known.Has(2) {
		t.Error("file 2 is known, want it unknown: a repetition brings no files")
	}
	d.ack(1, 1, nil)
	d.ack(1, 1, nil)
	d.want("acked caller=9 id=1")
}

func TestMetadataOutcomes(t *testing.T) {
	first := func(kind OpKind, outcome journal.Outcome, edit func(*desk, Op)) func(*desk) func(Op) *Result {
		return func(d *desk) func(Op) *Result {
			done := false
			return func(op Op) *Result {
				if op.Kind != kind || done {
					return nil
				}
				done = true
				if edit != nil {
					edit(d, op)
				}
				res := op.Result(outcome)
				return &res
			}
		}
	}
	land := func(d *desk, op Op) { d.metas[op.ID] = metaObject{id: op.ID, nonce: op.Nonce, files: bitsOf(op.Files)} }
	other := func(d *desk, op Op) { d.metas[op.ID] = metaObject{id: op.ID, nonce: journal.Nonce{Count: 7}} }
	complete := []string{"acked caller=9 id=1", "unresolved epoch=1 attempt=1 id=1", "complete epoch=1 attempt=1 id=1"}
	aborted := []string{"acked caller=9 id=1", fmt.Sprintf("abort epoch=1 attempt=1 id=1 reason=%d", ReasonMetadata)}
	for name, test := range map[string]struct {
		answer func(*desk) func(Op) *Result
		want   []string
	}{
		"unknown, not written":      {first(OpCreateMeta, journal.Unknown, nil), complete},
		"unknown, written":          {first(OpCreateMeta, journal.Unknown, land), complete},
		"exists, ours":              {first(OpCreateMeta, journal.Exists, land), complete},
		"exists, another's":         {first(OpCreateMeta, journal.Exists, other), aborted},
		"exists, not there to read": {first(OpCreateMeta, journal.Exists, nil), complete},
		"disk full":                 {first(OpCreateMeta, journal.NotDone, nil), aborted},
	} {
		t.Run(name, func(t *testing.T) {
			d := running(t, 1)
			d.do(Event{Kind: EventTrigger})
			d.answer = test.answer(d)
			d.ack(1, 0, []incremental.File{1})
			d.want(test.want...)
			d.answer = nil
			d.checkpoint(2)
			if len(d.files) != 1 {
				t.Errorf("files %v, want the unneeded ones deleted", d.files)
			}
		})
	}
}

// TestUnresolved: while an entry is being published, the owner does not abort its checkpoint, and begins no attempt and
// no checkpoint.
func TestUnresolved(t *testing.T) {
	d := running(t, 1)
	d.do(Event{Kind: EventTrigger})
	d.answer = func(op Op) *Result {
		if op.Journal.Kind == journal.OpPublish {
			return hold
		}
		return nil
	}
	d.ack(1, 0, []incremental.File{1})
	d.want("acked caller=9 id=1", "unresolved epoch=1 attempt=1 id=1")
	d.do(Event{Kind: EventAbort, ID: 1, Reason: ReasonExpired})
	d.want()
	d.do(Event{Kind: EventTrigger, Caller: 4})
	d.want()
	d.do(Event{Kind: EventTrigger, Caller: 5})
	d.want(fmt.Sprintf("trigger refused caller=5 reason=%d", ReasonBusy))
	d.do(Event{Kind: EventNewAttempt, Attempt: 1, Caller: 6})
	d.want(fmt.Sprintf("trigger refused caller=4 reason=%d", ReasonAttemptEnded))
	told := d.release()
	want := []string{"complete epoch=1 attempt=1 id=1", "attempted caller=6 attempt=2", "attempt epoch=1 attempt=2 id=1", "start worker=1 epoch=1 attempt=2 id=1"}
	if fmt.Sprint(told) != fmt.Sprint(want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

func TestSubsumed(t *testing.T) {
	d := running(t, 1)
	d.do(Event{Kind: EventTrigger})
	d.do(Event{Kind: EventTrigger})
	d.ack(2, 0, []incremental.File{2})
	d.want("acked caller=9 id=2", "unresolved epoch=1 attempt=1 id=2", "complete epoch=1 attempt=1 id=2",
		fmt.Sprintf("abort epoch=1 attempt=1 id=1 reason=%d", ReasonSubsumed))
}

func TestPromises(t *testing.T) {
	d := running(t, 1)
	d.checkpoint(1, 2)
	d.do(Event{Kind: EventTrigger})
	d.do(Event{Kind: EventTrigger})
	d.do(Event{Kind: EventBegin, ID: 3, Epoch: 1, Attempt: 1, Files: incremental.FilesOf(1, 2)})
	d.ack(2, 0, nil, 1)
	d.want(fmt.Sprintf("acked caller=9 id=2 reason=%d", ReasonNotPromised)) // it was promised to 3
	d.ack(2, 0, []incremental.File{5})
	if len(d.files) != 3 {
		t.Errorf("files %v, want 1, 2 and 5: 1 and 2 are promised to checkpoint 3", d.files)
	}
	d.ack(3, 0, nil, 2)
	if _, there := d.files[2]; len(d.files) != 1 || !there {
		t.Errorf("files %v, want 2 alone: checkpoint 3 names no other", d.files)
	}
}

// TestOldFilesAreNotPromisedAgain: the owner never promises a file of an older epoch again once no checkpoint names it.
func TestOldFilesAreNotPromisedAgain(t *testing.T) {
	d := running(t, 1)
	d.checkpoint(1)
	d.m = Machine{}
	d.cfg = DefaultConfig(journal.Process{2}, nil, testPolicy)
	d.do(Event{Kind: EventAttach})
	d.serve(1, 1)
	d.do(Event{Kind: EventTrigger})
	held := d.m.Pending()[0].ID
	d.do(Event{Kind: EventTrigger})
	d.do(Event{Kind: EventBegin, ID: held + 1, Epoch: 2, Attempt: 1, Files: incremental.FilesOf(1)})
	d.ack(held, 0, []incremental.File{3})
	d.do(Event{Kind: EventAbort, ID: held + 1})
	d.do(Event{Kind: EventTrigger})
	d.do(Event{Kind: EventBegin, ID: held + 2, Epoch: 2, Attempt: 1, Files: incremental.FilesOf(1, 3)})
	d.want(fmt.Sprintf("begun id=%d f3", held+2))
	d.do(Event{Kind: EventSweep})
	if _, there := d.files[1]; !there {
		t.Error("swept while something is pending")
	}
	d.do(Event{Kind: EventAbort, ID: held + 2})
	d.do(Event{Kind: EventSweep})
	if _, there := d.files[1]; there || len(d.files) != 1 {
		t.Errorf("files %v, want 1 deleted: no checkpoint names it, and its promise has ended", d.files)
	}
}

// TestEffects: an append may have taken effect although another entry is the head by now. For each kind, the effect
// shows in certain fields. The id of a checkpoint alone is no effect.
func TestEffects(t *testing.T) {
	mine := journal.Nonce{Process: journal.Process{1}, Count: 5}
	next := &journal.Entry{Reserved: 20, Attempt: 3, Status: journal.StatusFailed, Retained: []journal.Checkpoint{{ID: 7, Nonce: mine}}}
	for _, test := range []struct {
		doing journal.Kind
		head  journal.Entry
		want  bool
	}{
		{journal.KindAttach, journal.Entry{Owner: mine}, true},
		{journal.KindAttach, journal.Entry{}, false},
		{journal.KindAttach, journal.Entry{Owner: journal.Nonce{Process: mine.Process, Count: 6}}, false},
		{journal.KindAttach, journal.Entry{Owner: journal.Nonce{Process: journal.Process{2}, Count: 5}}, false},
		{journal.KindCommit, journal.Entry{Retained: next.Retained}, true},
		{journal.KindCommit, journal.Entry{Retained: []journal.Checkpoint{{ID: 7}}}, false},
		{journal.KindCommit, journal.Entry{Retained: []journal.Checkpoint{{ID: 7, Nonce: journal.Nonce{Process: mine.Process, Count: 6}}}}, false},
		{journal.KindCommit, journal.Entry{Retained: []journal.Checkpoint{{ID: 7, Nonce: journal.Nonce{Count: 5}}}}, false},
		{journal.KindCommit, journal.Entry{Retained: []journal.Checkpoint{{ID: 8, Nonce: mine}}}, false},
		{journal.KindCommit, journal.Entry{}, false},
		{journal.KindReserve, journal.Entry{Reserved: 21}, true},
		{journal.KindReserve, journal.Entry{Reserved: 20}, true},
		{journal.KindReserve, journal.Entry{Reserved: 19}, false},
		{journal.KindAttempt, journal.Entry{Attempt: 3}, true},
		{journal.KindAttempt, journal.Entry{Attempt: 4}, true},
		{journal.KindAttempt, journal.Entry{Attempt: 2}, false},
		{journal.KindEnd, journal.Entry{Status: journal.StatusFailed}, true},
		{journal.KindEnd, journal.Entry{Status: journal.StatusRunning}, false},
		{journal.KindRelease, journal.Entry{}, true},
		{journal.KindRelease, journal.Entry{Owner: mine}, false},
	} {
		s := step{Machine: &Machine{doing: test.doing, doingID: 7, me: mine}, cfg: &Config{}}
		if got := s.effect(&test.head, next); got != test.want {
			t.Errorf("kind %d, %+v: effect %v, want %v", test.doing, test.head, got, test.want)
		}
	}
}

func TestDeletesAreRetried(t *testing.T) {
	d := running(t, 1)
	d.checkpoint(1, 2)
	fails := 3
	d.answer = func(op Op) *Result {
		if fails == 0 || op.Kind != OpDeleteFiles && op.Kind != OpDeleteMetas {
			return nil
		}
		fails--
		res := op.Result(journal.Unknown)
		if op.Kind == OpDeleteFiles {
			delete(d.files, 1)
			res.Files = incremental.FilesOf(1)
		}
		return &res
	}
	d.checkpoint(3)
	if len(d.files) != 1 || len(d.metas) != 1 || d.m.Condemned() != 0 || fails != 0 {
		t.Errorf("files %v, metas %v, condemned %d; want one file, one _metadata and nothing condemned", d.files, d.metas, d.m.Condemned())
	}
}

// TestRottenCheckpoint: while a retained _metadata is unreadable, the owner deletes nothing, but commits go on. When
// the checkpoint has left the head, a sweep deletes everything that nothing needs.
func TestRottenCheckpoint(t *testing.T) {
	for _, outcome := range []journal.Outcome{journal.Corrupt, journal.Newer, journal.NotFound} {
		create := twoTasks(1)
		create.Config = configOf(3, retention.OnCancellation)
		d := newDesk(t)
		d.do(Event{Kind: EventAttach, Create: create})
		d.serve(1, 0)
		for i := range incremental.File(3) {
			d.checkpoint(i)
		}
		d.m = Machine{}
		d.cfg = DefaultConfig(journal.Process{2}, nil, testPolicy)
		d.answer = func(op Op) *Result {
			if op.Kind != OpReadMeta || op.ID != 2 {
				return nil
			}
			res := op.Result(outcome)
			return &res
		}
		d.do(Event{Kind: EventAttach})
		d.want("attached epoch=2 attempt=1", fmt.Sprintf("degraded id=2 reason=%d", ReasonDegraded))
		d.serve(1, 1)
		d.do(Event{Kind: EventSweep})
		d.want(fmt.Sprintf("swept reason=%d", ReasonDegraded))
		d.checkpoint(10)
		if why, id := d.m.Degraded(); why != ReasonDegraded || id != 2 || len(d.files) != 4 || len(d.metas) != 4 {
			t.Errorf("outcome %d: degraded %d %d, files %v, metas %v", outcome, why, id, d.files, d.metas)
		}
		d.checkpoint(11)
		if why, _ := d.m.Degraded(); why != ReasonNone {
			t.Errorf("outcome %d: still degraded, want deletes to go on", outcome)
		}
		d.do(Event{Kind: EventSweep})
		if len(d.files) != 3 || len(d.metas) != 3 {
			t.Errorf("outcome %d: after the sweep files %v, metas %v", outcome, d.files, d.metas)
		}
	}
}

// TestLoading: nothing is triggered or swept before all retained _metadata are read.
func TestLoading(t *testing.T) {
	d := running(t, 1)
	d.checkpoint(1)
	d.m = Machine{}
	d.cfg = DefaultConfig(journal.Process{2}, nil, testPolicy)
	d.answer = func(op Op) *Result {
		if op.Kind == OpReadMeta {
			return hold
		}
		return nil
	}
	d.do(Event{Kind: EventAttach})
	d.serve(1, 1)
	d.do(Event{Kind: EventTrigger, Caller: 1})
	d.want(fmt.Sprintf("trigger refused caller=1 reason=%d", ReasonLoading))
	d.do(Event{Kind: EventSweep, Caller: 1})
	d.want(fmt.Sprintf("swept caller=1 reason=%d", ReasonLoading))
	// A failed read does not mean damage: the owner reads the _metadata again.
	failed := d.held[0].Result(journal.Unknown)
	d.held = nil
	d.do(Event{Kind: EventResult, Result: failed})
	if len(d.held) != 1 || d.held[0].Wait != journal.WaitBackoff {
		t.Fatalf("asked for %+v, want one read, after a while", d.held)
	}
	d.release()
	d.checkpoint(2)
}

// TestMissingMetadataOfAnotherEpoch: a _metadata is missing because a new owner has dropped the checkpoint.
func TestMissingMetadataOfAnotherEpoch(t *testing.T) {
	d := running(t, 1)
	d.checkpoint(1)
	d.m = Machine{}
	d.cfg = DefaultConfig(journal.Process{2}, nil, testPolicy)
	d.answer = func(op Op) *Result {
		if op.Kind == OpReadMeta {
			return hold
		}
		return nil
	}
	d.do(Event{Kind: EventAttach})
	d.do(Event{Kind: EventTrigger, Caller: 1})
	d.want(fmt.Sprintf("trigger refused caller=1 reason=%d", ReasonNotRunning))
	d.seize(func(e *journal.Entry) {
		e.Epoch++
		e.Kind = journal.KindAttach
		e.Owner = journal.Nonce{Process: journal.Process{3}, Count: 1}
	})
	delete(d.metas, 1)
	if told := d.release(); fmt.Sprint(told) != "[fenced]" {
		t.Errorf("told %q, want fenced", told)
	}
}

func BenchmarkReferences(b *testing.B) {
	d := running(new(testing.T), 1)
	names := incremental.NewNames()
	const n = 10000
	var uploads []Found
	descriptions := make([]incremental.Description, n)
	for i := range descriptions {
		descriptions[i] = incremental.Description{Key: fmt.Sprintf("shared/3f-1-1-abcdefghijklmnopqrstuvwxyz-%d", i), Instance: "nonce", Name: fmt.Sprintf("%06d.sst", i), Size: 1 << 20}
		f, err := names.Intern(descriptions[i])
		if err != nil {
			b.Fatal(err)
		}
		uploads = append(uploads, Found{f, 1, 1})
	}
	d.do(Event{Kind: EventTrigger})
	d.do(Event{Kind: EventAck, ID: 1, Epoch: 1, Attempt: 1, Subtasks: subtasks(0), Uploads: uploads})
	d.do(Event{Kind: EventTrigger})
	for b.Loop() {
		var set incremental.Builder[incremental.File]
		for i := range descriptions {
			f, ok := names.Lookup("nonce", descriptions[i].Name, 1<<20, "")
			if !ok {
				b.Fatal("unknown")
			}
			set.Add(f)
		}
		m := d.m
		ev := Event{Kind: EventBegin, ID: 2, Epoch: 1, Attempt: 1, Files: set.Set()}
		ops := m.Step(d.cfg, &ev, nil)
		ev = Event{Kind: EventAck, ID: 2, Epoch: 1, Attempt: 1, Subtasks: subtasks(0), Files: ops[0].Files}
		m.Step(d.cfg, &ev, nil)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/reference")
}
