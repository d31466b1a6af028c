package owner

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/retention"
	"github.com/ckptd/ckptd/service/coordinator"
)

// duo is both machines of a job, fed as the shell feeds them. The desk is their store.
type duo struct {
	*desk
	coord *coordinator.Machine
	now   time.Time
	tasks uint32
	// slow: the _metadata and copies of savepoints are written when the test says so.
	slow bool
	// heard is what workers were told, answers what callers were.
	heard, answers []string
}

const duoTimeout = 10 * time.Second

func newDuo(t *testing.T, limit int, retained, tasks uint32) *duo {
	p := coordinator.Policy{MaxConcurrent: limit, Timeout: duoTimeout, TolerableFailures: coordinator.Never}
	s := &duo{desk: newDesk(t), coord: coordinator.New(p, coordinator.DefaultTimes(), 0), now: time.Unix(1, 0), tasks: tasks}
	create := twoTasks(tasks)
	create.Config = configOf(retained, retention.OnCancellation)
	s.do(Event{Kind: EventAttach, Create: create})
	s.serve(tasks, 0)
	s.coordinate(coordinator.AttemptStarting{Attempt: 1})
	s.coordinate(coordinator.AllRunning{Attempt: 1})
	return s
}

// coordinate hands an event to the coordinator, and then everything that follows from it.
func (s *duo) coordinate(e coordinator.Event) { s.settle([]any{e}) }

// feed hands an event to the owner machine, and then everything that follows from it.
func (s *duo) feed(ev Event) { s.settle([]any{ev}) }

func (s *duo) settle(queue []any) {
	for ; len(queue) > 0; queue = queue[1:] {
		switch e := queue[0].(type) {
		case Event:
			if s.answer = nil; s.slow {
				s.holds(OpCreateMeta, OpSave)
			}
			s.do(e)
			for _, op := range s.asked {
				if op.Kind == OpSave {
					queue = append(queue, coordinator.SavepointAcknowledged{Checkpoint: op.ID})
				}
			}
			for i := range s.said {
				queue = append(queue, s.tell(&s.said[i])...)
			}
		case coordinator.Event:
			for _, d := range s.coord.Step(s.now, e) {
				queue = append(queue, s.decide(d)...)
			}
		}
	}
}

// tell notes a message, and gives what the coordinator hears of it.
func (s *duo) tell(op *Op) []any {
	switch op.Kind {
	case TellTrigger:
		s.heard = append(s.heard, fmt.Sprintf("trigger %d", op.ID))
		if op.Savepoint != nil {
			return []any{coordinator.SavepointBegun{Checkpoint: op.ID}}
		}
		return []any{coordinator.TriggerAccepted{Checkpoint: op.ID}}
	case TellTriggerRefused:
		return []any{coordinator.TriggerRefused{Reason: coordinator.ReasonTriggerFailed}}
	case TellSavepoint:
		return []any{coordinator.SavepointAnswered{Checkpoint: op.ID}}
	case TellUnresolved:
		return []any{coordinator.Unresolved{Checkpoint: op.ID}}
	case TellComplete:
		s.heard = append(s.heard, fmt.Sprintf("complete %d", op.ID))
		return []any{coordinator.Completed{Checkpoint: op.ID}}
	case TellAbort:
		reason := map[Reason]coordinator.Reason{ReasonSubsumed: coordinator.ReasonSubsumed, ReasonDeclined: coordinator.ReasonDeclined,
			ReasonExpired: coordinator.ReasonExpired}[op.Reason]
		s.heard = append(s.heard, fmt.Sprintf("abort %d: %s, newest %d", op.ID, reason, op.Latest))
		return []any{coordinator.Aborted{Checkpoint: op.ID, Reason: reason}}
	case TellSaved:
		if op.Reason == ReasonNone {
			s.heard = append(s.heard, fmt.Sprintf("saved %d", op.ID))
		}
		return []any{coordinator.SavepointDone{Checkpoint: op.ID}}
	}
	return nil
}

