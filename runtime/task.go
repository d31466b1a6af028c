package runtime

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/runtime/aligner"
	"github.com/ckptd/ckptd/runtime/exchange"
	"github.com/ckptd/ckptd/runtime/state"
)

const (
	// idleFlush is how long records may wait in a buffer if no record follows them; busyFlush applies if others do.
	idleFlush = 2 * time.Millisecond
	busyFlush = 5 * time.Millisecond
	// pulseRecords is the number of records that a source may emit before it checks the clock; a power of two.
	pulseRecords = 128
)

// task is one subtask of a chain. Only its own goroutine calls its methods; other goroutines put letters into mail.
type task struct {
	spec     *Task
	index    int
	subtasks []client.Subtask
	chain    []*operator
	// gate is nil for a task that begins with a source.
	gate    *exchange.Gate
	outputs []*exchange.Writer
	// pending are the outputs while they are being connected.
	pending   []pendingOutput
	machine   *aligner.Machine
	mail      *mailbox
	callbacks callbacks
	// epoch of the newest barrier.
	epoch     uint64
	committed uint64
	end       ending
	// positions are those of the checkpoints that may still complete, ascending, if the source wants to know.
	positions []positionOf
	// holds is the savepoint that stops the job: a source reads nothing more until it is aborted; 0: there is none.
	holds uint64
	// drains is the savepoint before which the task does its end-of-data work, drained the one before which it has done it; 0: none.
	drains, drained uint64
	flushed         time.Time
	timer           *time.Timer
}

// callbacks is what a task needs of its attempt. All functions are safe for concurrent use and do not block.
type callbacks struct {
	// send takes over the result of the synchronous part.
	send func(taskSnapshot)
	// decline tells the coordinator.
	decline func(checkpoint, epoch uint64, subtasks []client.Subtask, reason, cause string)
	// report records a report that the coordinator must receive.
	report func(client.Report)
	step   func(name string)
	// finished says that a complete checkpoint holds all that the task will ever do.
	finished func()
	// warn logs what fails nothing.
	warn func(message string, args ...any)
}

// positionOf is the source's position in a checkpoint.
type positionOf struct {
	checkpoint uint64
	position   []byte
}

func (t *task) name() string { return fmt.Sprintf("%s/%d", t.spec.Name, t.index) }

// run processes records until ctx ends or something fails.
func (t *task) run(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	t.timer = time.NewTimer(time.Hour)
	defer t.timer.Stop()
	t.flushed = time.Now()
	if t.gate == nil {
		return t.runSource(ctx)
	}
	return t.runInputs(ctx)
}

// tail receives what the chain's last operator emits.
func (t *task) tail(rec state.Record) error {
	for _, w := range t.outputs {
		if err := w.Write(rec.Key, rec.Value); err != nil {
			return err
		}
	}
	return nil
}

func (t *task) runSource(ctx context.Context) error {
	source, emit := t.chain[0].source, link(t.chain, 0, t.tail)
	pace := newPacer(t.spec.Operators[0].Rate)
	var rec state.Record
	for n := 1; ; n++ {
		if t.mail.full.Load() {
			if err := t.letters(); err != nil {
				return err
			}
		}
		if t.holds != 0 {
			if err := t.hold(ctx); err != nil {
				return err
			}
		}
		if n%pulseRecords == 0 {
			if err := t.pulse(ctx); err != nil {
				return err
			}
		}
		readiness, err := source.Next(&rec)
		if err != nil {
			return t.chain[0].failed(err)
		}
		switch readiness {
		case state.Ready:
			if err := emit(rec); err != nil {
				return err
			}
			if pause := pace.next(); pause > 0 {
				if err := t.pause(ctx, pause); err != nil {
					return err
				}
			}
		case state.NotNow:
			if err := t.pause(ctx, 0); err != nil {
				return err
			}
		case state.End:
			return t.atEnd(ctx)
		}
	}
}

