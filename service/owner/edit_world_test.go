package owner

import (
	"fmt"
	"slices"

	"github.com/ckptd/ckptd/layout/journal"
)

// day is a day of the store's time.
const day = 24 * 3600 * 1000

// edit spends the budget of a command.
func (l *budget) edit(kind EditKind) {
	switch kind {
	case EditRemove:
		l.removes--
	case EditUndelete:
		l.undeletes--
	case EditPurge:
		l.purges--
	}
}

// command visits the commands of people that an owner may get.
func (r *runner) command(w *world, d *daemon, spend func(Event, func(*daemon), move)) {
	if len(d.m.edits) > 0 {
		return
	}
	give := func(e Edit, what string) {
		request := journal.RequestOf(fmt.Sprint(what, e.IDs, w.left.removes, w.left.undeletes, w.left.purges))
		m := move{what: what}
		if len(e.IDs) > 0 {
			m.a = e.IDs[0]
		}
		spend(Event{Kind: EventEdit, Edit: &e, Caller: 1, Request: request}, func(*daemon) {}, m)
	}
	for _, c := range d.m.head.Retained {
		if w.left.removes > 0 {
			give(Edit{Kind: EditRemove, IDs: []uint64{c.ID}, Lent: true}, "remove")
			if r.s.trash {
				give(Edit{Kind: EditRemove, IDs: []uint64{c.ID}, Lent: true, Now: true}, "remove now")
			}
		}
		if w.left.undeletes > 0 {
			give(Edit{Kind: EditUndelete, IDs: []uint64{c.ID}}, "undelete")
		}
	}
	if w.left.purges > 0 {
		give(Edit{Kind: EditPurge}, "purge")
	}
}

// edited checks an entry that carries out a command or tidies: each checkpoint goes only the ways that are open to it.
func (s *story) edited(w *world, was, e *journal.Entry) {
	for _, c := range e.Retained {
		if _, had := was.Checkpoint(c.ID); !had {
			w.fail(fmt.Sprintf("I11: an entry of kind %d adds checkpoint %d", e.Kind, c.ID))
		}
	}
	for _, c := range was.Retained {
		is, stays := e.Checkpoint(c.ID)
		pinned, let := was.IsLent(c.ID) && e.IsLent(c.ID), letGo(was, e, c.ID)
		switch {
		case !stays && pinned:
			w.fail(fmt.Sprintf("I9: checkpoint %d is lent, and an entry of kind %d drops it", c.ID, e.Kind))
		case !stays, is.State == c.State:
		case is.State == journal.StateHidden && (pinned || let):
		case is.State == journal.StateTrashed && c.State == journal.StateKept && s.trash && is.TrashUntil >= is.TrashedAt+trashWindow:
		case is.State == journal.StateKept && c.State == journal.StateTrashed && e.Kind == journal.KindUndelete && is.Keep:
		default:
			w.fail(fmt.Sprintf("I11: an entry of kind %d brings checkpoint %d from state %d to %d", e.Kind, c.ID, c.State, is.State))
		}
		asked := len(e.Requests) > len(was.Requests)
		if gone := !stays || is.State == journal.StateHidden; gone && c.State == journal.StateTrashed && !c.Expired(w.now) && !asked && !let {
			w.fail(fmt.Sprintf("checkpoint %d leaves the trash before its time", c.ID))
		}
		if gone := !stays || is.State != c.State; gone && c.State == journal.StateKept && !asked && !let {
			w.fail(fmt.Sprintf("checkpoint %d is removed, and nobody asked for it", c.ID))
		}
	}
	if !e.Status.Terminal() && restorable(e) < restorable(was) {
		w.fail(fmt.Sprintf("I11: the newest checkpoint %d of a job that has not ended is removed", restorable(was)))
	}
	if e.Kind != journal.KindReturn {
		s.pinned(w, was, e)
	}
	for _, l := range was.Lent {
		if l.OfTool() && !l.Expired(w.now) && !e.HasLent(l.Pin) {
			w.fail(fmt.Sprintf("I9: a tool's pin on checkpoint %d is dropped before its time", l.Checkpoint))
		}
	}
}

// letGo tells whether the job that has claimed a checkpoint lets it go, with its pin.
func letGo(was, e *journal.Entry, id uint64) bool {
	return e.Kind == journal.KindReturn && slices.ContainsFunc(was.Lent, func(l journal.Lent) bool {
		return l.Checkpoint == id && l.Mode == journal.Claim && !e.HasLent(l.Pin)
	})
}

// tombstone checks the entry that ends a purge: nothing is retained, and no job has a pin.
func (s *story) tombstone(w *world, was, e *journal.Entry) {
	if !was.PurgeWanted || !was.Status.Terminal() || e.Status != journal.StatusRemoved || !e.Owner.IsZero() {
		w.fail("a tombstone of a job that is not to be removed")
	}
	if len(e.Retained)+len(e.Lent)+len(e.Borrowed) > 0 {
		w.fail("I9: a tombstone, and the job still retains, lends or borrows")
	}
}

// settles lets the time pass that makes a job due which has ended and was released. If no time can, the job is at rest: nothing is
// left but what it retains, whatever has landed late.
func (r *runner) settles(w *world) (*world, string) {
	head := w.head()
	if head.Timed() {
		n := *w
		n.now += day
		return &n, "a day passes"
	}
	reach, missing := w.reachable(head)
	if left := w.files &^ reach; missing == "" && w.spoiled == 0 && left != 0 {
		return nil, fmt.Sprintf("I4: at rest, with files %b", left)
	}
	for _, m := range w.metas {
		if _, kept := head.Checkpoint(m.id); !kept && w.spoiled == 0 {
			return nil, fmt.Sprintf("I4: at rest, with the _metadata of %d", m.id)
		}
	}
	return nil, ""
}
