package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"golang.org/x/sys/unix"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/demo"
	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/launch"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/proto/address"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/runtime/launcher"
	"github.com/ckptd/ckptd/service/coordinator"
)

// noteTaker makes the test binary a worker that notes what it asks and hears: noteTaker INDEX FILE DAEMON...
const noteTaker = "note-taker"

// The kinds of notes of a worker. noteAcks is written before an acknowledgement is sent, the others after a command has come.
const (
	noteAcks     = "acknowledges"
	noteComplete = "complete"
	noteAborted  = "aborted"
)

// note is a line of a worker's notes. At is the time of a clock that all processes of this machine share.
type note struct {
	At        int64
	Kind      string
	Epoch, ID uint64
}

// monotonic is a time that rises, and is the same in all processes. The clock on the wall may be set.
func monotonic() int64 {
	var at unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &at); err != nil {
		panic(err)
	}
	return at.Nano()
}

// notedJob is the job of the workers that take notes.
func notedJob() client.JobSpec {
	config := client.DefaultConfig(20 * time.Millisecond)
	config.TolerableFailedCheckpoints = coordinator.Never
	config.RestartStrategy = client.RestartStrategy{Type: client.FixedDelay, Attempts: coordinator.Never, Delay: 20 * time.Millisecond}
	return client.JobSpec{ID: "noted", Config: config, Plan: &client.Plan{Operators: []client.Operator{
		{ID: "count", Name: "count", Parallelism: 2, MaxParallelism: 2, Triggered: true},
	}}}
}

// takeNotes is the worker with the given arguments.
func takeNotes(ctx context.Context, args []string) int {
	index, err := strconv.ParseUint(args[0], 10, 32)
	if err == nil {
		err = takeNotesOf(ctx, client.Subtask{Operator: "count", Index: uint32(index)}, args[1], args[2:])
	}
	if err != nil && !errors.Is(err, client.ErrJobTerminal) {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func takeNotesOf(ctx context.Context, mine client.Subtask, path string, daemons []string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	defer file.Close()
	c, err := client.New(daemons, client.WithPatience(10*time.Second))
	if err != nil {
		return err
	}
	defer c.Close()
	job, err := c.AttachJob(ctx, notedJob())
	if err != nil {
		return err
	}
	session, err := job.Register(ctx, client.Registration{Subtasks: []client.Subtask{mine}})
	if err != nil {
		return err
	}
	defer session.Close()
	notes := json.NewEncoder(file)
	var taking snapshots
	defer taking.stop()
	for {
		cmd, err := session.Next(ctx)
		switch cmd := cmd.(type) {
		case client.Start:
			err = job.Report(ctx, client.Report{Kind: client.ReportRunning, Attempt: cmd.Attempt})
			if errors.Is(err, client.ErrStaleAttempt) {
				err = nil // a newer Start follows
			}
		case client.Trigger:
			if err = notes.Encode(note{monotonic(), noteAcks, cmd.Epoch, cmd.Checkpoint}); err == nil {
				taking.begin(ctx, func(ctx context.Context) { snapshot(ctx, job, session.Nonce(), mine, cmd) })
			}
		case client.Complete:
			err = notes.Encode(note{monotonic(), noteComplete, cmd.Epoch, cmd.Checkpoint})
		case client.Abort:
			err = notes.Encode(note{monotonic(), noteAborted, cmd.Epoch, cmd.Checkpoint})
		}
		if err != nil {
			return err
		}
	}
}

// snapshots are the snapshots of a worker. One may wait for a daemon that is suspended. The next one, for another daemon, ends the wait.
type snapshots struct {
	cancel  context.CancelFunc
	running sync.WaitGroup
}

func (s *snapshots) begin(ctx context.Context, take func(context.Context)) {
	s.stop()
	ctx, s.cancel = context.WithCancel(ctx)
	s.running.Go(func() { take(ctx) })
}

func (s *snapshots) stop() {
	if s.cancel != nil {
		s.cancel()
	}
	s.running.Wait()
}

// snapshot acknowledges a checkpoint with a file of its own, or declines it.
func snapshot(ctx context.Context, job *client.Job, instance string, mine client.Subtask, cmd client.Trigger) {
	state := fmt.Sprintf("subtask %d in checkpoint %d of epoch %d", mine.Index, cmd.Checkpoint, cmd.Epoch)
	err := job.Snapshot(ctx, client.Snapshot{Attempt: cmd.Attempt, Epoch: cmd.Epoch, Checkpoint: cmd.Checkpoint,
		Subtasks: []client.SubtaskSnapshot{{Subtask: mine, Pieces: []client.Piece{{
			Name: fmt.Sprint("state-", cmd.Epoch, "-", cmd.Checkpoint), InstanceNonce: instance, Scope: client.Shared, Size: int64(len(state)),
			Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(state)), nil },
		}}}}})
	if err != nil && ctx.Err() == nil {
		_ = job.Decline(ctx, client.Decline{Attempt: cmd.Attempt, Epoch: cmd.Epoch, Checkpoint: cmd.Checkpoint, Subtasks: []client.Subtask{mine}})
	}
}

