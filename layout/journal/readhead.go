package journal

// Reading is the progress of a ReadHead.
type Reading uint8

// The values of Reading.
const (
	// ReadMore: an operation is under way.
	ReadMore Reading = iota
	// ReadDone: Head is the head.
	ReadDone
	// ReadEmpty: there is no journal, and nothing else of the job either.
	ReadEmpty
	// ReadForeign: there is no journal, but the job's folder is not empty. The caller must change nothing.
	ReadForeign
	// ReadCorrupt: the head cannot be decoded. The caller must change nothing.
	ReadCorrupt
	// ReadNewer: the head needs a newer version. The caller must change nothing.
	ReadNewer
)

// ReadHead finds the head: LIST, GET the largest, LIST again. The zero value is ready to Begin.
type ReadHead struct {
	state   readState
	slot    uint64
	atLeast uint64
	got     Outcome
	entry   *Entry
	shown   []uint64
}

type readState uint8

const (
	readIdle readState = iota
	readList
	readGet
	readListAgain
)

// Begin starts a new read. atLeast is a slot that was certainly written: a LIST without it is stale.
func (r *ReadHead) Begin(atLeast uint64) Op {
	*r = ReadHead{state: readList, atLeast: atLeast}
	return Op{Kind: OpList}
}

// Busy tells whether an operation is under way.
func (r *ReadHead) Busy() bool { return r.state != readIdle }

// Head is the head, after ReadDone.
func (r *ReadHead) Head() *Entry { return r.entry }

// Step takes the result of the last operation.
func (r *ReadHead) Step(set *Settings, res Result) (Op, Reading) {
	switch r.state {
	case readList:
		return r.listed(set, res)
	case readGet:
		return r.gotSlot(set, res)
	case readListAgain:
		return r.listedAgain(set, res)
	}
	return Op{}, ReadMore
}

func (r *ReadHead) listed(set *Settings, res Result) (Op, Reading) {
	largest := largestOf(res.Slots)
	switch {
	case res.Outcome != Done, largest < r.atLeast: // failed, or stale
		return Op{Kind: OpList, Wait: WaitBackoff}, ReadMore
	case largest == 0 && res.Foreign:
		return r.end(nil, ReadForeign)
	case largest == 0:
		return r.end(nil, ReadEmpty)
	}
	r.show(set, largest, res.Slots)
	return r.get(largest, WaitNot)
}

func (r *ReadHead) get(slot uint64, wait Wait) (Op, Reading) {
	r.state, r.slot, r.atLeast = readGet, slot, slot
	return Op{Kind: OpGet, Slot: slot, Wait: wait}, ReadMore
}

func (r *ReadHead) gotSlot(set *Settings, res Result) (Op, Reading) {
	switch res.Outcome {
	case NotFound: // trimmed meanwhile, so a larger slot exists
		r.state, r.entry = readList, nil
		return Op{Kind: OpList}, ReadMore
	case Done, Corrupt, Newer:
	default:
		return r.get(r.slot, WaitBackoff)
	}
	r.got, r.entry = res.Outcome, res.Entry
	switch {
	case r.got != Done:
		r.entry = nil
	case r.entry == nil || r.entry.Slot != r.slot:
		r.got, r.entry = Corrupt, nil
	case r.entry.LeastReader > set.Version:
		r.got, r.entry = Newer, nil
	}
	if set.off.listAfterGet {
		return r.judge()
	}
	// Between LIST and GET the slot may have been trimmed, and created again by a late duplicate of its write. The
	// largest slot only grows and is never deleted. So if a second LIST shows the same largest slot, the entry read was
	// the head.
	r.state = readListAgain
	return Op{Kind: OpList}, ReadMore
}

func (r *ReadHead) listedAgain(set *Settings, res Result) (Op, Reading) {
	largest := largestOf(res.Slots)
	if res.Outcome != Done || largest < r.slot {
		return Op{Kind: OpList, Wait: WaitBackoff}, ReadMore
	}
	r.show(set, largest, res.Slots)
	if largest != r.slot {
		r.entry = nil
		return r.get(largest, WaitNot)
	}
	return r.judge()
}

func (r *ReadHead) judge() (Op, Reading) {
	switch r.got {
	case Corrupt:
		return r.end(nil, ReadCorrupt)
	case Newer:
		return r.end(nil, ReadNewer)
	}
	return r.end(r.entry, ReadDone)
}

func (r *ReadHead) end(head *Entry, how Reading) (Op, Reading) {
	*r = ReadHead{entry: head, shown: r.shown}
	return Op{}, how
}

// show remembers which slots of a list may be trimmed, once the largest is proven to be the head.
func (r *ReadHead) show(set *Settings, largest uint64, slots []uint64) {
	r.shown = nil
	for _, s := range slots {
		if s+set.Keep < largest {
			r.shown = append(r.shown, s)
		}
	}
}

func largestOf(slots []uint64) (largest uint64) {
	for _, s := range slots {
		largest = max(largest, s)
	}
	return largest
}
