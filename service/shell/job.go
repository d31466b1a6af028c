package shell

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journalio"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/owner"
)

// Job is one job at this daemon, from its attach to its release. Its goroutine (serve) owns every field below calls.
// Other goroutines pass a function to do. The goroutine exists only while there is something to do; the job lives on without it.
type Job struct {
	env     *Env
	id      string
	log     *slog.Logger
	done    chan struct{} // closed when the job has ended
	uploads Uploads
	vitals  atomic.Pointer[Vitals]
	waits   atomic.Bool // for the store, as an event has reported
	calls   turns

	loop
	callers
	names    *incremental.Names
	contents map[uint64]*content // by id of a pending checkpoint
	accepted acceptedAcks
	workers  workers
	triggers []*triggerCall // the last calls of TriggerCheckpoint
	progress progress
	events   eventLog
	sweeps   sweeps
	audit    audit
	periodic periodic
	history  *jobHistory // nil: there is nothing to write yet
	manual   bool        // the trigger that is not answered yet is a person's
	awaited  []awaited
	life     memoryLife
	disposed bool // the savepoint that the job has claimed is disposed of
	fenced   bool // another process has taken the job
	released bool // this process has given the job up
	// suspending: a person suspends the job. Its workers are told to end, and it is released then. missed: not all had registered.
	suspending, missed bool
	cleaning           int         // as the coordinator knows it
	trimming           bool        // a trim of the journal runs or waits for its turn
	outage             outage      // of the journal's store
	timer              *time.Timer // calls tick; nil: not armed yet
	// onEnd is called at the job's end; forgetDaemon withdraws the call at the daemon's end.
	onEnd        func()
	forgetDaemon func() bool
	seen         journalio.Glance // what the attach that begins need not read again
	ops          context.Context  // of storage operations; it ends with the job
	stopOps      context.CancelFunc
}

// Vitals are the facts about a job that metrics read.
type Vitals struct {
	// Pending counts the pending checkpoints.
	Pending int
	// Last is when the newest checkpoint completed. Before the first checkpoint, it is when the job was attached here.
	Last time.Time
	// Failures counts the checkpoints that failed in a row.
	Failures int
	// Condemned counts the files and _metadata that wait to be deleted.
	Condemned int
	// Seen is what has become of checkpoints here.
	Seen Seen
	// Bytes is the size of the files on the store that the owner knows, with all retained _metadata.
	Bytes uint64
}

// ID is the job's id.
func (j *Job) ID() string { return j.id }

// Done is closed when the job has ended.
func (j *Job) Done() <-chan struct{} { return j.done }

// Uploads are the job's uploads at this daemon.
func (j *Job) Uploads() *Uploads { return &j.uploads }

// Vitals are nil if this daemon does not own the job, or the job has ended.
func (j *Job) Vitals() *Vitals { return j.vitals.Load() }

// WaitsForStore reports whether the job, attached or not, waits for a store that does not answer: for its journal, or
// for a file.
func (j *Job) WaitsForStore() bool { return j.waits.Load() || j.uploads.lastError() != nil }

// do passes f to the job's goroutine. It reports false if the job has ended and f will not run.
func (j *Job) do(f func()) bool { return j.calls.put(f) }

// ask passes f to the job's goroutine and waits until reply is called, by f or later. If ctx ends first, the error is
// the context's. If the job ends first, the error is api.NotAttached's.
func ask[T any](ctx context.Context, j *Job, f func(reply func(T, error))) (T, error) {
	type answer struct {
		v   T
		err error
	}
	ch := make(chan answer, 1)
	reply := func(v T, err error) {
		select {
		case ch <- answer{v, err}:
		default:
		}
	}
	var zero T
	if !j.do(func() { f(reply) }) {
		<-j.done // which is about to be closed: who is told that the job is not attached may look why
		return zero, api.NotAttached(j.id)
	}
	select {
	case a := <-ch:
		return a.v, a.err
	case <-ctx.Done():
		return zero, api.Error(context.Cause(ctx))
	case <-j.done:
		select {
		case a := <-ch:
			return a.v, a.err
		default:
			return zero, api.NotAttached(j.id)
		}
	}
}

// refusal returns the error of a call that the owner machine refused; nil: it did not refuse the call.
func (j *Job) refusal(op *owner.Op) error { return api.Refusal(j.id, j.m.Head(), op) }

// event adds an event to the job's events and to the log. Without an attempt, it gets the journal's.
func (j *Job) event(kind ckptdv1.JobEventKind, e *ckptdv1.JobEvent) {
	j.eventAt(levelOf(kind), kind, e)
}

// eventAt is event with another level in the log.
func (j *Job) eventAt(level slog.Level, kind ckptdv1.JobEventKind, e *ckptdv1.JobEvent) {
	e.Kind = kind
	if e.Attempt == 0 {
		if head := j.m.Head(); head != nil {
			e.Attempt = head.Attempt
		}
	}
	j.events.add(time.Now(), e)
	logEvent(j.log, level, e)
}

// warn logs what a storage operation could not do. If ctx has ended, the job was released, and nothing is wrong.
func (j *Job) warn(ctx context.Context, message string, args ...any) {
	level := slog.LevelWarn
	if ctx.Err() != nil {
		level = slog.LevelDebug
	}
	j.log.Log(ctx, level, message, args...)
}

// eventf adds an event that has only a text.
func (j *Job) eventf(kind ckptdv1.JobEventKind, format string, args ...any) {
	j.event(kind, &ckptdv1.JobEvent{Text: fmt.Sprintf(format, args...)})
}

// result passes the result of a storage operation to the job.
func (j *Job) result(r owner.Result) {
	j.do(func() { j.feed(owner.Event{Kind: owner.EventResult, Result: r}) })
}