// readNotes reads the notes of a worker and its earlier lives. A worker that was killed may have left a piece of a line.
func readNotes(t *testing.T, path string) (all []note) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		var n note
		if json.Unmarshal(line, &n) == nil {
			all = append(all, n)
		}
	}
	return all
}

// commits makes operations of the notes of all workers. A commit begins when the last worker acknowledges, and has ended when the
// first one hears of it. An aborted one did not happen.
func commits(t *testing.T, workers ...[]note) (history []porcupine.Operation) {
	t.Helper()
	type told struct {
		calls             map[int]int64
		epoch             uint64
		end               int64
		complete, aborted bool
	}
	all := map[uint64]*told{}
	for w, notes := range workers {
		for _, n := range notes {
			c := all[n.ID]
			if c == nil {
				c = &told{calls: map[int]int64{}, end: never}
				all[n.ID] = c
			}
			switch n.Kind {
			case noteAcks:
				if c.epoch != 0 && c.epoch != n.Epoch {
					t.Errorf("checkpoint %d was triggered in epochs %d and %d", n.ID, c.epoch, n.Epoch)
				}
				if _, again := c.calls[w]; !again {
					c.calls[w] = n.At
				}
				c.epoch = n.Epoch
			case noteComplete:
				c.complete, c.end = true, min(c.end, n.At)
			case noteAborted:
				c.aborted = true
			}
		}
	}
	for id, c := range all {
		switch {
		case c.complete && c.aborted:
			t.Errorf("checkpoint %d was told complete and aborted", id)
		case c.complete && len(c.calls) < len(workers):
			t.Errorf("checkpoint %d was told complete, and %d of %d workers have acknowledged it", id, len(c.calls), len(workers))
		case !c.aborted && len(c.calls) == len(workers):
			call := int64(0)
			for _, at := range c.calls {
				call = max(call, at)
			}
			history = append(history, done(commit{c.epoch, id}, call, outcome{unknown: !c.complete}, c.end))
		}
	}
	return history
}

// scene is a job of two workers under two daemons over one root, and those who attach to it and pin its checkpoints.
type scene struct {
	*rig
	opened  storage.Opened
	daemons []*launcher.Process
	workers []*launcher.Process
	notes   []string

	mu      sync.Mutex
	history []porcupine.Operation
	held    int // pins that were taken
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{rig: newRigFor(t, 5*time.Minute, demo.Options{Records: 1})}
	s.ID = notedJob().ID
	s.must(s.Count(s.ctx))
	s.must(s.StartDaemon(s.ctx))
	s.daemons = []*launcher.Process{s.Daemon, s.second()}
	var err error
	s.opened, err = drivers.Open(s.ctx, s.bare, false)
	s.must(err)
	t.Cleanup(func() { s.opened.Close() })
	for i := range 2 {
		path := filepath.Join(t.TempDir(), "notes")
		daemons := slices.Clone(s.Servers)
		if i == 1 {
			slices.Reverse(daemons)
		}
		w, err := s.Child(fmt.Sprint("worker-", i), launcher.OnFailure, append([]string{noteTaker, strconv.Itoa(i), path}, daemons...)...)
		s.must(err)
		s.workers, s.notes = append(s.workers, w), append(s.notes, path)
	}
	return s
}

