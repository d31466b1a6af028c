package runtime_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/runtime"
)

// daemon is a small coordinator in memory, for the runtime's tests: one job, attempts, one checkpoint at a time.
type daemon struct {
	t    *testing.T
	plan *client.Plan
	// refuse is called before each acknowledgement; the worker gets its error.
	refuse func(context.Context, client.Snapshot) error
	// hear, if set, is called with each report before it counts. The worker gets its error.
	hear func(client.Report) error
	// mute decides which commands are lost.
	mute func(client.Command) bool

	mu       sync.Mutex
	change   chan struct{} // closed and replaced whenever something happened
	epoch    uint64
	attempt  uint64
	begun    bool // the attempt's Start was sent
	restored uint64
	lastID   uint64
	pending  *checkpoint
	complete []*checkpoint
	workers  map[string]*session
	running  map[string]bool // nonces of the attempt
	ended    map[client.Subtask]bool
	commits  map[client.Subtask]uint64
	causes   []string
	declines []client.Decline
	files    map[string][]byte
	names    map[string]string // instance nonce and name -> key
	uploads  int
	terminal bool
	told     []told // what workers have reported in the attempt, for the next owner
}

// told is a report and the process that made it.
type told struct {
	nonce  string
	report client.Report
}

type checkpoint struct {
	id, attempt, epoch uint64
	handles            map[client.Subtask][]client.Handle
}

func newDaemon(t *testing.T, plan *client.Plan) *daemon {
	return &daemon{
		t: t, plan: plan, change: make(chan struct{}), epoch: 1, workers: map[string]*session{}, files: map[string][]byte{}, names: map[string]string{},
		running: map[string]bool{}, ended: map[client.Subtask]bool{}, commits: map[client.Subtask]uint64{},
	}
}

func (d *daemon) changedLocked() {
	close(d.change)
	d.change = make(chan struct{})
}

// await waits until a condition holds; it checks the condition under the lock.
func (d *daemon) await(what string, is func() bool) {
	d.t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		d.mu.Lock()
		ok, change := is(), d.change
		d.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-change:
		case <-deadline:
			d.mu.Lock()
			defer d.mu.Unlock()
			d.t.Fatalf("not reached in time: %s (attempt %d, %d complete, pending %v, running %v, causes %q)", what, d.attempt, len(d.complete), d.pending, d.running, d.causes)
		}
	}
}

func (d *daemon) sendLocked(c client.Command) {
	for _, s := range d.workers {
		s.put(c)
	}
}

// beginLocked starts the next attempt if all subtasks are registered.
func (d *daemon) beginLocked() {
	owners := map[client.Subtask]*session{}
	for _, s := range d.workers {
		for _, sub := range s.registration.Subtasks {
			owners[sub] = s
		}
	}
	var roster []client.RosterEntry
	for _, o := range d.plan.Operators {
		for i := range o.Parallelism {
			sub := client.Subtask{Operator: o.ID, Index: i}
			s := owners[sub]
			if s == nil {
				return
			}
			roster = append(roster, client.RosterEntry{Subtask: sub, ExchangeAddress: s.registration.ExchangeAddress, Nonce: s.registration.Nonce})
		}
	}
	d.attempt++
	d.begun, d.restored = true, 0
	if n := len(d.complete); n > 0 {
		d.restored = d.complete[n-1].id
	}
	clear(d.running)
	clear(d.ended)
	d.told = nil
	d.sendLocked(client.Start{Attempt: d.attempt, Epoch: d.epoch, Restore: d.restored, Roster: roster})
}

// failLocked ends the attempt and begins the next.
func (d *daemon) failLocked() {
	d.begun, d.pending = false, nil
	d.beginLocked()
	d.changedLocked()
}

func (d *daemon) allRunningLocked() bool { return d.begun && len(d.running) == len(d.workers) }

// trigger begins a checkpoint and returns its id, or 0 if it cannot begin one now.
func (d *daemon) trigger() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.allRunningLocked() || d.pending != nil || d.terminal {
		return 0
	}
	d.lastID++
	d.pending = &checkpoint{id: d.lastID, attempt: d.attempt, epoch: d.epoch, handles: map[client.Subtask][]client.Handle{}}
	d.sendLocked(client.Trigger{Attempt: d.attempt, Epoch: d.epoch, Checkpoint: d.lastID, Time: time.Now()})
	return d.lastID
}