// decide gives what the owner machine hears of a decision.
func (s *duo) decide(d coordinator.Decision) []any {
	switch d := d.(type) {
	case coordinator.Trigger:
		return []any{Event{Kind: EventTrigger}}
	case coordinator.TriggerSavepoint:
		return []any{Event{Kind: EventSavepoint, Caller: d.Caller, Savepoint: &journal.Savepoint{Path: fmt.Sprintf("file:///s/%d", d.Caller)}}}
	case coordinator.Abort:
		reason := map[coordinator.Reason]Reason{coordinator.ReasonDeclined: ReasonDeclined, coordinator.ReasonExpired: ReasonExpired}[d.Reason]
		return []any{Event{Kind: EventAbort, ID: d.Checkpoint, Reason: reason}}
	case coordinator.Answer:
		s.answers = append(s.answers, fmt.Sprintf("%d: %d %s", d.Caller, d.Checkpoint, d.Reason))
	}
	return nil
}

func (s *duo) request(caller uint64) { s.coordinate(coordinator.Request{Caller: caller}) }

func (s *duo) save(caller uint64) { s.coordinate(coordinator.SavepointRequest{Caller: caller}) }

// accept acknowledges for a subtask, with a file of its own.
func (s *duo) accept(id uint64, task uint32) {
	f := fileOf(id, task)
	ev := Event{Kind: EventAck, Caller: 9, ID: id, Epoch: 1, Attempt: 1, Subtasks: subtasks(Subtask(task)), Uploads: []Found{{f, 1, id}}}
	if i, p := (&step{&s.m, s.cfg, nil}).find(id); i >= 0 && p.State == PendingOpen {
		s.files[f] = Found{f, 1, id}
	}
	s.feed(ev)
}

func (s *duo) acceptAll(id uint64) {
	for task := range s.tasks {
		s.accept(id, task)
	}
}

// fileOf is the file of a subtask for a checkpoint: the desk has room for 64.
func fileOf(id uint64, task uint32) incremental.File { return incremental.File(id*2 + uint64(task)) }

func (s *duo) decline(id uint64) {
	s.coordinate(coordinator.Declined{Checkpoint: id, Reason: coordinator.ReasonDeclined})
}

// pass lets time go by.
func (s *duo) pass(d time.Duration) {
	s.now = s.now.Add(d)
	s.coordinate(coordinator.Tick{})
}

// written answers one of the writes that were held.
func (s *duo) written(i int) {
	op := s.held[i]
	s.held = slices.Delete(s.held, i, i+1)
	s.answer = nil
	s.feed(Event{Kind: EventResult, Result: *s.carryOut(op)})
}

// want compares what was told since the last look, and what is pending and retained.
func (s *duo) wantHeard(heard ...string) {
	s.t.Helper()
	if !slices.Equal(s.heard, heard) {
		s.t.Errorf("the workers heard\n  %s\nwant\n  %s", strings.Join(s.heard, "\n  "), strings.Join(heard, "\n  "))
	}
	s.heard = nil
}

func (s *duo) wantAnswers(answers ...string) {
	s.t.Helper()
	if !slices.Equal(s.answers, answers) {
		s.t.Errorf("the callers were answered %q, want %q", s.answers, answers)
	}
	s.answers = nil
}

func (s *duo) pendingIDs() (ids []uint64) {
	for _, p := range s.m.Pending() {
		ids = append(ids, p.ID)
	}
	return ids
}

func (s *duo) retainedIDs() (ids []uint64) {
	for _, c := range s.m.Head().Retained {
		ids = append(ids, c.ID)
	}
	return ids
}

func (s *duo) wantIDs(pending, retained []uint64) {
	s.t.Helper()
	if p, r := s.pendingIDs(), s.retainedIDs(); !slices.Equal(p, pending) || !slices.Equal(r, retained) {
		s.t.Errorf("pending are %v, retained %v; want %v and %v", p, r, pending, retained)
	}
}