// atEnd takes part in checkpoints after the input's last record.
func (t *task) atEnd(ctx context.Context) error {
	t.callbacks.report(client.Report{Kind: client.ReportEndOfData, Subtasks: t.subtasks[:1]})
	if err := t.endOfData(); err != nil {
		return err
	}
	return t.idle(ctx, func() bool { return false })
}

// hold takes part in checkpoints, and reads nothing, until the savepoint that stops the job is aborted.
func (t *task) hold(ctx context.Context) error {
	return t.idle(ctx, func() bool { return t.holds == 0 })
}

// idle handles letters until done.
func (t *task) idle(ctx context.Context, done func() bool) error {
	for {
		if err := t.letters(); err != nil {
			return err
		}
		if err := t.flush(); err != nil || done() {
			return err
		}
		select {
		case <-t.mail.wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// pause sends the buffered records and handles letters for at least d.
func (t *task) pause(ctx context.Context, d time.Duration) error {
	if err := t.flush(); err != nil {
		return err
	}
	t.timer.Reset(d)
	for {
		select {
		case <-t.timer.C:
			return nil
		case <-t.mail.wake:
			if err := t.letters(); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (t *task) runInputs(ctx context.Context) error {
	head := t.head()
	for {
		if t.mail.full.Load() {
			if err := t.letters(); err != nil {
				return err
			}
		}
		ch, f, err := t.gate.Poll()
		if err != nil {
			return err
		}
		if f == nil {
			if err := t.await(ctx); err != nil {
				return err
			}
			continue
		}
		if err := t.frame(ch, f, head); err != nil {
			return err
		}
		f.Release()
		if err := t.pulse(ctx); err != nil {
			return err
		}
	}
}

// head returns the function that handles the records of the inputs, with their key groups.
func (t *task) head() func(group uint16, rec state.Record) error {
	first := t.chain[0]
	if first.keyed == nil {
		emit := link(t.chain, 0, t.tail)
		return func(_ uint16, rec state.Record) error { return emit(rec) }
	}
	next := link(t.chain, 1, t.tail)
	value := &Value{backend: first.backend}
	return func(group uint16, rec state.Record) error {
		value.group, value.key = group, rec.Key
		return first.failed(first.keyed(rec, value, next))
	}
}

func (t *task) frame(ch int, f *exchange.Frame, head func(uint16, state.Record) error) error {
	switch f.Kind {
	case exchange.Data:
		for records := f.Records(); records.More(); {
			group, key, value, err := records.Next()
			if err != nil {
				return err
			}
			if err := head(group, state.Record{Key: key, Value: value}); err != nil {
				return err
			}
		}
		return nil
	case exchange.Barrier, exchange.Drain:
		if f.Checkpoint >= t.machine.Current() {
			t.epoch = f.Epoch
		}
		if f.Kind == exchange.Drain {
			t.drains = f.Checkpoint
		}
		return t.act(t.machine.Barrier(ch, f.Checkpoint))
	case exchange.Cancel:
		if f.Checkpoint >= t.machine.Current() {
			t.epoch = f.Epoch
		}
		return t.act(t.machine.CancelMarker(ch, f.Checkpoint))
	case exchange.EndOfData:
		return t.inputAtEnd()
	default:
		return t.act(t.machine.Ended(ch))
	}
}

// await waits for frames or letters. If none comes for a moment, it sends the buffered records.
func (t *task) await(ctx context.Context) error {
	var flush <-chan time.Time
	if t.dirty() {
		t.timer.Reset(idleFlush)
		flush = t.timer.C
	}
	select {
	case <-t.gate.Wake():
	case <-t.mail.wake:
	case <-flush:
		return t.flush()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// pulse checks ctx and the buffers now and then while records flow.
func (t *task) pulse(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	default:
	}
	if t.dirty() && time.Since(t.flushed) > busyFlush {
		return t.flush()
	}
	return nil
}

func (t *task) dirty() bool {
	for _, w := range t.outputs {
		if w.Dirty() {
			return true
		}
	}
	return false
}

func (t *task) flush() error {
	for _, w := range t.outputs {
		if err := w.Flush(); err != nil {
			return err
		}
	}
	t.flushed = time.Now()
	return nil
}