func (d *daemon) abort(reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pending != nil {
		d.abortLocked(reason)
	}
}

func (d *daemon) abortLocked(reason string) {
	a := client.Abort{Attempt: d.attempt, Epoch: d.epoch, Checkpoint: d.pending.id, Reason: reason}
	if n := len(d.complete); n > 0 {
		a.LatestComplete = d.complete[n-1].id
	}
	d.pending = nil
	d.sendLocked(a)
	d.changedLocked()
}

// restart plays the daemon's death and its return as the owner of the next epoch, which adopts the attempt. The sessions
// register again, and their registrations carry what the workers have reported.
func (d *daemon) restart() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.epoch++
	lost := d.pending
	d.pending = nil
	clear(d.running)
	clear(d.ended)
	clear(d.commits)
	for _, t := range d.told {
		d.countLocked(t)
	}
	if n := len(d.complete); n > 0 && d.complete[n-1].id > d.restored {
		d.sendLocked(client.Complete{Attempt: d.attempt, Epoch: d.epoch, Checkpoint: d.complete[n-1].id})
	}
	if lost != nil {
		d.sendLocked(client.Abort{Attempt: d.attempt, Epoch: d.epoch, Checkpoint: lost.id})
	}
	d.changedLocked()
}

// cancel ends the job.
func (d *daemon) cancel() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.terminal = true
	d.sendLocked(client.Cancel{})
}

// attached is one worker's view of the daemon.
type attached struct {
	*daemon
	nonce string
}

func (d *daemon) attach(context.Context, int) (runtime.Coordinator, error) {
	return &attached{daemon: d}, nil
}

func (a *attached) Register(_ context.Context, r client.Registration) (runtime.Session, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.nonce = r.Nonce
	s := &session{daemon: a.daemon, registration: r, wake: make(chan struct{}, 1)}
	for nonce, old := range a.workers {
		if slices.Equal(old.registration.Subtasks, r.Subtasks) {
			old.put(client.Replaced{})
			delete(a.workers, nonce)
		}
	}
	a.workers[r.Nonce] = s
	a.failLocked()
	return s, nil
}

func (a *attached) Assignment(_ context.Context, attempt uint64, subtasks []client.Subtask) ([]client.SubtaskState, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if attempt != a.attempt {
		return nil, client.ErrStaleAttempt
	}
	var out []client.SubtaskState
	for _, sub := range subtasks {
		s := client.SubtaskState{Subtask: sub}
		if a.restored > 0 {
			i := slices.IndexFunc(a.complete, func(c *checkpoint) bool { return c.id == a.restored })
			s.Handles = a.complete[i].handles[sub]
		}
		out = append(out, s)
	}
	return out, nil
}

func (a *attached) Fetch(_ context.Context, h client.Handle, path string) error {
	a.mu.Lock()
	b, ok := a.files[h.File.Key]
	a.mu.Unlock()
	if !ok {
		return client.ErrNotFound
	}
	return os.WriteFile(path, b, 0o666)
}

