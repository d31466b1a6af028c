package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// farewellTime bounds the goodbye at the end of a session.
const farewellTime = time.Second

// Session is the registration of this process with the job's owner.
type Session struct {
	job *Job
	reg Registration
	// attempt is the attempt that the process runs, or was told to run; 0: none.
	attempt atomic.Uint64
	// known is true once an owner has answered a registration.
	known atomic.Bool
	// tell is true after a new registration, until the owner has received the reports that came during it.
	tell atomic.Bool
	// carried is the number of the last report that the registration has carried.
	carried atomic.Uint64
	cancel  context.CancelFunc
	running sync.WaitGroup
	// alive asks for a sign of life. One waiting request is enough.
	alive chan struct{}
	// wake tells Next to look at queue and err.
	wake chan struct{}

	mu sync.Mutex
	// queue is unbounded: a worker that calls Next rarely must still answer pings.
	queue []Command
	// failed is the newest attempt that the process has given up. A report that it runs may come late.
	failed uint64
	// err is what Next returns once the queue is empty and the session has ended.
	err error
}

// Register announces this process and the subtasks it runs. The session registers again by itself, at the same or another
// daemon, until a Cancel or Replaced has come or ctx has ended.
func (j *Job) Register(ctx context.Context, r Registration) (*Session, error) {
	if len(r.Subtasks) == 0 {
		return nil, j.wrap("register", fmt.Errorf("%w: no subtasks", ErrInvalid))
	}
	if r.Nonce == "" {
		r.Nonce = newID()
	}
	if r.Plan == nil {
		r.Plan = j.spec.Plan
	}
	outer := ctx
	ctx, cancel := context.WithCancel(outer)
	s := &Session{job: j, reg: r, cancel: cancel, alive: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
	s.attempt.Store(r.Attempt)
	c := j.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		cancel()
		return nil, j.wrap("register", ErrClosed)
	}
	c.sessions[s] = struct{}{}
	j.mu.Lock()
	j.nonce, j.session = r.Nonce, s
	j.number = max(j.number, r.Attempt)
	j.mu.Unlock()
	s.running.Go(func() {
		defer s.cancel()
		told := s.run(ctx)
		if !told && ctx.Err() != nil && !errors.Is(context.Cause(outer), ErrCrash) {
			s.farewell(ctx)
		}
	})
	s.running.Go(func() { s.signLife(ctx) })
	return s, nil
}

// Nonce is the process's nonce, as registered.
func (s *Session) Nonce() string { return s.reg.Nonce }

// Next waits for the next command. When it returns a Start, the session says from then on that the process runs that
// attempt; Report of a failure says that it runs none. Lost daemons, new owners and pings are handled inside. After Cancel it returns
// ErrJobTerminal, after Replaced ErrReplaced, after Close ErrClosed; an error that is not the context's ends the session.
func (s *Session) Next(ctx context.Context) (Command, error) {
	for {
		if c, err := s.take(); c != nil || err != nil {
			return c, s.job.wrap("session", err)
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return nil, s.job.wrap("session", context.Cause(ctx))
		}
	}
}

func (s *Session) take() (Command, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return nil, s.err
	}
	c := s.queue[0]
	s.queue = s.queue[1:]
	if start, ok := c.(Start); ok {
		s.attempt.Store(start.Attempt)
	}
	return c, nil
}

// reported follows a report of the process. A new owner continues only an attempt that no process has given up.
func (s *Session) reported(r Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.Kind == ReportRunning && r.Attempt > max(s.attempt.Load(), s.failed):
		s.attempt.Store(r.Attempt)
	case r.Kind == ReportFailed:
		s.failed = max(s.failed, r.Attempt)
		s.attempt.CompareAndSwap(r.Attempt, 0)
	}
}

