package owner

import (
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/retention"
)

// append publishes an edit of the head. The caller has made sure that no other append is under way.
func (s *step) append(e journal.Entry, id uint64) {
	s.doing, s.doingID = e.Kind, id
	s.journal(s.app.Begin(&s.cfg.Journal, s.head, e, s.nonce(), journal.RoleOwner))
}

// apply adds a checkpoint, unless its id is 0, and carries out a plan of package retention.
// A checkpoint whose source the job claims is one like its own. The twin of the savepoint that stops the job ends with the job.
func (s *step) apply(head *journal.Entry, add journal.Checkpoint, plan func([]retention.Checkpoint) []retention.Decision) []journal.Checkpoint {
	retained, lent, claims := head.Retained, head.IsLent, head.Import.Mode == journal.Claim
	all := without(retained, func(c journal.Checkpoint) bool { return c.ID == add.ID })
	if add.ID != 0 {
		all = append(all, add)
	}
	facts := make([]retention.Checkpoint, len(all))
	for i, c := range all {
		_, twin := head.Savepoint(c.ID)
		facts[i] = retention.Checkpoint{ID: c.ID, Savepoint: c.Type == journal.TypeSavepoint && !twin, Lent: lent(c.ID),
			Hidden: c.State == journal.StateHidden, Trashed: c.State == journal.StateTrashed, Keep: c.Keep, Imported: c.Imported && !claims}
	}
	var out []journal.Checkpoint
	for i, d := range plan(facts) {
		switch d.Action {
		case retention.Hide:
			out = append(out, hidden(all[i]))
		case retention.Trash:
			out = append(out, s.toTrash(all[i], s.window()))
		case retention.Keep:
			out = append(out, all[i])
		}
	}
	return s.emptier(out, lent)
}

// remember adds a request to the last ones; the oldest makes room.
func remember(requests []journal.Request, r journal.Request) []journal.Request {
	if r == (journal.Request{}) {
		return requests
	}
	return with(requests[max(0, len(requests)-journal.MaxRequests+1):], r)
}
