package runtime

import (
	"fmt"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/runtime/aligner"
	"github.com/ckptd/ckptd/runtime/exchange"
	"github.com/ckptd/ckptd/runtime/state"
)

// letters carries out the commands in the mailbox.
func (t *task) letters() error {
	for _, l := range t.mail.take() {
		var err error
		switch {
		case l.trigger > 0:
			if l.trigger >= t.machine.Current() {
				t.epoch = l.epoch
			}
			if l.drains {
				t.drains = l.trigger
			}
			if err = t.act(t.machine.Trigger(l.trigger)); l.stops {
				t.holds = l.trigger
			}
		case l.complete > 0:
			if err = t.commit(l.complete); err == nil && l.ends {
				t.finishes()
			}
			if err == nil {
				t.covered(l.complete)
			}
		case l.abort > 0:
			err = t.aborted(l.abort)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// act carries out the aligner's actions, in their order.
func (t *task) act(actions []aligner.Action) error {
	var err error
	for _, a := range actions {
		barrier := exchange.Barrier
		if a.Checkpoint == t.drains && t.drains != 0 && (a.Kind == aligner.Forward || a.Kind == aligner.Snapshot) {
			if barrier, err = exchange.Drain, t.drain(); err != nil {
				return err
			}
		}
		switch a.Kind {
		case aligner.Block:
			t.gate.Block(a.Channel)
		case aligner.Unblock:
			t.gate.Unblock(a.Channel)
		case aligner.Forward:
			err = t.broadcast(barrier, a.Checkpoint)
		case aligner.Snapshot:
			err = t.snapshot(a.Checkpoint)
		case aligner.Decline:
			t.callbacks.decline(a.Checkpoint, t.epoch, t.subtasks, a.Reason, "")
		case aligner.Cancel:
			err = t.broadcast(exchange.Cancel, a.Checkpoint)
		case aligner.End:
			err = t.broadcast(exchange.End, 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// drain does the end-of-data work of all operators of the chain, once. What they emit belongs to the savepoint.
func (t *task) drain() error {
	if t.drained == t.drains {
		return nil
	}
	t.drained = t.drains
	for i, o := range t.chain {
		if o.atEnd == nil {
			continue
		}
		if err := o.failed(o.atEnd(link(t.chain, i+1, t.tail))); err != nil {
			return err
		}
	}
	return nil
}

func (t *task) broadcast(kind exchange.Kind, checkpoint uint64) error {
	for _, w := range t.outputs {
		if err := w.Broadcast(kind, checkpoint, t.epoch); err != nil {
			return err
		}
	}
	return nil
}

// snapshot is the synchronous part for all operators of the chain. A failure may have lost records that were
// processed before, so it ends the attempt.
func (t *task) snapshot(checkpoint uint64) error {
	p := taskSnapshot{checkpoint: checkpoint, epoch: t.epoch}
	for _, o := range t.chain {
		s, release, err := o.snapshot(checkpoint)
		p.releases = append(p.releases, release)
		if err != nil {
			p.release()
			return o.failed(fmt.Errorf("snapshot of checkpoint %d: %w", checkpoint, err))
		}
		p.snapshots = append(p.snapshots, s)
		if _, wants := o.source.(state.Committed); wants {
			t.positions = append(t.positions, positionOf{checkpoint, s.Pieces[0].Inline})
		}
		if o.sink != nil {
			t.callbacks.step(StepAfterPreCommit)
		}
	}
	t.taken(checkpoint)
	t.callbacks.send(p)
	return nil
}

// tell tells the source that a checkpoint is complete.
func (t *task) tell(checkpoint uint64) {
	source, wants := t.chain[0].source.(state.Committed)
	var newest *positionOf
	for len(t.positions) > 0 && t.positions[0].checkpoint <= checkpoint {
		newest, t.positions = &t.positions[0], t.positions[1:]
	}
	if !wants || newest == nil || newest.checkpoint != checkpoint {
		return
	}
	if err := source.Committed(checkpoint, newest.position); err != nil {
		t.callbacks.warn("the source could not pass on a complete checkpoint", "task", t.name(), "checkpoint", checkpoint, "error", err)
	}
}

// commit tells the source of a complete checkpoint, and makes visible the sink's transactions up to it.
func (t *task) commit(checkpoint uint64) error {
	t.tell(checkpoint)
	last := t.chain[len(t.chain)-1]
	if last.sink == nil || checkpoint <= t.committed {
		return nil
	}
	t.callbacks.step(StepBeforeCommit)
	if err := last.sink.Commit(checkpoint); err != nil {
		return last.failed(fmt.Errorf("commit of checkpoint %d: %w", checkpoint, err))
	}
	t.committed = checkpoint
	t.callbacks.step(StepAfterCommit)
	t.callbacks.report(client.Report{Kind: client.ReportCommitted, Subtasks: []client.Subtask{last.subtask}, Checkpoint: checkpoint})
	return nil
}

// aborted gives a checkpoint up. What a task has emitted as its end-of-data work cannot be taken back, so the attempt fails then.
func (t *task) aborted(checkpoint uint64) error {
	if t.drained == checkpoint && checkpoint != 0 {
		return fmt.Errorf("savepoint %d was aborted after the end-of-data work for it", checkpoint)
	}
	if t.holds == checkpoint {
		t.holds = 0
	}
	if sink := t.chain[len(t.chain)-1].sink; sink != nil {
		sink.Abort(checkpoint)
	}
	return t.act(t.machine.Aborted(checkpoint))
}