// Close ends the session and says goodbye to the owner, as does the end of the context of Register. A goodbye is no
// failure: no restart strategy counts it, and the subtasks go on in the next attempt, as soon as they have another
// process. A process that stops because a subtask failed reports ReportFailed first. A context that ends with the cause
// ErrCrash ends the session without a goodbye.
func (s *Session) Close() error {
	s.finish(ErrClosed)
	s.cancel()
	s.running.Wait()
	c := s.job.client
	c.mu.Lock()
	delete(c.sessions, s)
	c.mu.Unlock()
	return nil
}

// put queues a command for Next.
func (s *Session) put(c Command) {
	s.mu.Lock()
	s.queue = append(s.queue, c)
	s.mu.Unlock()
	s.notify()
}

// finish makes Next return err once the queue is empty. The first call counts.
func (s *Session) finish(err error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = err
	}
	s.mu.Unlock()
	s.notify()
}

func (s *Session) notify() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run keeps a registration open until the session's end. told says that the owner ended the session: with Cancel or
// Replaced, or by refusing the registration.
func (s *Session) run(ctx context.Context) (told bool) {
	wait := newBackOff()
	for {
		e, generation := s.job.current()
		heard, err := s.listen(ctx, e)
		if heard {
			wait.Reset()
		}
		if s.ended(ctx, err) {
			return byOwner(classify(ctx, err))
		}
		ce := classify(ctx, err)
		// After a redirect or a Reregister the session registers again at once.
		if !s.job.redirect(generation, ce.notOwner) {
			if err := s.job.attach(ctx, generation, ce.silent); err != nil && s.ended(ctx, err) {
				return byOwner(classify(ctx, err))
			}
		}
		if !s.pause(ctx, wait, ce) {
			s.finish(context.Cause(ctx))
			return false
		}
	}
}

// byOwner tells whether the owner ended the session, not the process.
func byOwner(err error) bool {
	return errors.Is(err, ErrJobTerminal) || errors.Is(err, ErrReplaced)
}

// farewell says goodbye to the owner if the process ends the session. It tries once: an owner that does not hear the
// goodbye takes the process for lost. After Cancel and Replaced the owner does not need the goodbye.
func (s *Session) farewell(ctx context.Context) {
	if !s.known.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewellTime)
	defer cancel()
	req := s.job.report(Report{Attempt: s.attempt.Load()})
	req.Kind, req.Nonce = ckptdv1.ReportRequest_KIND_GOODBYE, s.reg.Nonce
	e, _ := s.job.current()
	_, _ = e.engine.Report(ctx, req)
}

// ended tells whether err ends the session. err comes from a registration or from the search for an owner. If it ends
// the session, ended tells Next.
func (s *Session) ended(ctx context.Context, err error) bool {
	ce := classify(ctx, err)
	switch {
	case ce.retry || errors.Is(ce, ErrStaleEpoch):
		return false
	case errors.Is(ce, ErrJobTerminal):
		if _, told := errors.AsType[endOfSession](err); !told {
			s.put(Cancel{Status: JobStatus(ce.refused.GetStatus()), Reason: ce.cause.Error()})
		}
	case errors.Is(ce, ErrReplaced):
		if _, told := errors.AsType[endOfSession](err); !told {
			s.put(Replaced{})
		}
	}
	s.finish(ce)
	return true
}

// endOfSession is the error after the session's last command.
type endOfSession struct{ error }

func (e endOfSession) Unwrap() error { return e.error }

// errReregister: the daemon releases the job.
var errReregister = &callError{retry: true, kind: ErrUnavailable, cause: errors.New("the daemon lets the job go")}

