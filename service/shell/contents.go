package shell

import (
	"time"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/keygroup"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/coordinator"
)

// content holds what the acknowledgements of a pending checkpoint named.
type content struct {
	triggeredAt time.Time
	// completedAt is set when the last subtask has acknowledged. From then on the content does not change.
	completedAt time.Time
	inline      int // bytes of inline state
	pieces      map[uint32][]piece
	// described are the files that other daemons stored for the checkpoint. The first acknowledgement of a file
	// describes it.
	described map[incremental.File]incremental.Description
	// finished has the subtasks that have finished, as they acknowledged.
	finished map[uint32]bool
	// abort is why the coordinator aborted the checkpoint; empty: it did not.
	abort      coordinator.Reason
	abortCause string
	kind       ckptdv1.RecordKind
	acks       ackTimes
	// unwritten is the store's error for the _metadata; nil: there was none.
	unwritten error
}

// piece is one part of a subtask's state: a file, or inline bytes.
type piece struct {
	name, instance string
	isFile         bool
	file           incremental.File
	segment        *layout.Segment // the piece's part of the file; nil: the whole file
	inline         []byte
	groups         *keygroup.Range
	state          layout.State
}

// handle returns the piece in the form of a _metadata. file is the number of its file there.
func (p *piece) handle(file layout.FileRef) layout.Handle {
	return layout.Handle{
		File: file, Segment: p.segment, Inline: p.inline, Name: p.name, InstanceNonce: p.instance, KeyGroups: p.groups, State: p.state,
	}
}

func newContent(now time.Time, plan *journal.Plan, kind ckptdv1.RecordKind) *content {
	return &content{
		triggeredAt: now, kind: kind, acks: ackTimes{plan: plan}, pieces: map[uint32][]piece{}, finished: map[uint32]bool{}, described: map[incremental.File]incremental.Description{},
	}
}
