package journal

// Role is who appends: it decides what a lost race means.
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
	// Lost: another entry took the slot; rebase on the head returned, check again, retry.
	Lost
	// Fenced: another epoch. Announce nothing, delete nothing, forget, reload.
	Fenced
	// NotWon: an attach that begins again from the start, asking first.
	NotWon
	// Unreadable: the head cannot be read any more; nothing is known. Stop as if fenced.
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
