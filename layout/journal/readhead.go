package journal

// Reading is how far a ReadHead came.
type Reading uint8

// How far.
const (
	// ReadMore: an operation is under way.
	ReadMore Reading = iota
	// ReadDone: Head is the head.
	ReadDone
	// ReadEmpty: there is no journal, and nothing else of the job either.
	ReadEmpty
	// ReadForeign: there is no journal, but the job's folder is not empty. Nothing may be changed.
	ReadForeign
	// ReadCorrupt: the head cannot be read. Nothing may be changed.
	ReadCorrupt
	// ReadNewer: the head asks for a newer version. Nothing may be changed.
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

// Begin starts over. atLeast is a slot that is known to have been written: a LIST without it is stale.
func (r *ReadHead) Begin(atLeast uint64) Op {
	*r = ReadHead{state: readList, atLeast: atLeast}
	return Op{Kind: OpList}
}

// Busy tells whether an operation is under way.
func (r *ReadHead) Busy() bool { return r.state != readIdle }

// Head is the head, after ReadDone.
func (r *ReadHead) Head() *Entry { return r.entry }

// Step takes the result of the operation before.
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
	case NotFound: // trimmed meanwhile: there is a larger one
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
	// Between LIST and GET the slot may have been trimmed and made again by a late duplicate of its write. The largest only grows
	// and is never deleted: if it is the same still, what was read was the head.
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

// show remembers the slots of a list that may be trimmed once its largest is known to be the head.
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
