package journalio_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
)

// entries are slots 1 to n of a job's journal.
func entries(job string, n int) (out []*journal.Entry) {
	set := journal.DefaultSettings()
	var last *journal.Entry
	for i := range n {
		e := journal.Entry{
			Epoch: 1, Kind: journal.KindReserve, Status: journal.StatusRunning, Plan: journal.NewPlan(nil), Config: journal.NewConfig(nil),
			About: &journal.About{Job: job},
		}
		var a journal.Append
		nonce := journal.Nonce{Process: journal.Process{1}, Count: uint32(i + 1)}
		last = a.Begin(&set, last, e, nonce, journal.RoleOwner).Entry
		out = append(out, last)
	}
	return out
}

// lay writes an entry to a slot of a job, even if the entry itself names another slot or job.
func lay(t *testing.T, s storage.Store, job string, slot uint64, e *journal.Entry) {
	t.Helper()
	b, err := journal.Encode(e)
	if err == nil {
		err = s.Publish(t.Context(), layout.SlotKey(job, slot), b)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// An entry counts only in its own slot of its own job: a journal that was copied from another job is corrupt.
func TestEntriesCountOnlyWhereTheyBelong(t *testing.T) {
	a, b := entries("a", 3), entries("b", 3)
	for name, test := range map[string]struct {
		e    *journal.Entry
		want journal.Outcome
	}{
		"its own":                    {b[1], journal.Done},
		"the same slot of a job":     {a[1], journal.Corrupt},
		"an earlier slot of its own": {b[0], journal.Corrupt},
		"a later slot of its own":    {b[2], journal.Corrupt},
	} {
		t.Run(name, func(t *testing.T) {
			s := mem.Open().Store
			lay(t, s, "b", 2, test.e)
			res, err := journalio.Execute(t.Context(), s, storage.Facts{}, "b", journal.Op{Kind: journal.OpGet, Slot: 2})
			if res.Outcome != test.want || (res.Entry != nil) != (test.want == journal.Done) || (err == nil) != (test.want == journal.Done) {
				t.Errorf("outcome %d, entry %+v, %v; want outcome %d", res.Outcome, res.Entry, err, test.want)
			}
			reading := journal.ReadDone
			if test.want != journal.Done {
				reading = journal.ReadCorrupt
			}
			head, how, err := journalio.ReadHead(t.Context(), s, storage.Facts{}, "b")
			if how != reading || (head != nil) != (how == journal.ReadDone) || (err != nil) != (how == journal.ReadCorrupt) {
				t.Errorf("the head is %+v, reading %d, %v; want reading %d", head, how, err, reading)
			}
		})
	}
}

// Nobody may act on an entry that a power cut could take away: Execute calls Facts.Settle before it answers an entry.
func TestEntriesAreSettledBeforeTheyAreAnswered(t *testing.T) {
	e := entries("job", 2)
	s := mem.Open().Store
	lay(t, s, "job", 1, e[0])
	lay(t, s, "job", 2, e[1])
	get := journal.Op{Kind: journal.OpGet, Slot: 2}

	t.Run("the store settles the job's journal", func(t *testing.T) {
		var settled []string
		facts := storage.Facts{Settle: func(_ context.Context, prefix string) error { settled = append(settled, prefix); return nil }}
		res, err := journalio.Execute(t.Context(), s, facts, "job", get)
		if err != nil || res.Entry == nil || fmt.Sprint(settled) != "[job/_journal/]" {
			t.Errorf("entry %+v, %v, settled %q; want the entry, and job/_journal/ settled once", res.Entry, err, settled)
		}
		settled = nil
		if _, how, err := journalio.ReadHead(t.Context(), s, facts, "job"); how != journal.ReadDone || err != nil || len(settled) == 0 {
			t.Errorf("reading %d, %v, settled %q; want ReadDone, and at least one call of Settle", how, err, settled)
		}
	})
	t.Run("what cannot be settled is not known", func(t *testing.T) {
		broken := errors.New("fsync failed")
		facts := storage.Facts{Settle: func(context.Context, string) error { return broken }}
		res, err := journalio.Execute(t.Context(), s, facts, "job", get)
		if res.Outcome != journal.Unknown || res.Entry != nil || !errors.Is(err, broken) {
			t.Errorf("outcome %d, entry %+v, %v; want Unknown, no entry, and the cause", res.Outcome, res.Entry, err)
		}
		synctest.Test(t, func(t *testing.T) {
			head, how, err := journalio.ReadHead(t.Context(), s, facts, "job")
			if head != nil || how != journal.ReadMore || !errors.Is(err, broken) {
				t.Errorf("the head is %+v, reading %d, %v; want no head, ReadMore, and the cause", head, how, err)
			}
		})
	})
}

func TestOutcomes(t *testing.T) {
	wrap := func(err error) error { return &storage.Error{Op: "open", Key: "k", Err: fmt.Errorf("x: %w", err)} }
	for err, want := range map[error]struct{ read, write journal.Outcome }{
		nil:                        {journal.Done, journal.Done},
		storage.ErrUnknown:         {journal.Unknown, journal.Unknown},
		storage.ErrExists:          {journal.Unknown, journal.Exists},
		storage.ErrNotFound:        {journal.NotFound, journal.NotDone},
		layout.ErrCorrupt:          {journal.Corrupt, journal.NotDone},
		journal.ErrCorrupt:         {journal.Corrupt, journal.NotDone},
		layout.ErrNewerFormat:      {journal.Newer, journal.NotDone},
		layout.ErrUnknownKind:      {journal.Newer, journal.NotDone},
		journal.ErrNewer:           {journal.Newer, journal.NotDone},
		context.DeadlineExceeded:   {journal.Unknown, journal.NotDone},
		errors.New("disk on fire"): {journal.Unknown, journal.NotDone},
	} {
		seen := err
		if err != nil {
			seen = wrap(err)
		}
		if got := journalio.ReadOutcome(seen); got != want.read {
			t.Errorf("a read that fails with %v: outcome %d, want %d", seen, got, want.read)
		}
		if got := journalio.WriteOutcome(seen); got != want.write {
			t.Errorf("a write that fails with %v: outcome %d, want %d", seen, got, want.write)
		}
	}
}
