package owner

import (
	"slices"

	"github.com/ckptd/ckptd/incremental"
)

// Verdict says whether an owner keeps an object of its job, and why. Judge gives the verdict on a file that a list
// shows, JudgeMetadata that on a _metadata, Condemn those on what a completion or the end of the job leaves behind.
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

// Judge gives the verdict on a file that a list shows. It must be called only while this machine owns the job.
func (m *Machine) Judge(f Found) Verdict {
	if why, _ := m.unread(); why != ReasonNone {
		return VerdictUnread
	}
	return m.judge(f, m.promised(), off{})
}

// judge is Judge after all retained _metadata were read. promised holds all promised files.
func (m *Machine) judge(f Found, promised incremental.Files, rules off) Verdict {
	switch epoch := m.head.Epoch; {
	case m.index.Condemned.Has(f.File):
		return VerdictCondemned
	case m.index.Reachable.Has(f.File):
		return VerdictNeeded
	case promised.Has(f.File):
		return VerdictPromised
	case m.index.Known.Has(f.File): // the last checkpoint naming it was dropped, and a promise kept it until now
		if len(m.pending) > 0 || rules.third {
			return VerdictWaits
		}
		return VerdictFell
	case f.Epoch < epoch:
		return VerdictOld
	case f.Epoch > epoch:
		return VerdictLater
	case f.Checkpoint < m.floor() || rules.floor: // only an acknowledgement of its own checkpoint could name it
		return VerdictNeverAcknowledged
	}
	return VerdictOpen
}

// JudgeMetadata gives the verdict on the _metadata of a checkpoint that a list shows. It must be called only while this
// machine owns the job.
func (m *Machine) JudgeMetadata(id uint64) Verdict {
	_, retained := m.head.Checkpoint(id)
	why, _ := m.unread()
	switch {
	case retained:
		return VerdictNeeded
	case why != ReasonNone:
		return VerdictUnread
	case slices.Contains(m.metas, id):
		return VerdictCondemned
	case id < m.floor():
		return VerdictDropped
	}
	return VerdictOpen
}
