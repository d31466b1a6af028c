package owner

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/layout/journal"
)

// withTrash is a running job with checkpoints 1 and 2, and a trash.
func withTrash(t *testing.T) *desk {
	t.Helper()
	d := newDesk(t)
	create := retaining(100)
	create.Config = trashing(create.Config)
	d.do(Event{Kind: EventAttach, Create: create})
	d.serve(1, 0)
	d.checkpoint(1)
	d.checkpoint(2)
	return d
}

func (d *desk) edit(e Edit, request string) []string {
	d.t.Helper()
	return d.do(Event{Kind: EventEdit, Edit: &e, Caller: 5, Request: journal.RequestOf(request)})
}

func TestACommandIsRefusedWithItsReason(t *testing.T) {
	for name, test := range map[string]struct {
		edit Edit
		id   uint64
		want Reason
	}{
		"no such checkpoint":           {Edit{Kind: EditRemove, IDs: []uint64{1, 9}}, 9, ReasonNoCheckpoint},
		"the newest":                   {Edit{Kind: EditRemove, IDs: []uint64{2}, Now: true, Lent: true}, 2, ReasonNewest},
		"not in the trash":             {Edit{Kind: EditUndelete, IDs: []uint64{1}}, 1, ReasonNotTrashed},
		"a purge of a job that runs":   {Edit{Kind: EditPurge}, 0, ReasonNotTerminal},
		"a tag that is too long":       {Edit{Kind: EditTag, IDs: []uint64{1}, Tags: []string{strings.Repeat("x", journal.MaxTag+1)}}, 0, ReasonTags},
		"a tag of another, and no tag": {Edit{Kind: EditTag, IDs: []uint64{7}, Tags: []string{"x"}}, 7, ReasonNoCheckpoint},
	} {
		t.Run(name, func(t *testing.T) {
			d := withTrash(t)
			before := d.head()
			d.edit(test.edit, "r")
			if test.id != 0 {
				d.want(fmt.Sprintf("edited caller=5 id=%d reason=%d", test.id, test.want))
			} else {
				d.want(fmt.Sprintf("edited caller=5 reason=%d", test.want))
			}
			if d.head() != before {
				t.Errorf("head %+v, want no entry", d.head())
			}
		})
	}
	t.Run("lent", func(t *testing.T) {
		d := withTrash(t)
		d.seize(func(e *journal.Entry) {
			e.Kind, e.Lent = journal.KindLend, []journal.Lent{{Pin: pin, Checkpoint: 1, Holder: "other"}}
		})
		d.edit(Edit{Kind: EditTag, IDs: []uint64{2}, Tags: []string{"a"}}, "tag") // learns of the pin
		d.edit(Edit{Kind: EditRemove, IDs: []uint64{1}, Now: true}, "r")
		d.want(fmt.Sprintf("edited caller=5 id=1 reason=%d", ReasonLent))
		d.edit(Edit{Kind: EditRemove, IDs: []uint64{1}, Now: true, Lent: true}, "r")
		if c, _ := d.head().Checkpoint(1); c.State != journal.StateHidden || !d.head().IsLent(1) {
			t.Errorf("checkpoint %+v, want it hidden", c)
		}
		d.wantFiles("1 is lent", 1, 2)
	})
}

// TestIntoTheTrashAndBack: what comes back is kept. A command that is repeated changes nothing, whatever was done meanwhile.
func TestIntoTheTrashAndBack(t *testing.T) {
	d := withTrash(t)
	remove := Edit{Kind: EditRemove, IDs: []uint64{1}}
	d.edit(remove, "a")
	d.want("edited caller=5")
	if c, _ := d.head().Checkpoint(1); c.State != journal.StateTrashed || c.TrashedAt != 1000 || c.TrashUntil != 1000+trashWindow {
		t.Errorf("checkpoint %+v, want it in the trash for half a day", c)
	}
	d.edit(remove, "b")
	d.want(fmt.Sprintf("edited caller=5 id=1 reason=%d", ReasonTrashed))
	d.edit(Edit{Kind: EditUndelete, IDs: []uint64{1}}, "c")
	if c, _ := d.head().Checkpoint(1); c.State != journal.StateKept || !c.Keep || c.TrashedAt+c.TrashUntil != 0 {
		t.Errorf("checkpoint %+v, want it kept", c)
	}
	slot := d.head().Slot
	d.edit(remove, "a")
	d.want("edited caller=5")
	if d.head().Slot != slot {
		t.Errorf("slot %d, want %d: the request was carried out before", d.head().Slot, slot)
	}
	d.edit(remove, "d")
	d.now += trashWindow - 1
	d.do(Event{Kind: EventSweep})
	d.wantFiles("its time is not over", 1, 2)
	d.now++
	d.do(Event{Kind: EventSweep})
	d.wantFiles("its time is over", 2)
	d.wantMetas("its time is over", 2)
}

