package journal

// Role says who appends. It decides what a lost race means.
type Role uint8

// The roles.
const (
	// RoleOwner appends in its own epoch.
	RoleOwner Role = iota
	// RoleAttach raises the epoch.
	RoleAttach
	// RoleThird is another job's daemon that pins or returns: it keeps epoch, owner, attempt and reservation of the head.
	RoleThird
)

// Verdict is how an append ended.
type Verdict uint8

// The verdicts.
const (
	// Open: an operation is under way.
	Open Verdict = iota
	// Won: the entry, or its effect, is in the head returned.
	Won
	// Lost: another entry of the same epoch took the slot. The caller rebases on the head returned, checks again, and
	// retries.
	Lost
	// Fenced: the head has another epoch. The caller announces nothing, deletes nothing, forgets its state and reloads.
	Fenced
	// NotWon: the attach failed. The caller begins it again and first asks the owner that the head names.
	NotWon
	// Unreadable: the head cannot be read, so nobody knows whether the entry counts. The caller stops as if fenced.
	Unreadable
)

// Append puts one entry into the journal and finds out whether it counts. The zero value is ready to Begin.
type Append struct {
	state   appendState
	role    Role
	created bool
	unknown bool
	next    *Entry
	read    ReadHead
}

type appendState uint8

const (
	appendIdle appendState = iota
	appendPublish
	appendCheck
)

// Begin publishes next after base (nil: into an empty journal). Begin fills in slot, nonce and ring of next.
func (a *Append) Begin(set *Settings, base *Entry, next Entry, nonce Nonce, role Role) Op {
	next.Slot, next.Nonce = 1, nonce
	var ring []Nonce
	if base != nil {
		next.Slot = base.Slot + 1
		ring = base.Ring[max(0, len(base.Ring)-set.Ring+1):]
	}
	next.Ring = append(append(make([]Nonce, 0, len(ring)+1), ring...), nonce)
	next.LeastReader, next.LeastWriter = max(next.LeastReader, 1), max(next.LeastWriter, next.leastWriter())
	next.seal()
	*a = Append{state: appendPublish, role: role, next: &next}
	return Op{Kind: OpPublish, Slot: next.Slot, Entry: a.next}
}

// Busy tells whether an operation is under way.
func (a *Append) Busy() bool { return a.state != appendIdle }

// Next is the entry that is being appended; nil if none is.
func (a *Append) Next() *Entry { return a.next }

// Step takes the result of the last operation. effect tells whether the purpose of this append is fulfilled in a head
// of the same epoch (RoleThird: of any epoch). Together with a verdict, Step returns the head and the slots that may be
// trimmed.
func (a *Append) Step(set *Settings, res Result, effect func(*Entry) bool) (op Op, v Verdict, head *Entry, trim []uint64) {
	switch a.state {
	case appendPublish:
		op, v = a.published(set, res)
		if v != Open {
			head = a.next
		}
	case appendCheck:
		op, v, head = a.checked(set, res, effect)
		trim = a.read.shown
	}
	if v != Open {
		*a = Append{}
	}
	return op, v, head, trim
}

func (a *Append) published(set *Settings, res Result) (Op, Verdict) {
	switch res.Outcome {
	case Done:
		a.created = true
		if set.off.check {
			return Op{}, Won
		}
	case Exists:
		if set.off.nonceB {
			return Op{}, Lost
		}
	default:
		// Publish the same bytes again until somebody's entry is in the slot. Reading the slot back as "not found"
		// would prove nothing, because the write may land later, and an append must end in a verdict.
		a.unknown = true
		if !set.off.occupy {
			return Op{Kind: OpPublish, Slot: a.next.Slot, Entry: a.next, Wait: WaitBackoff}, Open
		}
	}
	a.state = appendCheck
	if a.unknown && set.off.occupy {
		return a.read.Begin(0), Open
	}
	return a.read.Begin(a.next.Slot), Open
}

func (a *Append) checked(set *Settings, res Result, effect func(*Entry) bool) (Op, Verdict, *Entry) {
	if a.created && set.TrustList && a.read.state == readList && res.Outcome == Done && largestOf(res.Slots) == a.next.Slot {
		a.read.show(set, a.next.Slot, res.Slots)
		return Op{}, Won, a.next
	}
	op, how := a.read.Step(set, res)
	switch how {
	case ReadMore:
		return op, Open, nil
	case ReadDone:
		return Op{}, a.judge(set, a.read.entry, effect), a.read.entry
	case ReadEmpty: // happens only if a test has switched a rule off
		return Op{}, Lost, nil
	}
	return Op{}, Unreadable, nil
}

func (a *Append) judge(set *Settings, head *Entry, effect func(*Entry) bool) Verdict {
	mine := head.Epoch == a.next.Epoch
	switch {
	case head.Nonce == a.next.Nonce:
		return Won
	case set.off.nonceA && mine && head.Slot >= a.next.Slot:
		return Won
	case (mine || a.role == RoleThird) && (head.InRing(a.next.Nonce) || effect(head)):
		return Won
	case a.role == RoleAttach:
		return NotWon
	case mine || a.role == RoleThird:
		return Lost
	}
	return Fenced
}
