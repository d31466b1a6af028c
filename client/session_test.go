package client

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

func trigger(epoch, checkpoint uint64) *ckptdv1.RegisterResponse {
	return &ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Trigger{
		Trigger: &ckptdv1.Trigger{Attempt: 2, Epoch: epoch, CheckpointId: checkpoint},
	}}
}

var mine = []Subtask{{Operator: "source", Index: 0}}

func next(t *testing.T, s *Session) Command {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := s.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNewRefusesBadURLs(t *testing.T) {
	for _, u := range []string{"", "localhost", "ftp://x", "unix:relative", "http://", "http://h/path"} {
		if _, err := New([]string{u}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", u, err)
		}
	}
	if _, err := New(nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("no URL: %v", err)
	}
}

func TestAttachFollowsTheOwner(t *testing.T) {
	c := newCluster(t)
	a, b := c.start(daemonOptions{}), c.start(daemonOptions{network: "unix"})
	c.owner, c.epoch = b, 7
	_, job := c.client([]string{a.url})
	if e, _ := job.current(); e.url != b.url || job.Epoch() != 7 || job.Attempt() != 1 {
		t.Errorf("owner %s, epoch %d, attempt %d", e.url, job.Epoch(), job.Attempt())
	}
	if n := job.Config().NumRetained; n != 7 {
		t.Errorf("the configuration retains %d, want the 7 that the daemon answered", n)
	}
	// The owner changes: a call reaches the old one and follows.
	c.mu.Lock()
	c.owner, c.epoch = a, 8
	c.mu.Unlock()
	if err := job.Report(t.Context(), Report{Kind: ReportRunning, Attempt: 1}); err != nil {
		t.Fatal(err)
	}
	if e, _ := job.current(); e.url != a.url || job.Epoch() != 8 {
		t.Errorf("owner %s, epoch %d", e.url, job.Epoch())
	}
}

func TestPatienceEnds(t *testing.T) {
	c := newCluster(t)
	d := c.start(daemonOptions{})
	d.kill()
	retries := 0
	cl, err := New([]string{d.url, "unix:" + filepath.Join(t.TempDir(), "none")}, WithPatience(300*time.Millisecond), WithOnRetry(func(error, time.Duration) { retries++ }))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	_, err = cl.AttachJob(t.Context(), JobSpec{ID: "job"})
	if !errors.Is(err, ErrUnavailable) || retries == 0 {
		t.Errorf("%v after %d retries", err, retries)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("no longer wanted")
	cancel(why)
	if _, err = cl.AttachJob(ctx, JobSpec{ID: "job"}); !errors.Is(err, why) {
		t.Errorf("cancelled: %v", err)
	}
}

// A daemon that points to itself, or in a circle, is not followed for ever.
func TestRedirectLoopEnds(t *testing.T) {
	c := newCluster(t)
	a := c.start(daemonOptions{})
	c.owner = &daemon{url: a.url}
	cl, err := New([]string{a.url}, WithPatience(200*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err = cl.AttachJob(t.Context(), JobSpec{ID: "job"}); !errors.Is(err, ErrNotOwner) {
		t.Errorf("got %v", err)
	}
	if n := len(c.attaches); n > 40 {
		t.Errorf("%d attaches", n)
	}
}

// The session goes on over the death of its daemon, a take-over by another, and that one's return.
func TestSessionOutlivesDaemons(t *testing.T) {
	c := newCluster(t)
	path := filepath.Join(t.TempDir(), "a")
	a := c.start(daemonOptions{network: "unix", path: path})
	a.script = []*ckptdv1.RegisterResponse{trigger(1, 1)}
	b := c.start(daemonOptions{})
	b.script = []*ckptdv1.RegisterResponse{trigger(2, 2)}
	_, job := c.client([]string{a.url, b.url})
	s, err := job.Register(t.Context(), Registration{Subtasks: mine, Records: func() uint64 { return 42 }})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := next(t, s), (Trigger{Attempt: 2, Epoch: 1, Checkpoint: 1, Time: time.Unix(0, 0).UTC(), Kind: ConfiguredCheckpoint}); got != want {
		t.Fatalf("got %v", got)
	}
	if err := job.Report(t.Context(), Report{Kind: ReportRunning, Attempt: 2}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a sign of life", c.locked(func() bool {
		for _, r := range c.reports {
			if r.GetKind() == ckptdv1.ReportRequest_KIND_ALIVE && r.GetRecords() == 42 && r.GetAttempt() == 2 && r.GetNonce() == s.Nonce() {
				return true
			}
		}
		return false
	}))
	a.kill()
	if got := next(t, s).(Trigger); got.Epoch != 2 {
		t.Fatalf("got %v", got)
	}
	c.mu.Lock()
	if r := c.registry[len(c.registry)-1]; r.GetAttempt() != 2 || r.GetNonce() != s.Nonce() {
		t.Errorf("registered again as %v", r)
	}
	c.mu.Unlock()
	b.kill()
	a = c.start(daemonOptions{network: "unix", path: path})
	c.mu.Lock()
	a.script = []*ckptdv1.RegisterResponse{trigger(3, 3)}
	c.mu.Unlock()
	for {
		if got := next(t, s).(Trigger); got.Epoch == 3 {
			break
		}
	}
	// Reports carry the new owner's epoch.
	if err := job.Report(t.Context(), Report{Kind: ReportRunning, Attempt: 2}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := s.Next(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// A registration carries what the process does: the attempt, the reports that hold, the checkpoints under way. A report
// made while the session registers is repeated until it is heard, because the daemon may have had to drop it.
func TestRegistrationCarriesWhatTheProcessDoes(t *testing.T) {
	const alive, running, atEnd = ckptdv1.ReportRequest_KIND_ALIVE, ckptdv1.ReportRequest_KIND_RUNNING, ckptdv1.ReportRequest_KIND_END_OF_DATA
	for name, refuse := range map[string]map[ckptdv1.ReportRequest_Kind]int{
		"all is heard":                         {},
		"the sign of life before is not heard": {alive: 2},
		"the report is not heard":              {atEnd: 2},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			a, b := c.start(daemonOptions{}), c.start(daemonOptions{})
			a.script = []*ckptdv1.RegisterResponse{
				{Command: &ckptdv1.RegisterResponse_Start{Start: &ckptdv1.Start{Attempt: 2, Epoch: 1}}}, trigger(1, 4), trigger(1, 5),
				{Command: &ckptdv1.RegisterResponse_Complete{Complete: &ckptdv1.Complete{Attempt: 2, Epoch: 1, CheckpointId: 4}}},
			}
			b.script = []*ckptdv1.RegisterResponse{trigger(2, 9)}
			_, job := c.client([]string{a.url, b.url})
			s, err := job.Register(t.Context(), Registration{Subtasks: mine})
			if err != nil {
				t.Fatal(err)
			}
			for range a.script {
				next(t, s)
			}
			if err := job.Report(t.Context(), Report{Kind: ReportRunning, Subtasks: mine, Attempt: 2}); err != nil {
				t.Fatal(err)
			}
			a.kill()
			c.mu.Lock()
			c.owner, c.epoch, c.reports, c.refuseReports = b, 2, nil, refuse
			c.mu.Unlock()
			next(t, s)
			job.standing.note(Report{Kind: ReportEndOfData, Subtasks: mine, Attempt: 2}) // as a Report does whose answer says nothing
			c.mu.Lock()
			r := c.registry[len(c.registry)-1]
			c.mu.Unlock()
			if r.GetAttempt() != 2 || len(r.GetReports()) != 1 || r.GetReports()[0].GetKind() != running || len(r.GetReports()[0].GetSubtasks()) != 1 ||
				!slices.Equal(r.GetBegunCheckpointIds(), []uint64{5}) {
				t.Errorf("registered as %v, want attempt 2, running, checkpoint 5 under way", r)
			}
			eventually(t, "the late report at the new owner", c.locked(func() bool {
				return slices.ContainsFunc(c.reports, func(r *ckptdv1.ReportRequest) bool { return r.GetKind() == atEnd && r.GetEpoch() == 2 })
			}))
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, r := range c.reports {
				if r.GetKind() == running {
					t.Errorf("reported again: %v; want it only in the registration", r)
				}
			}
		})
	}
}

// A process that has given its attempt up registers as running none.
func TestRegistrationAfterAFailure(t *testing.T) {
	c := newCluster(t)
	a, b := c.start(daemonOptions{}), c.start(daemonOptions{})
	a.script = []*ckptdv1.RegisterResponse{{Command: &ckptdv1.RegisterResponse_Start{Start: &ckptdv1.Start{Attempt: 2, Epoch: 1}}}}
	b.script = []*ckptdv1.RegisterResponse{trigger(2, 9)}
	_, job := c.client([]string{a.url, b.url})
	s, err := job.Register(t.Context(), Registration{Subtasks: mine})
	if err != nil {
		t.Fatal(err)
	}
	next(t, s)
	for _, r := range []Report{{Kind: ReportRunning, Attempt: 2}, {Kind: ReportRunning, Attempt: 1}, {Kind: ReportFailed, Attempt: 1}, {Kind: ReportFailed, Attempt: 2}} {
		if got := s.attempt.Load(); got != 2 {
			t.Errorf("runs attempt %d before %v, want 2", got, r)
		}
		if err := job.Report(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	s.reported(Report{Kind: ReportRunning, Attempt: 2}) // it comes late
	a.kill()
	c.mu.Lock()
	c.owner, c.epoch = b, 2
	c.mu.Unlock()
	next(t, s)
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.registry[len(c.registry)-1]; r.GetAttempt() != 0 || len(r.GetReports()) != 0 {
		t.Errorf("registered as %v, want no attempt", r)
	}
}

func TestReregisterIsFollowed(t *testing.T) {
	c := newCluster(t)
	a := c.start(daemonOptions{})
	a.script = []*ckptdv1.RegisterResponse{{Command: &ckptdv1.RegisterResponse_Reregister{Reregister: &ckptdv1.Reregister{}}}}
	_, job := c.client([]string{a.url})
	if _, err := job.Register(t.Context(), Registration{Subtasks: mine}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "three registrations", c.locked(func() bool { return len(c.registry) >= 3 }))
}

// A daemon that is frozen, or whose network swallows everything, is given up.
func TestSilentDaemonIsLeft(t *testing.T) {
	c := newCluster(t)
	a, b := c.start(daemonOptions{}), c.start(daemonOptions{})
	a.mute = true
	cl, job := c.client([]string{a.url, b.url})
	cl.options.silence = 300 * time.Millisecond
	b.script = []*ckptdv1.RegisterResponse{trigger(2, 2)}
	s, err := job.Register(t.Context(), Registration{Subtasks: mine})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a second registration", c.locked(func() bool { return len(c.registry) >= 2 }))
	c.mu.Lock()
	c.owner, c.epoch = b, 2
	c.mu.Unlock()
	if got := next(t, s).(Trigger); got.Epoch != 2 {
		t.Errorf("got %v", got)
	}
}

// Cancel and Replaced end the session; it does not register again.
func TestLastCommands(t *testing.T) {
	cases := []struct {
		told *ckptdv1.RegisterResponse
		want Command
		err  error
	}{
		{&ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Cancel{Cancel: &ckptdv1.Cancel{Status: ckptdv1.JobStatus_JOB_STATUS_CANCELED, Reason: "by hand"}}},
			Cancel{Status: StatusCanceled, Reason: "by hand"}, ErrJobTerminal},
		{&ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Replaced{Replaced: &ckptdv1.Replaced{}}}, Replaced{}, ErrReplaced},
	}
	for _, tc := range cases {
		c := newCluster(t)
		a := c.start(daemonOptions{})
		a.script = []*ckptdv1.RegisterResponse{tc.told}
		_, job := c.client([]string{a.url})
		s, err := job.Register(t.Context(), Registration{Subtasks: mine})
		if err != nil {
			t.Fatal(err)
		}
		if got := next(t, s); got != tc.want {
			t.Errorf("got %v, want %v", got, tc.want)
		}
		for range 2 {
			if _, err := s.Next(t.Context()); !errors.Is(err, tc.err) {
				t.Errorf("then %v, want %v", err, tc.err)
			}
		}
		s.running.Wait() // nothing is left that could register again, though nobody has closed the session
		if n := len(c.registry); n != 1 {
			t.Errorf("%d registrations", n)
		}
	}
}

// The job ended while its daemon was away: nobody has to tell the worker by a stream.
func TestTerminalWhileAway(t *testing.T) {
	c := newCluster(t)
	a, b := c.start(daemonOptions{}), c.start(daemonOptions{})
	cl, job := c.client([]string{a.url, b.url})
	s, err := job.Register(t.Context(), Registration{Subtasks: mine})
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	c.status = ckptdv1.JobStatus_JOB_STATUS_FAILED
	c.mu.Unlock()
	a.kill()
	if got := next(t, s).(Cancel); got.Status != StatusFailed {
		t.Errorf("got %v", got)
	}
	if _, err := s.Next(t.Context()); !errors.Is(err, ErrJobTerminal) {
		t.Errorf("then %v", err)
	}
	if _, err := cl.AttachJob(t.Context(), JobSpec{ID: "job"}); !errors.Is(err, ErrJobTerminal) {
		t.Errorf("attach: %v", err)
	}
}

func TestAssignmentPages(t *testing.T) {
	c := newCluster(t)
	a := c.start(daemonOptions{})
	handle := func(name string) *ckptdv1.StateHandle {
		return &ckptdv1.StateHandle{Name: name, Location: &ckptdv1.StateHandle_Inline{Inline: []byte(name)}, Scope: ckptdv1.Scope_SCOPE_SHARED,
			InstanceNonce: "n", KeyGroups: &ckptdv1.KeyGroupRange{Start: 1, End: 2}}
	}
	one, two := toSubtask(Subtask{"map", 1}), toSubtask(Subtask{"map", 2})
	c.states = []*ckptdv1.SubtaskState{
		{Subtask: two, Handles: []*ckptdv1.StateHandle{handle("a")}},
		{Subtask: one, Handles: []*ckptdv1.StateHandle{handle("b")}},
		{Subtask: two, Handles: []*ckptdv1.StateHandle{handle("c")}},
	}
	_, job := c.client([]string{a.url})
	got, err := job.Assignment(t.Context(), 1, []Subtask{{"map", 0}, {"map", 1}, {"map", 2}})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || len(got[0].Handles) != 0 || len(got[1].Handles) != 1 || len(got[2].Handles) != 2 {
		t.Fatalf("got %v", got)
	}
	if h := got[2].Handles[1]; h.Name != "c" || h.Scope != Shared || h.InstanceNonce != "n" || *h.KeyGroups != (KeyGroups{1, 2}) || string(h.Inline) != "c" {
		t.Errorf("got %v", h)
	}
	if got[1].Subtask != (Subtask{"map", 1}) {
		t.Errorf("got %v", got[1].Subtask)
	}
}

func TestErrorsAreTyped(t *testing.T) {
	c := newCluster(t)
	a := c.start(daemonOptions{})
	_, job := c.client([]string{a.url})
	if err := job.Decline(t.Context(), Decline{Epoch: 1, Checkpoint: 1}); !errors.Is(err, ErrNotOpen) {
		t.Errorf("decline: %v", err)
	}
	if n, err := job.NewAttempt(t.Context(), 4, "why"); n != 5 || err != nil {
		t.Errorf("new attempt: %d, %v", n, err)
	}
	if _, err := job.Register(t.Context(), Registration{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("register nobody: %v", err)
	}
	// Every reason of the API has an error of its own.
	for n := range ckptdv1.Refused_Reason_name {
		r := ckptdv1.Refused_Reason(n)
		if r == ckptdv1.Refused_REASON_UNSPECIFIED {
			continue
		}
		ce := classify(t.Context(), refusal(connect.CodeFailedPrecondition, &ckptdv1.Refused{Reason: r}))
		if ce.kind == nil || ce.retry {
			t.Errorf("%v: kind %v, retry %v", r, ce.kind, ce.retry)
		}
	}
}
