package journal

// OpKind is what an Op asks for.
type OpKind uint8

// The operations of the journal's machines.
const (
	// OpNone: nothing to do.
	OpNone OpKind = iota
	// OpList lists the slots -> Done{Slots, Foreign} or Unknown.
	OpList
	// OpGet reads Slot -> Done{Entry}, NotFound, Corrupt, Newer or Unknown.
	OpGet
	// OpPublish creates Entry.Slot from Entry -> Done, Exists, NotDone or Unknown.
	OpPublish
)

// Wait says what the executor does before it starts an operation.
type Wait uint8

// How long to wait.
const (
	// WaitNot: start at once.
	WaitNot Wait = iota
	// WaitBackoff: the same failed just now; wait as for any retry.
	WaitBackoff
	// WaitJitter: two processes raced; wait 0.2 to 2 seconds, at random.
	WaitJitter
)

// Op is one storage operation. At most one of a machine's is under way.
type Op struct {
	Kind OpKind
	Wait Wait
	Slot uint64
	// Entry to publish, sealed.
	Entry *Entry
}

// Outcome is how an operation ended.
type Outcome uint8

// The outcomes.
const (
	// Unknown: a mutation may have happened, may still happen, or never; a read failed.
	Unknown Outcome = iota
	// Done: it happened, and is durable.
	Done
	// Exists: not done, the object is there already.
	Exists
	// NotFound: there is no such object.
	NotFound
	// NotDone: not done, and it will not happen later.
	NotDone
	// Corrupt: the object is there and cannot be read.
	Corrupt
	// Newer: the object is there and asks for a newer version than ours.
	Newer
)

// Result is the answer to an Op.
type Result struct {
	Outcome Outcome
	// Slots that a list found, in any order.
	Slots []uint64
	// Foreign: the list found no slot, but other objects in the job's folder.
	Foreign bool
	// Entry that was read.
	Entry *Entry
}

// Settings are the sizes of the journal.
type Settings struct {
	// Ring is how many nonces an entry keeps, its own included; at least 2.
	Ring int
	// Keep is how many slots are kept beside the head.
	Keep uint64
	// Version is the format version this process writes; entries of a larger least reader are not read, and nothing is appended
	// after one of a larger least writer.
	Version uint32
	// TrustList: storage.Facts.ListShowsPublished.
	TrustList bool

	off off
}

// DefaultSettings are those of protocol and production.
func DefaultSettings() Settings { return Settings{Ring: 16, Keep: 16, Version: FormatVersion} }

// FormatVersion is the format of entries that this package writes.
const FormatVersion = 1

// off switches rules off. Nothing but a test sets it, to see the search find what the rule is for.
type off struct {
	// listAfterGet: read the head without the second list.
	listAfterGet bool
	// check: a created slot is won without a look at the head.
	check bool
	// occupy: an append of unknown outcome that is not in the head has failed.
	occupy bool
	// nonceA: an epoch like ours in the head is our entry. nonceB: "exists" means that somebody else's entry is there.
	nonceA, nonceB bool
}
