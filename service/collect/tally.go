package collect

import (
	"slices"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/owner"
)

// shownKeys is how many names a group holds.
const shownKeys = 10

// reasons are the verdicts for which an object goes, as the API names them.
var reasons = map[owner.Verdict]ckptdv1.CollectReason{
	owner.VerdictOld:               ckptdv1.CollectReason_COLLECT_REASON_OLD,
	owner.VerdictNeverAcknowledged: ckptdv1.CollectReason_COLLECT_REASON_NEVER_ACKNOWLEDGED,
	owner.VerdictFell:              ckptdv1.CollectReason_COLLECT_REASON_FELL,
	owner.VerdictDropped:           ckptdv1.CollectReason_COLLECT_REASON_DROPPED,
	owner.VerdictCondemned:         ckptdv1.CollectReason_COLLECT_REASON_CONDEMNED,
}

// Reason is the API's name for the verdict on an object that nothing needs.
func Reason(v owner.Verdict) ckptdv1.CollectReason { return reasons[v] }

// Text is a reason in words: the owner machine's, or that of a plan from outside.
func Text(r ckptdv1.CollectReason) string {
	if r == ckptdv1.CollectReason_COLLECT_REASON_EXPIRED_TRASH {
		return "its time in the trash is over"
	}
	for v, reason := range reasons {
		if reason == r {
			return v.String()
		}
	}
	return "nothing needs it"
}

// Add counts an object that goes, in the job and in the group of its reason.
func Add(job *ckptdv1.CollectedJob, item *ckptdv1.CollectItem) {
	i := slices.IndexFunc(job.Groups, func(g *ckptdv1.CollectGroup) bool { return g.GetReason() == item.GetReason() })
	if i < 0 {
		i = len(job.Groups)
		job.Groups = append(job.Groups, &ckptdv1.CollectGroup{Reason: item.GetReason(), Text: Text(item.GetReason())})
	}
	g := job.Groups[i]
	g.Objects++
	g.Bytes += item.GetBytes()
	if len(g.Keys) < shownKeys {
		g.Keys = append(g.Keys, item.GetKey())
	}
	job.Objects++
	job.Bytes += item.GetBytes()
}