func (a *attached) Snapshot(ctx context.Context, s client.Snapshot) error {
	if a.refuse != nil {
		if err := a.refuse(ctx, s); err != nil {
			return err
		}
	}
	got := map[client.Subtask][]client.Handle{}
	for _, sub := range s.Subtasks {
		for _, p := range sub.Pieces {
			h, err := a.store(p)
			if err != nil {
				return err
			}
			got[sub.Subtask] = append(got[sub.Subtask], h)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case s.Attempt != a.attempt:
		return client.ErrStaleAttempt
	case s.Epoch != a.epoch:
		return client.ErrStaleEpoch
	case a.pending == nil || a.pending.id != s.Checkpoint:
		return client.ErrNotOpen
	}
	for _, sub := range s.Subtasks {
		if _, twice := a.pending.handles[sub.Subtask]; twice {
			a.t.Errorf("%v acknowledged checkpoint %d twice, want once", sub.Subtask, s.Checkpoint)
		}
		a.pending.handles[sub.Subtask] = got[sub.Subtask]
	}
	all := 0
	for _, o := range a.plan.Operators {
		all += int(o.Parallelism)
	}
	if _, held := a.pending.handles[client.Subtask{Operator: "elsewhere"}]; len(a.pending.handles) == all && !held {
		done := a.pending
		a.pending = nil
		a.complete = append(a.complete, done)
		a.sendLocked(client.Complete{Attempt: done.attempt, Epoch: done.epoch, Checkpoint: done.id})
		a.changedLocked()
	}
	return nil
}

func (a *attached) store(p client.Piece) (client.Handle, error) {
	h := client.Handle{Name: p.Name, InstanceNonce: p.InstanceNonce, Scope: p.Scope, KeyGroups: p.KeyGroups}
	if p.Open == nil {
		h.Inline = bytes.Clone(p.Inline)
		return h, nil
	}
	a.mu.Lock()
	key, known := a.names[p.InstanceNonce+"/"+p.Name]
	a.mu.Unlock()
	if !known {
		r, err := p.Open()
		if err != nil {
			return h, err
		}
		defer r.Close()
		b, err := io.ReadAll(r)
		if err != nil || int64(len(b)) != p.Size {
			return h, fmt.Errorf("%d bytes of %d: %w", len(b), p.Size, errors.Join(err, client.ErrSource))
		}
		a.mu.Lock()
		a.uploads++
		key = fmt.Sprintf("file-%d", a.uploads)
		a.files[key] = b
		if p.Scope == client.Shared {
			a.names[p.InstanceNonce+"/"+p.Name] = key
		}
		a.mu.Unlock()
	}
	h.File = &client.File{Key: key, Length: uint64(p.Size)}
	return h, nil
}

func (a *attached) Decline(_ context.Context, x client.Decline) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.declines = append(a.declines, x)
	if a.pending != nil && a.pending.id == x.Checkpoint {
		a.abortLocked(x.Reason)
	}
	return nil
}

func (a *attached) Report(_ context.Context, r client.Report) error {
	if a.hear != nil {
		if err := a.hear(r); err != nil {
			return err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.changedLocked()
	if r.Attempt != a.attempt || a.workers[a.nonce] == nil {
		return client.ErrStaleAttempt
	}
	if r.Kind == client.ReportFailed {
		a.causes = append(a.causes, r.Cause)
		a.failLocked()
		return nil
	}
	t := told{a.nonce, r}
	a.told = append(a.told, t)
	a.countLocked(t)
	return nil
}

// countLocked counts what a worker says of the attempt.
func (d *daemon) countLocked(t told) {
	switch t.report.Kind {
	case client.ReportRunning:
		d.running[t.nonce] = true
	case client.ReportEndOfData:
		for _, s := range t.report.Subtasks {
			d.ended[s] = true
		}
	case client.ReportCommitted:
		for _, s := range t.report.Subtasks {
			d.commits[s] = t.report.Checkpoint
		}
	}
}

// session is a registration; any number of commands may wait in it.
type session struct {
	daemon       *daemon
	registration client.Registration
	wake         chan struct{}
	// frozen sessions receive nothing; the daemon's lock guards it.
	frozen bool

	mu    sync.Mutex
	queue []client.Command
}

// put is called under the daemon's lock.
func (s *session) put(c client.Command) {
	if s.frozen || (s.daemon.mute != nil && s.daemon.mute(c)) {
		return
	}
	s.mu.Lock()
	s.queue = append(s.queue, c)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *session) Next(ctx context.Context) (client.Command, error) {
	for {
		s.mu.Lock()
		if len(s.queue) > 0 {
			c := s.queue[0]
			s.queue = s.queue[1:]
			s.mu.Unlock()
			return c, nil
		}
		s.mu.Unlock()
		select {
		case <-s.wake:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Close is the end of the process, as the daemon sees it.
func (s *session) Close() error {
	d := s.daemon
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.workers[s.registration.Nonce] == s && !d.terminal {
		delete(d.workers, s.registration.Nonce)
		d.begun, d.pending = false, nil
		d.changedLocked()
	}
	return nil
}

// committedEverywhere reports whether all sinks have reported the commit of a checkpoint.
func (d *daemon) committedEverywhere(id uint64, sinks int) bool {
	return len(d.commits) == sinks && !slices.ContainsFunc(slices.Collect(maps.Values(d.commits)), func(c uint64) bool { return c < id })
}