func (s *scene) record(o porcupine.Operation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history = append(s.history, o)
}

// attach attaches the job at one daemon again and again, and does not follow to another one. A call that fails may have raised the epoch,
// as any daemon may by itself.
func (s *scene) attach(ctx context.Context, daemon int) {
	at, err := address.Parse(s.Servers[daemon])
	if err != nil {
		s.t.Error(err)
		return
	}
	transport := at.Transport(&address.Options{})
	defer transport.CloseIdleConnections()
	engine := ckptdv1connect.NewEngineServiceClient(at.Client(transport, nil), at.BaseURL())
	for launch.Sleep(ctx, pollEvery) {
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		call := monotonic()
		if res, err := engine.AttachJob(try, &ckptdv1.AttachJobRequest{JobId: s.ID}); err == nil {
			s.record(done(attach{daemon + 1}, call, outcome{epoch: res.GetEpoch()}, monotonic()))
		}
		cancel()
	}
}

// lend pins the checkpoint that was the newest a moment ago, looks whether its files are there, and gives the pin back.
func (s *scene) lend(ctx context.Context, lender int) {
	var last uint64
	for launch.Sleep(ctx, pollEvery/time.Duration(5*(lender+1))) {
		id := last
		head, err := catalog.Head(ctx, s.opened.Store, s.ID)
		if err == nil {
			last = head.Newest()
		}
		if id == 0 || lender == 0 {
			id = last // the other lender comes too late at times
		}
		if id == 0 || ctx.Err() != nil {
			continue
		}
		call := monotonic()
		pin, err := journalio.Hold(context.WithoutCancel(ctx), s.opened.Store, s.opened.Facts, s.ID, id, "test", time.Hour)
		refused := errors.Is(err, journalio.ErrNotKept)
		if err != nil && !refused {
			s.check(err)
			return
		}
		s.record(done(lend{lender, id}, call, outcome{refused: refused}, monotonic()))
		if refused {
			continue
		}
		launch.Sleep(ctx, pollEvery)
		s.whole(id)
		call = monotonic()
		s.check(pin.Return(context.WithoutCancel(ctx)))
		s.record(done(giveBack{lender}, call, outcome{}, monotonic()))
	}
}