func TestTags(t *testing.T) {
	d := withTrash(t)
	d.edit(Edit{Kind: EditTag, IDs: []uint64{1, 2}, Tags: []string{"b", "a"}}, "1")
	d.edit(Edit{Kind: EditTag, IDs: []uint64{1}, Tags: []string{"b", "c"}}, "2")
	d.edit(Edit{Kind: EditUntag, IDs: []uint64{1}, Tags: []string{"a", "x"}}, "3")
	one, _ := d.head().Checkpoint(1)
	two, _ := d.head().Checkpoint(2)
	if !slices.Equal(one.Tags, []string{"b", "c"}) || !slices.Equal(two.Tags, []string{"a", "b"}) || one.Keep {
		t.Errorf("tags %q and %q", one.Tags, two.Tags)
	}
}

// TestTheTrashHoldsAtMost64: the oldest goes. The end of the job puts all that it drops into the trash.
func TestTheTrashHoldsAtMost64(t *testing.T) {
	d := withTrash(t)
	for range journal.MaxTrashed + 1 {
		d.checkpoint()
	}
	for id := uint64(1); id <= journal.MaxTrashed+1; id++ {
		d.now++
		d.edit(Edit{Kind: EditRemove, IDs: []uint64{id}}, fmt.Sprint(id))
		d.want("edited caller=5")
	}
	if _, there := d.head().Checkpoint(1); there || len(d.head().Retained) != journal.MaxTrashed+2 || d.head().Fits() != nil {
		t.Errorf("%d are retained, 1 is there: %v; want %d without it", len(d.head().Retained), there, journal.MaxTrashed+2)
	}
	d.do(Event{Kind: EventEnd, Status: journal.StatusFinished})
	if e := d.head(); len(e.Retained) != journal.MaxTrashed || e.Newest() != 0 || e.Fits() != nil {
		t.Errorf("%d are retained, want the newest %d, in the trash", len(e.Retained), journal.MaxTrashed)
	}
}

// TestAPurge leaves a tombstone when a sweep has gone through. The job id can be used again: neither an epoch nor an id comes
// twice.
func TestAPurge(t *testing.T) {
	d := withTrash(t)
	d.do(Event{Kind: EventEnd, Status: journal.StatusCanceled})
	d.edit(Edit{Kind: EditPurge}, "p")
	d.want("edited caller=5")
	d.wantFiles("nothing is retained")
	if e := d.head(); !e.PurgeWanted || e.Status != journal.StatusCanceled {
		t.Errorf("head %+v, want the purge wanted", e)
	}
	d.do(Event{Kind: EventSweep})
	d.want("swept", "released")
	stone := d.head()
	if stone.Status != journal.StatusRemoved || stone.Kind != journal.KindRemove || !stone.Owner.IsZero() {
		t.Fatalf("head %+v, want a tombstone", stone)
	}
	d.do(Event{Kind: EventAttach})
	d.want(fmt.Sprintf("attach refused reason=%d", ReasonNoJob))
	d.do(Event{Kind: EventAttach, Create: twoTasks(1)})
	if e := d.head(); e.Status != journal.StatusRunning || e.Epoch != stone.Epoch+1 || e.Reserved <= stone.Reserved || e.PurgeWanted || e.Attempt != 0 {
		t.Errorf("head %+v, want a new job in the epoch after %d", e, stone.Epoch)
	}
	d.serve(1, 0)
	if id := d.checkpoint(9); id <= stone.Reserved {
		t.Errorf("checkpoint %d, want one above %d", id, stone.Reserved)
	}
}
