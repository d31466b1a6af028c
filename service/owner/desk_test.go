package owner

import (
	"encoding/binary"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/retention"
)

// desk is a trivial world in memory. It has one machine and carries out the machine's operations at once, unless a test
// interferes.
type desk struct {
	t     *testing.T
	m     Machine
	cfg   *Config
	slots map[uint64]*journal.Entry
	metas map[uint64]metaObject
	files map[incremental.File]Found
	// told holds the messages since the last look; ops counts the storage operations.
	told []string
	ops  map[OpKind]int
	// asked holds the storage operations since the last event, said the messages in full.
	asked, said []Op
	// flying counts the operations on the journal that are not answered.
	flying int
	// answer, if not nil, may answer an operation in place of the desk. If it returns nil, the desk answers. hold keeps
	// the operation for later.
	answer  func(op Op) *Result
	held    []Op
	foreign bool
	// now is the store's time.
	now uint64
}

var hold = &Result{}

func newDesk(t *testing.T) *desk {
	return &desk{t: t, cfg: DefaultConfig(journal.Process{1}, []string{"http://a"}, testPolicy), slots: map[uint64]*journal.Entry{},
		metas: map[uint64]metaObject{}, files: map[incremental.File]Found{}, ops: map[OpKind]int{}, now: 1000}
}

// retaining is a creation that keeps n checkpoints.
func retaining(n uint32) *Creation {
	create := twoTasks(1)
	create.Config = configOf(n, retention.OnCancellation)
	return create
}

func twoTasks(parallelism uint32) *Creation {
	return &Creation{Plan: journal.NewPlan([]journal.Operator{{ID: "op", Parallelism: parallelism, MaxParallelism: 128, Triggered: true}}),
		Config: configOf(1, retention.OnCancellation), About: &journal.About{Job: "job"}}
}

// configOf is a configuration that testPolicy understands.
func configOf(numRetained uint32, keeps retention.Policy) *journal.Config {
	return journal.NewConfig(append(binary.AppendUvarint(nil, uint64(numRetained)), byte(keeps)))
}

// trashWindow is half a day.
const trashWindow = 12 * 3600 * 1000

// trashing is the configuration with a trash.
func trashing(c *journal.Config) *journal.Config {
	return journal.NewConfig(append(slices.Clone(c.Bytes), 1))
}

// testPolicy stands for package service/config.
func testPolicy(c *journal.Config) (Policy, bool) {
	number, n := binary.Uvarint(c.Bytes)
	if n <= 0 || len(c.Bytes) != n+1 && len(c.Bytes) != n+2 {
		return Policy{}, false
	}
	return Policy{NumRetained: uint32(number), Retention: retention.Policy(c.Bytes[n]), Trash: uint64(len(c.Bytes)-n-1) * trashWindow}, true
}

func subtasks(n ...Subtask) Subtasks { return incremental.SetOf(n...) }

// do feeds an event, carries out everything that follows from it, and returns the messages.
func (d *desk) do(ev Event) []string {
	d.t.Helper()
	d.told, d.asked, d.said = nil, nil, nil
	events := []Event{ev}
	for len(events) > 0 {
		if r := events[0].Result; r.Kind == OpJournal && r.Life == d.m.life {
			d.flying--
		}
		ops := d.m.Step(d.cfg, &events[0], nil)
		if d.m.Phase() == PhaseIdle {
			d.flying = 0
		}
		events = events[1:]
		for _, op := range ops {
			if op.Kind.IsTell() {
				d.told, d.said = append(d.told, tellText(op)), append(d.said, op)
				continue
			}
			if op.Kind == OpJournal {
				if d.flying++; d.flying > 1 {
					d.t.Fatalf("%d operations on the journal at a time: %+v", d.flying, op.Journal)
				}
			}
			d.ops[op.Kind]++
			d.asked = append(d.asked, op)
			res := d.carryOut(op)
			if res == hold {
				d.held = append(d.held, op)
			} else if res != nil {
				events = append(events, Event{Kind: EventResult, Result: *res})
			}
		}
	}
	return d.told
}

// holds keeps operations of these kinds for later. OpJournal means publishing only.
func (d *desk) holds(kinds ...OpKind) {
	d.answer = func(op Op) *Result {
		if slices.Contains(kinds, op.Kind) && (op.Kind != OpJournal || op.Journal.Kind == journal.OpPublish) {
			return hold
		}
		return nil
	}
}

// takeHeld returns the held operations, and forgets them.
func (d *desk) takeHeld() []Op {
	held := d.held
	d.held = nil
	return held
}

// one is the only operation of that kind that followed from the last event.
func (d *desk) one(kind OpKind) Op {
	d.t.Helper()
	all := d.all(kind)
	if len(all) != 1 {
		d.t.Fatalf("the last event asked for %d operations of kind %d, want one", len(all), kind)
	}
	return all[0]
}

func (d *desk) all(kind OpKind) (all []Op) {
	for _, op := range d.asked {
		if op.Kind == kind {
			all = append(all, op)
		}
	}
	return all
}