// TestConcurrentCheckpoints is Flink's catalogue of several pending checkpoints.
func TestConcurrentCheckpoints(t *testing.T) {
	// two pending checkpoints of two subtasks
	two := func(t *testing.T) *duo {
		s := newDuo(t, 2, 1, 2)
		s.request(1)
		s.request(2)
		s.wantHeard("trigger 1", "trigger 2")
		return s
	}
	t.Run("CO-10", func(t *testing.T) {
		s := two(t)
		s.decline(1)
		s.wantHeard("abort 1: CHECKPOINT_DECLINED, newest 0")
		s.wantAnswers("1: 1 CHECKPOINT_DECLINED")
		s.wantIDs([]uint64{2}, nil)
		t.Run("CO-11", func(t *testing.T) {
			s.decline(1)
			s.decline(1)
			s.accept(1, 0)
			s.wantHeard()
			s.wantIDs([]uint64{2}, nil)
		})
		s.acceptAll(2)
		s.wantHeard("complete 2")
	})
	t.Run("CO-15", func(t *testing.T) {
		s := two(t)
		s.accept(1, 0)
		s.accept(2, 0)
		s.accept(1, 1)
		s.wantHeard("complete 1")
		s.accept(2, 1)
		s.wantHeard("complete 2")
		s.wantAnswers("1: 1 ", "2: 2 ")
		s.wantIDs(nil, []uint64{2})
		s.wantFiles("the first one is subsumed", fileOf(2, 0), fileOf(2, 1))
	})
	t.Run("CO-16", func(t *testing.T) {
		s := two(t)
		s.accept(1, 0)
		s.acceptAll(2)
		s.wantHeard("complete 2", "abort 1: CHECKPOINT_SUBSUMED, newest 2")
		s.wantAnswers("2: 2 ", "1: 1 CHECKPOINT_SUBSUMED")
		s.wantIDs(nil, []uint64{2})
		s.wantFiles("what was acknowledged for the first one is deleted", fileOf(2, 0), fileOf(2, 1))
		t.Run("CO-17", func(t *testing.T) {
			s.accept(1, 1)
			s.wantHeard()
			s.wantIDs(nil, []uint64{2})
			s.wantFiles("the late one is refused", fileOf(2, 0), fileOf(2, 1))
		})
		t.Run("CO-18", func(t *testing.T) {
			s.do(Event{Kind: EventFinished, Worker: 1, Subtasks: subtasks(0), Attempt: 1})
			s.do(Event{Kind: EventFinished, Worker: 2, Subtasks: subtasks(1), Attempt: 1})
			s.wantIDs(nil, nil)
			s.wantFiles("the job has finished")
		})
	})
	t.Run("CO-28", func(t *testing.T) {
		s := two(t)
		s.request(3)
		s.request(4)
		s.request(5)
		s.wantHeard()
		s.acceptAll(2)
		s.wantHeard("complete 2", "abort 1: CHECKPOINT_SUBSUMED, newest 2", "trigger 3", "trigger 4")
		s.wantIDs([]uint64{3, 4}, []uint64{2})
	})
	t.Run("CO-32", func(t *testing.T) {
		s := newDuo(t, 3, 1, 2)
		s.save(9)
		s.request(1)
		s.request(2)
		s.acceptAll(3)
		s.wantHeard("trigger 1", "trigger 2", "trigger 3", "complete 3", "abort 2: CHECKPOINT_SUBSUMED, newest 3")
		s.wantIDs([]uint64{1}, []uint64{3})
		t.Run("CO-33", func(t *testing.T) {
			s.request(3)
			s.save(10)
			s.acceptAll(5)
			s.wantHeard("trigger 4", "trigger 5", "saved 5")
			s.wantIDs([]uint64{1, 4}, []uint64{3})
		})
	})
	t.Run("CO-19", func(t *testing.T) {
		s := two(t)
		s.accept(1, 0)
		s.pass(duoTimeout - 1)
		s.wantHeard()
		s.pass(1)
		s.wantHeard("abort 1: CHECKPOINT_EXPIRED, newest 0", "abort 2: CHECKPOINT_EXPIRED, newest 0")
		s.wantIDs(nil, nil)
	})
}

// modelled is a pending checkpoint of the model.
type modelled struct {
	id, caller         uint64
	savepoint, written bool // written: all subtasks have acknowledged
	acked              map[uint32]bool
	began              time.Time
}

// model is what the two machines do with several pending checkpoints, said once more in the simplest way.
type model struct {
	limit, retain  int
	tasks          uint32
	now            time.Time
	last           uint64
	pending        []*modelled
	waiting        []uint64
	retained       []uint64
	heard, answers []string
}

