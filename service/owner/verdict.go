package owner

import (
	"slices"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// Verdict says whether an owner keeps an object of its job, and why. Judge gives the verdict on a file that a list
// shows, JudgeMetadata that on a _metadata, Condemn those on what a completion or the end of the job leaves behind. All
// others who judge, from outside, use a View with the same rules.
type Verdict uint8

// The verdicts. Those from VerdictCondemned on are dead: nothing needs the object, and nothing ever will.
const (
	// VerdictUnread: the _metadata of a retained checkpoint is not read yet, or cannot be read. It may name the object.
	VerdictUnread Verdict = iota
	// VerdictNeeded: a retained checkpoint names the file, or the _metadata is that of a retained checkpoint.
	VerdictNeeded
	// VerdictPromised: the file is promised to a pending checkpoint.
	VerdictPromised
	// VerdictWaits: no checkpoint names the file any more. It can be deleted when no checkpoint is pending.
	VerdictWaits
	// VerdictOpen: the object may belong to a checkpoint that is pending or still to come.
	VerdictOpen
	// VerdictUnseen: no retained checkpoint names the file. The owner may have promised it to a pending checkpoint, and only
	// the owner knows.
	VerdictUnseen
	// VerdictLater: a later owner wrote the object.
	VerdictLater
	// VerdictCondemned: the object is condemned already and waits for its delete.
	VerdictCondemned
	// VerdictFell: the last checkpoint that named the file left the state, or never completed.
	VerdictFell
	// VerdictOld: an earlier owner's file that no retained checkpoint names.
	VerdictOld
	// VerdictNeverAcknowledged: the file was uploaded for a checkpoint that can take no acknowledgement any more.
	VerdictNeverAcknowledged
	// VerdictDropped: the _metadata is that of a checkpoint that left the state, or that never completed.
	VerdictDropped
)

var verdicts = [...]string{
	VerdictUnread:            "a retained _metadata is not read, and may name it",
	VerdictNeeded:            "a retained checkpoint needs it",
	VerdictPromised:          "promised to a pending checkpoint",
	VerdictWaits:             "no checkpoint names it; goes when none is pending",
	VerdictOpen:              "of a checkpoint that may still complete",
	VerdictUnseen:            "no retained checkpoint names it, but the job has an owner, who may have promised it to a pending checkpoint",
	VerdictLater:             "written by a later owner",
	VerdictCondemned:         "condemned, waits for its delete",
	VerdictFell:              "the last checkpoint that named it is gone",
	VerdictOld:               "of an earlier owner, and no retained checkpoint names it",
	VerdictNeverAcknowledged: "uploaded, and never acknowledged in time",
	VerdictDropped:           "of a checkpoint that is not retained",
}

// String gives the reason in a few words, for people.
func (v Verdict) String() string { return verdicts[v] }

// Dead tells whether the object may be deleted.
func (v Verdict) Dead() bool { return v >= VerdictCondemned }

// Judgement is the verdict on one object of the job: on a file, or on the _metadata of a checkpoint. The Verdict's text
// is the reason.
type Judgement struct {
	File incremental.File
	// Checkpoint is not 0: the object is this checkpoint's _metadata.
	Checkpoint uint64
	Verdict    Verdict
}

// Condemn gives the verdicts on what an entry that was won leaves behind: on the _metadata of the checkpoints that it
// dropped, and on the files that the owner knows and nothing needs any more. It must be called only while this machine
// owns the job.
func (m *Machine) Condemn(dropped []uint64) []Judgement { return m.leftBehind(dropped, off{}) }

// leftBehind is Condemn with rules switched off.
func (m *Machine) leftBehind(dropped []uint64, rules off) (all []Judgement) {
	for _, id := range dropped {
		all = append(all, m.dropped(id, rules))
	}
	fell := VerdictFell
	if why, _ := m.unread(); why != ReasonNone && !rules.unread {
		fell = VerdictUnread // a later sweep finds the same objects
	}
	promised := m.promised()
	if rules.promises {
		promised = incremental.Files{}
	}
	for f := range m.index.Idle(promised).All() {
		all = append(all, Judgement{File: f, Verdict: fell})
	}
	return all
}

// dropped gives the verdict on the _metadata of a checkpoint that left the state, or that never completed.
func (m *Machine) dropped(id uint64, rules off) Judgement {
	v := VerdictDropped
	if why, _ := m.unread(); why != ReasonNone && !rules.unread {
		v = VerdictUnread
	} else if slices.Contains(m.metas, id) {
		v = VerdictCondemned
	}
	return Judgement{Checkpoint: id, Verdict: v}
}

// A View is what a judge knows of a job. The owner's view is Machine.view. JanitorView and OutsideView are views of those
// who only read the journal.
type View struct {
	// Epoch is that of the owner for whom the judge speaks.
	Epoch uint64
	// Floor is the lowest checkpoint that can still be acknowledged.
	Floor uint64
	// Unread: the _metadata of a retained checkpoint is not read yet, or cannot be read.
	Unread bool
	// Pending: a checkpoint is pending.
	Pending bool
	// Outside: the job has an owner, and the judge does not see what that owner has promised.
	Outside bool
}

// JanitorView is what a janitor would see that attached to a job with this head now. Nobody else can acknowledge anything
// then.
func JanitorView(head *journal.Entry) View {
	return View{Epoch: head.Epoch + 1, Floor: head.Reserved + 1}
}

// OutsideView is what can be told from the head alone. Nothing is known of the pending checkpoints of an owner.
func OutsideView(head *journal.Entry) View {
	if head.Owner.IsZero() {
		return JanitorView(head)
	}
	return View{Epoch: head.Epoch, Floor: head.Newest() + 1, Outside: true}
}

// Standing is what a judge knows of one file.
type Standing struct {
	// Shared: a later checkpoint may use the file, too.
	Shared bool
	// Epoch and Checkpoint are those of the file's name.
	Epoch, Checkpoint uint64
	// Reachable: a retained checkpoint names the file. Known: the owner had it in the index. Promised: to a pending
	// checkpoint. Condemned: its delete waits.
	Reachable, Known, Promised, Condemned bool
}

// Judge gives the verdict on a file that a list shows.
func (v View) Judge(f Standing) Verdict { return v.judge(f, off{}) }

// judge is Judge with rules switched off.
func (v View) judge(f Standing, rules off) Verdict {
	switch {
	case v.Unread:
		return VerdictUnread
	case f.Condemned:
		return VerdictCondemned
	case f.Reachable:
		return VerdictNeeded
	case f.Promised:
		return VerdictPromised
	case f.Known: // the last checkpoint naming it was dropped, and a promise kept it until now
		if v.Pending || rules.third {
			return VerdictWaits
		}
		return VerdictFell
	case f.Epoch > v.Epoch:
		return VerdictLater
	case f.Epoch == v.Epoch && f.Checkpoint >= v.Floor && !rules.floor:
		return VerdictOpen
	case v.Outside && f.Shared:
		return VerdictUnseen
	case f.Epoch < v.Epoch:
		return VerdictOld
	}
	return VerdictNeverAcknowledged // only an acknowledgement of its own checkpoint could name it
}

// JudgeMetadata gives the verdict on the _metadata of a checkpoint that a list shows.
func (v View) JudgeMetadata(id uint64, retained, condemned bool) Verdict {
	switch {
	case retained:
		return VerdictNeeded
	case v.Unread:
		return VerdictUnread
	case condemned:
		return VerdictCondemned
	case id < v.Floor:
		return VerdictDropped
	}
	return VerdictOpen
}

// view is the owner's view.
func (m *Machine) view() View {
	why, _ := m.unread()
	return View{Epoch: m.head.Epoch, Floor: m.floor(), Unread: why != ReasonNone, Pending: len(m.pending) > 0}
}

// Judge gives the owner's verdict on a file that a list shows. It must be called only while this machine owns the job.
func (m *Machine) Judge(f Found) Verdict { return m.judge(m.view(), f, m.promised(), off{}) }

// judge is Judge for one file of a page. promised holds all promised files.
func (m *Machine) judge(v View, f Found, promised incremental.Files, rules off) Verdict {
	return v.judge(Standing{
		Epoch: f.Epoch, Checkpoint: f.Checkpoint, Reachable: m.index.Reachable.Has(f.File), Known: m.index.Known.Has(f.File),
		Promised: promised.Has(f.File), Condemned: m.index.Condemned.Has(f.File),
	}, rules)
}

// JudgeMetadata gives the owner's verdict on the _metadata of a checkpoint that a list shows. It must be called only while
// this machine owns the job.
func (m *Machine) JudgeMetadata(id uint64) Verdict {
	_, retained := m.head.Checkpoint(id)
	return m.view().JudgeMetadata(id, retained, slices.Contains(m.metas, id))
}