// reply answers an operation as the test says.
func (d *desk) reply(op Op, outcome journal.Outcome, edit func(*Result)) []string {
	d.t.Helper()
	res := op.Result(outcome)
	if edit != nil {
		edit(&res)
	}
	return d.do(Event{Kind: EventResult, Result: res})
}

// takeOver lets another process attach, as if the one before had been killed.
func (d *desk) takeOver(process byte) {
	d.t.Helper()
	d.m, d.held, d.answer, d.flying = Machine{}, nil, nil, 0
	d.cfg = DefaultConfig(journal.Process{process}, nil, testPolicy)
	d.do(Event{Kind: EventAttach})
}

// fence publishes the attach of another process.
func (d *desk) fence() {
	d.seize(func(e *journal.Entry) {
		e.Epoch++
		e.Kind = journal.KindAttach
		e.Owner = journal.Nonce{Process: journal.Process{3}, Count: 1}
	})
}

// wantFiles compares the files that exist.
func (d *desk) wantFiles(why string, files ...incremental.File) {
	d.t.Helper()
	var got incremental.Builder[incremental.File]
	for f := range d.files {
		got.Add(f)
	}
	if got.Set() != incremental.FilesOf(files...) {
		d.t.Errorf("files %v, want %v: %s", slices.Collect(got.Set().All()), files, why)
	}
}

// wantMetas compares the checkpoints that have a _metadata.
func (d *desk) wantMetas(why string, ids ...uint64) {
	d.t.Helper()
	if got := slices.Sorted(maps.Keys(d.metas)); !slices.Equal(got, ids) {
		d.t.Errorf("_metadata of %v, want %v: %s", got, ids, why)
	}
}

// wantUnchanged feeds an event that must not change the machine or bring an operation.
func (d *desk) wantUnchanged(ev Event, told ...string) {
	d.t.Helper()
	before := d.m
	d.do(ev)
	d.want(told...)
	if !reflect.DeepEqual(before, d.m) {
		d.t.Errorf("the event changed the machine\n  %+v\nto\n  %+v", before, d.m)
	}
	if len(d.asked) > 0 {
		d.t.Errorf("the event asked for %+v", d.asked)
	}
}

// release carries out the held operations.
func (d *desk) release() []string {
	held := d.held
	d.held, d.answer = nil, nil
	var told []string
	for _, op := range held {
		if res := d.carryOut(op); res != nil {
			told = append(told, d.do(Event{Kind: EventResult, Result: *res})...)
		}
	}
	return told
}

func (d *desk) carryOut(op Op) *Result {
	if d.answer != nil {
		if res := d.answer(op); res != nil {
			return res
		}
	}
	res := op.Result(journal.Done)
	switch op.Kind {
	case OpJournal:
		d.journal(op.Journal, &res)
	case OpAbroad:
		d.abroad(op, &res)
	case OpReadMeta:
		m, ok := d.metas[op.ID]
		if !ok {
			res.Outcome = journal.NotFound
		}
		res.Nonce, res.Files = m.nonce, setOf(m.files)
	case OpCreateMeta:
		if _, ok := d.metas[op.ID]; ok {
			res.Outcome = journal.Exists
		} else {
			d.metas[op.ID] = metaObject{id: op.ID, nonce: op.Nonce, files: bitsOf(op.Files)}
		}
	case OpTime:
		res.Time = d.now
	case OpTrim:
		for _, id := range op.IDs {
			delete(d.slots, id)
		}
		return nil
	case OpDeleteMetas:
		for _, id := range op.IDs {
			delete(d.metas, id)
		}
	case OpDeleteFiles:
		for f := range op.Files.All() {
			delete(d.files, f)
		}
	case OpSweep:
		for _, f := range d.files {
			res.Found = append(res.Found, f)
		}
		for id := range d.metas {
			res.IDs = append(res.IDs, id)
		}
	}
	return &res
}

func (d *desk) journal(op journal.Op, res *Result) {
	switch op.Kind {
	case journal.OpList:
		for s := range d.slots {
			res.Slots = append(res.Slots, s)
		}
		res.Foreign = d.foreign
	case journal.OpGet:
		if res.Entry = d.slots[op.Slot]; res.Entry == nil {
			res.Outcome = journal.NotFound
		}
	case journal.OpPublish:
		if _, ok := d.slots[op.Slot]; ok {
			res.Outcome = journal.Exists
			return
		}
		b, err := journal.Encode(op.Entry)
		if err != nil {
			d.t.Fatal(err)
		}
		if d.slots[op.Slot], err = journal.Decode(b); err != nil {
			d.t.Fatal(err)
		}
	}
}

// abroad answers for the journal of another job, which runs and lists the pins that it has here.
func (d *desk) abroad(op Op, res *Result) {
	switch op.Journal.Kind {
	case journal.OpList:
		res.Slots = []uint64{1}
	case journal.OpGet:
		holder := journal.Entry{Slot: 1, Status: journal.StatusRunning, About: &journal.About{Job: op.Job}, Plan: journal.NewPlan(nil), Config: journal.NewConfig(nil)}
		for _, l := range d.head().Lent {
			if l.Holder == op.Job {
				holder.Epoch = max(holder.Epoch, l.HolderEpoch)
				holder.Borrowed = append(holder.Borrowed, journal.Borrowed{Pin: l.Pin, Checkpoint: l.Checkpoint, Mode: l.Mode})
			}
		}
		res.Entry = &holder
	case journal.OpPublish:
		d.t.Errorf("an entry in the journal of %s, and the test has none: %+v", op.Job, op.Journal.Entry)
	}
}