// whole checks that all files of a pinned checkpoint are there.
func (s *scene) whole(id uint64) {
	show, err := catalog.New(s.opened.Store).Files(s.ctx, s.ID, id)
	s.check(err)
	for _, f := range show.GetFiles() {
		if f.GetPresence() != ckptdv1.FilePresence_FILE_PRESENCE_PRESENT {
			s.t.Errorf("checkpoint %d is pinned, and %s is %v", id, f.GetFile().GetKey(), f.GetPresence())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held++
}

// check is must for a goroutine.
func (s *scene) check(err error) {
	if err != nil {
		s.t.Error(err)
	}
}

// until waits until the head of the job's journal is as wanted.
func (s *scene) until(what string, is func(*journal.Entry) bool) *journal.Entry {
	s.t.Helper()
	for {
		head, err := catalog.Head(s.ctx, s.opened.Store, s.ID)
		if err == nil && is(head) {
			return head
		}
		if !launch.Sleep(s.ctx, pollEvery/5) {
			s.t.Fatalf("never: %s: %+v, %v", what, head, err)
		}
	}
}

// goesOn waits for two more checkpoints.
func (s *scene) goesOn() *journal.Entry {
	s.t.Helper()
	var from uint64
	s.until("a head", func(e *journal.Entry) bool { from = e.Newest(); return true })
	return s.until("two more checkpoints", func(e *journal.Entry) bool { return e.Newest() > from+1 && !e.Owner.IsZero() })
}

// owner is the daemon that an entry names.
func (s *scene) owner(e *journal.Entry) *launcher.Process {
	s.t.Helper()
	for i, url := range s.Servers {
		if slices.Contains(e.URLs, url) {
			return s.daemons[i]
		}
	}
	s.t.Fatalf("the owner is at %q, want one of %q", e.URLs, s.Servers)
	return nil
}

// harm kills or suspends a process, and waits until the job goes on.
func (s *scene) harm(n int) {
	s.t.Helper()
	head := s.goesOn()
	owner, worker := s.owner(head), s.workers[n/4%2]
	switch n % 4 {
	case 0: // until the other daemon has taken the job over
		_, err := owner.Pause()
		s.must(err)
		s.until("the other daemon owns the job", func(e *journal.Entry) bool { return e.Epoch > head.Epoch })
		s.goesOn()
		_, err = owner.Resume()
		s.must(err)
	case 1:
		_, err := worker.Kill()
		s.must(err)
	case 2:
		_, err := owner.Kill()
		s.must(err)
	case 3:
		_, err := worker.Pause()
		s.must(err)
		launch.Sleep(s.ctx, 5*pollEvery)
		_, err = worker.Resume()
		s.must(err)
	}
	s.goesOn()
}

// Two daemons over one root and two workers that know them in different orders are killed and suspended, while others attach and pin
// checkpoints. What all of them were told can have happened in one order, each operation between its call and its answer.
func TestHistoriesAreLinearizable(t *testing.T) {
	t.Parallel()
	harms := 4
	if os.Getenv("CKPTD_NIGHTLY") != "" {
		harms = 40
	}
	s := newScene(t)
	ctx, stop := context.WithCancel(s.ctx)
	defer stop()
	var others sync.WaitGroup
	for daemon := range s.Servers {
		others.Go(func() { s.attach(ctx, daemon) })
	}
	for lender := range lenders {
		others.Go(func() { s.lend(ctx, lender) })
	}
	for n := range harms {
		s.harm(n)
	}
	stop()
	others.Wait()
	head := s.goesOn()
	s.must(s.Stop(s.ctx))
	history := append(s.history, commits(t, readNotes(t, s.notes[0]), readNotes(t, s.notes[1]))...)
	t.Logf("epoch %d, checkpoint %d, %d operations, %d pins", head.Epoch, head.Newest(), len(history), s.held)
	if head.Epoch < 2 || s.held == 0 {
		t.Errorf("epoch %d and %d pins: the history shows no take-over, or no pin", head.Epoch, s.held)
	}
	s.judge(history)
}

// judge checks a history, and that the check sees a commit of an earlier owner in it.
func (s *scene) judge(history []porcupine.Operation) {
	s.t.Helper()
	slices.SortFunc(history, func(a, b porcupine.Operation) int { return int(a.Call/1000 - b.Call/1000) })
	if got := linearizable(history, time.Minute); got != porcupine.Ok {
		s.t.Errorf("the history is %s\n%s", got, printed(history))
		return
	}
	for i := len(history) - 1; i >= 0; i-- {
		c, is := history[i].Input.(commit)
		if !is || history[i].Output.(outcome).unknown {
			continue
		}
		history[i].Input = commit{c.epoch - 1, c.id}
		if got := linearizable(history, time.Minute); got != porcupine.Illegal {
			s.t.Errorf("checkpoint %d by the owner of epoch %d instead of %d: the history is %s, want it illegal", c.id, c.epoch-1, c.epoch, got)
		}
		return
	}
	s.t.Error("no checkpoint is known to be complete")
}