func (m *model) find(id uint64) *modelled {
	for _, p := range m.pending {
		if p.id == id {
			return p
		}
	}
	return nil
}

func (m *model) begin(caller uint64, savepoint bool) {
	m.last++
	m.heard = append(m.heard, fmt.Sprintf("trigger %d", m.last))
	m.pending = append(m.pending, &modelled{id: m.last, caller: caller, savepoint: savepoint, acked: map[uint32]bool{}, began: m.now})
}

// start begins what waits, as far as there is room. A savepoint that only has to be copied takes no room.
func (m *model) start() {
	for len(m.waiting) > 0 {
		room := m.limit
		for _, p := range m.pending {
			if !p.savepoint || !p.written {
				room--
			}
		}
		if room <= 0 {
			return
		}
		m.begin(m.waiting[0], false)
		m.waiting = m.waiting[1:]
	}
}

func (m *model) end(p *modelled, reason string) {
	m.pending = slices.DeleteFunc(m.pending, func(q *modelled) bool { return q == p })
	if !p.savepoint {
		m.answers = append(m.answers, fmt.Sprintf("%d: %d %s", p.caller, p.id, reason))
	}
}

func (m *model) abort(p *modelled, reason string) {
	newest := uint64(0)
	if len(m.retained) > 0 {
		newest = m.retained[len(m.retained)-1]
	}
	m.heard = append(m.heard, fmt.Sprintf("abort %d: %s, newest %d", p.id, reason, newest))
	m.end(p, reason)
}

func (m *model) finish(p *modelled) {
	if p.savepoint {
		m.heard = append(m.heard, fmt.Sprintf("saved %d", p.id))
		m.end(p, "")
		return
	}
	m.heard = append(m.heard, fmt.Sprintf("complete %d", p.id))
	m.end(p, "")
	m.retained = append(m.retained, p.id)
	m.retained = m.retained[max(0, len(m.retained)-m.retain):]
	for _, q := range slices.Clone(m.pending) {
		if q.id < p.id && !q.savepoint {
			m.abort(q, "CHECKPOINT_SUBSUMED")
		}
	}
}

func (m *model) expire() {
	for _, p := range slices.Clone(m.pending) {
		if !(p.savepoint && p.written) && m.now.Sub(p.began) >= duoTimeout {
			m.abort(p, "CHECKPOINT_EXPIRED")
		}
	}
}

// TestConcurrentCheckpointsModel lets requests, acknowledgements, declines and time-outs come in random order, and compares the machines
// with the model after each of them.
func TestConcurrentCheckpointsModel(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := &model{limit: 1 + r.IntN(4), retain: 1 + r.IntN(3), tasks: 1 + r.Uint32N(2)}
		s := newDuo(t, m.limit, uint32(m.retain), m.tasks)
		m.now = s.now
		var did []string
		for range 80 {
			did = append(did, randomly(r, s, m))
			m.start()
			slices.Sort(s.answers)
			slices.Sort(m.answers)
			s.wantHeard(m.heard...)
			s.wantAnswers(m.answers...)
			m.heard, m.answers = nil, nil
			compare(s, m)
			if t.Failed() {
				t.Fatalf("seed %d, limit %d, %d retained, %d subtasks, after\n  %s", seed, m.limit, m.retain, m.tasks, strings.Join(did, "\n  "))
			}
			if m.last >= 28 { // the desk has no room for more files
				break
			}
		}
	}
}