// seize publishes an entry as another process would.
func (d *desk) seize(edit func(*journal.Entry)) {
	head := d.head()
	e := *head
	edit(&e)
	var a journal.Append
	op := a.Begin(&d.cfg.Journal, head, e, journal.Nonce{Process: journal.Process{8}, Count: uint32(head.Slot)}, journal.RoleThird)
	d.slots[op.Slot] = op.Entry
}

func (d *desk) head() (head *journal.Entry) {
	for _, e := range d.slots {
		if head == nil || e.Slot > head.Slot {
			head = e
		}
	}
	return head
}

// want compares the messages, in the fields that the test names.
func (d *desk) want(what ...string) {
	d.t.Helper()
	if !slices.Equal(d.told, what) {
		d.t.Fatalf("told\n  %s\nwant\n  %s", strings.Join(d.told, "\n  "), strings.Join(what, "\n  "))
	}
}

// running is a desk whose job runs under one worker for each subtask.
func running(t *testing.T, parallelism uint32) *desk {
	t.Helper()
	d := newDesk(t)
	d.do(Event{Kind: EventAttach, Create: twoTasks(parallelism)})
	d.serve(parallelism, 0)
	if !d.m.AllRunning() {
		t.Fatal("not all running")
	}
	return d
}

// serve registers one worker for each subtask, and lets all run.
func (d *desk) serve(parallelism uint32, attempt uint64) {
	for i := range parallelism {
		d.do(Event{Kind: EventRegister, Worker: i + 1, Subtasks: subtasks(Subtask(i)), Attempt: attempt})
	}
	for i := range parallelism {
		d.do(Event{Kind: EventRunning, Worker: i + 1, Subtasks: subtasks(Subtask(i)), Attempt: d.m.Head().Attempt})
	}
}

// ack acknowledges for one subtask, with files uploaded and files known.
func (d *desk) ack(id uint64, subtask Subtask, uploads []incremental.File, known ...incremental.File) []string {
	head := d.m.Head()
	ev := Event{Kind: EventAck, Caller: 9, ID: id, Epoch: head.Epoch, Attempt: head.Attempt, Subtasks: subtasks(subtask), Files: incremental.FilesOf(known...)}
	for _, f := range uploads {
		d.files[f] = Found{f, head.Epoch, id}
		ev.Uploads = append(ev.Uploads, d.files[f])
	}
	return d.do(ev)
}

// checkpoint takes a checkpoint with one subtask and the given uploads.
func (d *desk) checkpoint(uploads ...incremental.File) uint64 {
	d.t.Helper()
	d.do(Event{Kind: EventTrigger})
	p := d.m.Pending()
	if len(p) == 0 {
		d.t.Fatalf("no checkpoint began: %v", d.told)
	}
	id := p[len(p)-1].ID
	d.ack(id, 0, uploads)
	if _, ok := d.m.Head().Checkpoint(id); !ok {
		d.t.Fatalf("checkpoint %d is not complete: %v", id, d.told)
	}
	return id
}

// tellText describes a message in a few words.
func tellText(op Op) string {
	names := map[OpKind]string{TellAttached: "attached", TellRedirect: "redirect", TellAttachRefused: "attach refused",
		TellChangeRefused: "change refused", TellChange: "change", TellFenced: "fenced",
		TellReleased: "released", TellDegraded: "degraded", TellStart: "start", TellReplaced: "replaced", TellReregister: "reregister",
		TellPlanRefused: "plan refused", TellAttempt: "attempt", TellAttempted: "attempted", TellAllRunning: "all running", TellFinished: "finished", TellTrigger: "trigger",
		TellTriggerRefused: "trigger refused", TellBegun: "begun", TellAcked: "acked", TellUnresolved: "unresolved", TellComplete: "complete",
		TellAbort: "abort", TellEnded: "ended", TellSwept: "swept", TellImported: "imported", TellImportFailed: "import failed", TellPinStuck: "pin stuck", TellEdited: "edited"}
	s := names[op.Kind]
	add := func(what string, v uint64) {
		if v != 0 {
			s += fmt.Sprintf(" %s=%d", what, v)
		}
	}
	add("worker", uint64(op.Worker))
	add("caller", op.Caller)
	add("epoch", op.Epoch)
	add("attempt", op.Attempt)
	add("id", op.ID)
	if op.Last != op.ID {
		add("last", op.Last)
	}
	add("status", uint64(op.Status))
	for f := range op.Files.All() {
		s += fmt.Sprintf(" f%d", f)
	}
	if op.Reason != ReasonNone {
		s += fmt.Sprintf(" reason=%d", op.Reason)
	}
	if op.Adopted {
		s += " adopted"
	}
	if op.Repeated {
		s += " repeated"
	}
	return s + strings.Join(op.URLs, ",")
}
