package journalio_test

import (
	"testing"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
)

// publish makes the entry in a slot and returns it.
func publish(t *testing.T, s storage.Store, after *journal.Entry) *journal.Entry {
	t.Helper()
	set := journal.DefaultSettings()
	next := journal.Entry{Status: journal.StatusRunning, Kind: journal.KindAttach, Epoch: 1, About: &journal.About{Job: "job"},
		Plan: journal.NewPlan(nil), Config: journal.NewConfig(nil)}
	if after != nil {
		next = *after
		next.Epoch++
	}
	var a journal.Append
	op := a.Begin(&set, after, next, journal.Nonce{Process: journal.NewProcess(), Count: 1}, journal.RoleAttach)
	if r, err := journalio.Execute(t.Context(), s, storage.Facts{}, "job", op); r.Outcome != journal.Done {
		t.Fatal(err)
	}
	return op.Entry
}

// head reads the head with what a glance knows, and counts what the store was asked.
func head(t *testing.T, s storage.Store, g journalio.Glance) (e *journal.Entry, how journal.Reading, asked int) {
	t.Helper()
	set := journal.DefaultSettings()
	var r journal.ReadHead
	for op := r.Begin(0); how == journal.ReadMore; {
		res, ok := g.Take(op)
		if !ok {
			asked++
			res, _ = journalio.Execute(t.Context(), s, storage.Facts{}, "job", op)
		}
		op, how = r.Step(&set, res)
	}
	return r.Head(), how, asked
}

// What a glance knows need not be asked again, and what has changed since is found.
func TestGlance(t *testing.T) {
	s := mem.Open().Store
	if e, how, _ := head(t, s, journalio.GlanceAt(t.Context(), s, storage.Facts{}, "job")); how != journal.ReadEmpty {
		t.Errorf("an empty journal: %v, %v; want that it is empty", e, how)
	}
	first := publish(t, s, nil)
	g := journalio.GlanceAt(t.Context(), s, storage.Facts{}, "job")
	if e, how, asked := head(t, s, g); how != journal.ReadDone || e.Nonce != first.Nonce || asked != 1 {
		t.Errorf("after a glance: %v, %v, %d questions; want the entry and one list", e, how, asked)
	}
	second := publish(t, s, first)
	if e, how, asked := head(t, s, g); how != journal.ReadDone || e.Nonce != second.Nonce || asked != 3 {
		t.Errorf("after a glance that is old: %v, %v, %d questions; want the new entry after two lists and a read", e, how, asked)
	}
	if errs := s.Delete(t.Context(), []string{layout.SlotKey("job", 2)}); errs != nil {
		t.Fatal(errs)
	}
	if err := s.Publish(t.Context(), layout.SlotKey("job", 2), []byte("damaged")); err != nil {
		t.Fatal(err)
	}
	if g := journalio.GlanceAt(t.Context(), s, storage.Facts{}, "job"); g.Entry != nil {
		t.Errorf("a damaged entry: %v, want nothing", g.Entry)
	}
	if _, how, _ := head(t, s, g); how != journal.ReadCorrupt {
		t.Errorf("a damaged entry after an old glance: %v, want that it is corrupt", how)
	}
}

// A glance answers only the first questions, in their order.
func TestGlanceAnswersOnce(t *testing.T) {
	g := journalio.Glance{Slots: []uint64{7}, Entry: &journal.Entry{Slot: 7}}
	list, get := journal.Op{Kind: journal.OpList}, journal.Op{Kind: journal.OpGet, Slot: 7}
	for _, c := range []struct {
		name string
		ops  []journal.Op
		want []bool
	}{
		{"a list and its entry", []journal.Op{list, get, list, get}, []bool{true, true, false, false}},
		{"two lists", []journal.Op{list, list, get}, []bool{true, false, false}},
		{"another slot", []journal.Op{list, {Kind: journal.OpGet, Slot: 8}, get}, []bool{true, false, false}},
		{"an entry without a list", []journal.Op{get, list}, []bool{false, false}},
		{"an append", []journal.Op{{Kind: journal.OpPublish, Slot: 7}, list}, []bool{false, false}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := g
			for i, op := range c.ops {
				if _, ok := g.Take(op); ok != c.want[i] {
					t.Errorf("operation %d is answered: %v, want %v", i, ok, c.want[i])
				}
			}
		})
	}
}
