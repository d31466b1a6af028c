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
	// WaitBackoff: the same operation has just failed. The executor waits as before any retry.
	WaitBackoff
	// WaitJitter: two processes raced. The executor waits 0.2 to 2 seconds, at random.
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
	// Unknown: a mutation may have happened, or may happen later, or never. A read has failed.
	Unknown Outcome = iota
	// Done: the operation has succeeded; a mutation is durable.
	Done
	// Exists: nothing was done, because the object exists already.
	Exists
	// NotFound: there is no such object.
	NotFound
	// NotDone: nothing was done, and the mutation will not happen later.
	NotDone
	// Corrupt: the object exists, but its bytes cannot be decoded.
	Corrupt
	// Newer: the object exists, but needs a newer version than ours.
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
	// Version is the format version that this process writes. The process does not read an entry with a larger least
	// reader, and does not append after an entry with a larger least writer.
	Version uint32
	// TrustList: storage.Facts.ListShowsPublished.
	TrustList bool

	off off
}

// DefaultSettings are the settings of the protocol, used in production.
func DefaultSettings() Settings { return Settings{Ring: 16, Keep: 16, Version: FormatVersion} }

// FormatVersion is the format of entries that this package writes. Version 2 knows when a checkpoint leaves the trash, and
// when an ended job was released and is settled.
const FormatVersion = 2

// off switches rules off. Only tests set it: with a rule switched off, the search must find the harm that the rule
// prevents. Each flag says what the machines do while it is true.
type off struct {
	// listAfterGet: ReadHead leaves out the second list.
	listAfterGet bool
	// check: Append takes a created slot for won without reading the head.
	check bool
	// occupy: Append takes an append of unknown outcome for failed if the entry is not in the head.
	occupy bool
	// nonceA: Append takes a head of the same epoch for its own entry. nonceB: Append takes "exists" for somebody
	// else's entry.
	nonceA, nonceB bool
}