// randomly lets one thing happen to the machines and to the model, and says what.
func randomly(r *rand.Rand, s *duo, m *model) string {
	id := 1 + r.Uint64N(m.last+2)
	if len(m.pending) > 0 && r.IntN(4) > 0 { // else perhaps one that is over, or that never began
		id = m.pending[r.IntN(len(m.pending))].id
	}
	p := m.find(id)
	switch dice := r.IntN(20); {
	case dice < 4:
		caller := 100 + r.Uint64N(1000)
		s.request(caller)
		m.waiting = append(m.waiting, caller)
		return fmt.Sprintf("request %d", caller)
	case dice < 5:
		caller := 2000 + m.last
		s.save(caller)
		m.begin(caller, true)
		return fmt.Sprintf("savepoint %d", caller)
	case dice < 13:
		task := r.Uint32N(m.tasks)
		s.accept(id, task)
		if p != nil && !p.written {
			p.acked[task] = true
			if p.written = len(p.acked) == int(m.tasks); p.written && !s.slow {
				m.finish(p)
			}
		}
		return fmt.Sprintf("%d acknowledges %d", task, id)
	case dice < 14:
		if p != nil && p.savepoint && p.written {
			return "nothing"
		}
		s.decline(id)
		if p != nil {
			m.abort(p, "CHECKPOINT_DECLINED")
		}
		return fmt.Sprintf("%d is declined", id)
	case dice < 16:
		d := time.Duration(r.IntN(5)) * duoTimeout / 8
		s.pass(d)
		m.now = s.now
		m.expire()
		return fmt.Sprintf("%s later", d)
	case dice < 17:
		s.slow = !s.slow
		return fmt.Sprintf("slow: %v", s.slow)
	case len(s.held) > 0:
		i := r.IntN(len(s.held))
		id := s.held[i].ID
		s.written(i)
		if p := m.find(id); p != nil && p.written {
			m.finish(p)
		}
		return fmt.Sprintf("%d is written", id)
	}
	return "nothing"
}

// compare compares what is pending and retained, and which files are there: those of retained and pending checkpoints at least.
func compare(s *duo, m *model) {
	var pending []uint64
	for _, p := range m.pending {
		pending = append(pending, p.id)
		for task := range p.acked {
			if _, ok := s.files[fileOf(p.id, task)]; !ok {
				s.t.Errorf("the file of subtask %d for checkpoint %d is gone", task, p.id)
			}
		}
		if i, q := (&step{&s.m, s.cfg, nil}).find(p.id); i >= 0 && q.Acked.Len() != len(p.acked) {
			s.t.Errorf("checkpoint %d has %d acknowledgements, want %d", p.id, q.Acked.Len(), len(p.acked))
		}
	}
	s.wantIDs(pending, m.retained)
	want := incremental.Files{}
	for _, id := range m.retained {
		for task := range m.tasks {
			want = want.Or(incremental.FilesOf(fileOf(id, task)))
		}
	}
	var have incremental.Builder[incremental.File]
	for f := range s.files {
		have.Add(f)
	}
	if !want.In(have.Set()) {
		s.t.Errorf("files %v are there, want at least %v of what is retained", have.Set(), want)
	}
	if got := s.coord.State().Queued; got != len(m.waiting) {
		s.t.Errorf("%d requests wait, want %d", got, len(m.waiting))
	}
}

// TestCleaning counts the checkpoints that are being deleted. A delete that fails does not count: a store that deletes nothing must not keep
// the job from its checkpoints.
func TestCleaning(t *testing.T) {
	d := running(t, 1)
	want := func(n int, why string) {
		t.Helper()
		if got := d.m.Cleaning(); got != n {
			t.Errorf("%d checkpoints are being deleted, want %d: %s", got, n, why)
		}
	}
	want(0, "nothing is complete")
	d.checkpoint(1)
	d.holds(OpDeleteMetas)
	for i := range 3 {
		d.checkpoint(incremental.File(2 + i))
		want(1+i, "each completion drops the one before")
	}
	ops := d.takeHeld()
	d.reply(ops[0], journal.Unknown, nil)
	want(0, "the delete failed and is repeated")
	d.checkpoint(7)
	want(0, "it is still being repeated")
	d.holds(OpDeleteFiles)
	ops = d.takeHeld()
	d.reply(ops[0], journal.Done, nil)
	want(1, "the newest _metadata waits for its turn, or the files do")
	d.release()
	want(0, "all are deleted")
	d.holds(OpDeleteFiles)
	d.checkpoint(8)
	want(1, "the _metadata is deleted, and the files are not")
	d.reply(d.takeHeld()[0], journal.Unknown, nil)
	want(0, "the delete of the files failed")
	d.release()
	d.do(Event{Kind: EventStop})
	want(0, "the job is another's")
}