// listen registers with a daemon and queues its commands until the stream ends. heard tells whether the daemon has sent
// anything.
func (s *Session) listen(ctx context.Context, e *endpoint) (heard bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := s.job.client.options.silence
	lost := &callError{retry: true, silent: true, kind: ErrUnavailable, cause: fmt.Errorf("%s was silent for %v", e.url, silence)}
	watch := time.AfterFunc(silence, func() { cancel(lost) })
	defer watch.Stop()
	attempt := s.attempt.Load()
	reports, last := s.job.standing.after(attempt, 0)
	s.carried.Store(last)
	stream, err := e.engine.Register(ctx, &ckptdv1.RegisterRequest{
		JobId: s.job.spec.ID, Subtasks: toSubtasks(s.reg.Subtasks), ExchangeAddress: s.reg.ExchangeAddress,
		Nonce: s.reg.Nonce, Attempt: attempt, Plan: toPlan(s.reg.Plan),
		Reports: toStanding(reports), BegunCheckpointIds: s.job.standing.of(attempt), Backlog: toSubtasks(backlogged(reports, s.reg.Subtasks)),
	})
	if err != nil {
		return false, silenced(ctx, lost, err)
	}
	defer stream.Close()
	for stream.Receive() {
		if !heard {
			s.known.Store(true)
			s.tell.Store(true)
		}
		heard = true
		watch.Reset(silence)
		if err := s.handle(stream.Msg()); err != nil {
			return true, err
		}
	}
	err = stream.Err()
	if err == nil {
		err = &callError{retry: true, kind: ErrUnavailable, cause: fmt.Errorf("%s ended the stream", e.url)}
	}
	return heard, silenced(ctx, lost, err)
}

// silenced returns lost if the watch has canceled ctx, else err.
func silenced(ctx context.Context, lost *callError, err error) error {
	if errors.Is(context.Cause(ctx), lost) {
		return lost
	}
	return err
}

// handle queues a command for the engine, or carries out a command that is for the session. An error ends the stream.
func (s *Session) handle(m *ckptdv1.RegisterResponse) error {
	switch m.GetCommand().(type) {
	case *ckptdv1.RegisterResponse_Ping:
		select {
		case s.alive <- struct{}{}:
		default:
		}
		return nil
	case *ckptdv1.RegisterResponse_Reregister:
		return errReregister
	}
	c := fromCommand(m)
	if c == nil {
		return nil // a command of a newer daemon
	}
	if epoch, attempt, checkpoint := numbersOf(c); epoch != 0 {
		s.job.heard(epoch, attempt, checkpoint)
	}
	s.job.standing.hear(c)
	if _, ended := c.(Cancel); ended {
		s.job.end()
	}
	s.put(c)
	switch c.(type) {
	case Cancel:
		return endOfSession{&callError{kind: ErrJobTerminal, cause: errors.New("canceled by the daemon")}}
	case Replaced:
		return endOfSession{&callError{kind: ErrReplaced, cause: errors.New("told by the daemon")}}
	}
	return nil
}

// pause waits before the next registration. It is false if ctx has ended.
func (s *Session) pause(ctx context.Context, wait *backoff.ExponentialBackOff, why error) bool {
	d := wait.NextBackOff()
	if f := s.job.client.options.onRetry; f != nil {
		f(why, d)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// signLife answers pings. The first ping after a registration says that the daemon knows the process. signLife then
// repeats the reports that the process made while it registered: the daemon may have had to drop them. A lost answer
// does no harm: the next ping comes within a second.
func (s *Session) signLife(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.alive:
		}
		req := s.job.report(Report{Attempt: s.attempt.Load()})
		req.Kind = ckptdv1.ReportRequest_KIND_ALIVE
		req.Nonce = s.reg.Nonce
		if s.reg.Records != nil {
			req.Records = s.reg.Records()
		}
		e, _ := s.job.current()
		try, cancel := context.WithTimeout(ctx, callTimeout)
		_, err := e.engine.Report(try, req)
		if err == nil && s.tell.Swap(false) {
			reports, _ := s.job.standing.after(s.attempt.Load(), s.carried.Load())
			for _, r := range reports {
				if _, err = e.engine.Report(try, s.job.report(r)); err != nil {
					s.tell.Store(true) // again with the next ping
					break
				}
			}
		}
		cancel()
	}
}
