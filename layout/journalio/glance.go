package journalio

import (
	"context"
	"slices"

	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
)

// A Glance is one list of a journal, and the entry in the largest slot of it. The entry need not be the head: it is what a ReadHead
// knows before its second list. The zero value is that of nothing.
type Glance struct {
	Slots []uint64
	Entry *journal.Entry
}

// GlanceAt lists a job's journal and reads the entry in the largest slot. It returns the zero Glance if that is not all there is to it:
// the store failed, there is no slot, or the entry cannot be read. Then only ReadHead tells why.
func GlanceAt(ctx context.Context, store storage.Store, facts storage.Facts, job string) Glance {
	slots, err := List(ctx, store, job)
	if err != nil || len(slots) == 0 {
		return Glance{}
	}
	e, err := get(ctx, store, facts, job, slices.Max(slots))
	if err != nil || e.LeastReader > journal.DefaultSettings().Version {
		return Glance{}
	}
	return Glance{slots, e}
}

// Take answers an operation of a ReadHead that begins, without asking the store: its list, and then its read of the entry. It answers
// each once, so that what the ReadHead asks later goes to the store. Time between the glance and the second list does no harm: the entry
// is the head only if that list, made now, shows no larger slot.
func (g *Glance) Take(op journal.Op) (journal.Result, bool) {
	switch {
	case op.Kind == journal.OpList && len(g.Slots) > 0:
		slots := g.Slots
		g.Slots = nil
		return journal.Result{Outcome: journal.Done, Slots: slots}, true
	case op.Kind == journal.OpGet && len(g.Slots) == 0 && g.Entry != nil && op.Slot == g.Entry.Slot:
		e := g.Entry
		*g = Glance{}
		return journal.Result{Outcome: journal.Done, Entry: e}, true
	}
	*g = Glance{}
	return journal.Result{}, false
}
