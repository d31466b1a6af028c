package owner

// off switches rules off. Nothing but a test sets it, to see the search find what the rule is for.
type off struct {
	// ask: attach without asking the owner that the head names.
	ask bool
	// plan: who must acknowledge is whoever has registered, not the plan in the journal.
	plan bool
	// raise: a new owner repeats the Start of the attempt that it cannot adopt, instead of beginning the next one.
	raise bool
	// guard: BeginSnapshot is answered for any checkpoint.
	guard bool
	// promises do not keep files.
	promises bool
	// floor: a sweep does not wait until nothing below the floor can be acknowledged.
	floor bool
	// third: the sweep's third line is missing.
	third bool
	// reserveMax: a completion reserves from its own id, even downwards.
	reserveMax bool
	// reserved: ids above what is reserved are triggered.
	reserved bool
	// metadata: the entry does not wait for the _metadata.
	metadata bool
	// lost: a commit that lost its slot is given up instead of tried again.
	lost bool
}
