package owner

// off switches rules off. Only tests set it: with a rule switched off, the search must find the harm that the rule
// prevents. Each flag says what the machine does while it is true.
type off struct {
	// ask: it attaches without asking the owner that the head names.
	ask bool
	// plan: the registered subtasks must acknowledge, instead of those of the plan in the journal.
	plan bool
	// raise: a new owner repeats the Start of an attempt that it cannot adopt, instead of beginning the next one.
	raise bool
	// guard: it answers BeginSnapshot for any checkpoint.
	guard bool
	// promises: it condemns files in spite of promises.
	promises bool
	// floor: its sweep condemns files of checkpoints that can still be acknowledged.
	floor bool
	// third: its sweep keeps a known file that no checkpoint names, even if no checkpoint is pending.
	third bool
	// reserveMax: a completion reserves from its own id, and so may lower the reservation.
	reserveMax bool
	// reserved: it triggers checkpoints with ids above the reserved ones.
	reserved bool
	// asked: a savepoint that a person asked for can be disposed of.
	asked bool
	// suspended: the entry of an attempt leaves a suspended job suspended.
	suspended bool
	// metadata: it appends the entry of a checkpoint before the _metadata is durable.
	metadata bool
	// lost: it gives up a commit that lost its slot, instead of trying again.
	lost bool
	// newest: an attempt restores the oldest retained checkpoint.
	newest bool
	// atAttach: a file of an older epoch is promised again after its last user fell.
	atAttach bool
	// life: it takes results of an earlier life.
	life bool
	// stale: it takes BeginSnapshot and Acknowledge of other epochs and attempts.
	stale bool
	// keeps: a process of an older attempt takes over from a live one.
	keeps bool
	// loading: it triggers checkpoints before the _metadata of the retained ones are read.
	loading bool
	// unknown: it takes an unknown outcome of writing a _metadata for "not written". exists: it takes a _metadata that
	// exists already for its own.
	unknown, exists bool
	// unansweredMetas: it forgets a _metadata that is being written when its checkpoint is aborted.
	unansweredMetas bool
	// hidden: a hidden checkpoint does not keep its files, though it is lent.
	hidden bool
	// unread: it deletes while a retained _metadata cannot be read.
	unread bool
	// order: it deletes files before the _metadata that name them.
	order bool
	// page: a sweep ends with its first page. swept: a sweep from before the job's end counts as the last one.
	page, swept bool
	// failed: it forgets files whose delete failed.
	failed bool
	// forgets: when an attach refuses one caller, it forgets all others. changes: another plan comes into effect while
	// workers are registered. unknownAttempt: it comes into effect while workers of the attempt that was found may run.
	forgets, changes, unknownAttempt bool
	// finished: subtasks that finished in an earlier attempt count as finished.
	finished bool
	// lends: an import takes no pins. returns: a pin is returned before the entry that makes it superfluous is won. owes:
	// an ended job is released before its pins are returned.
	lends, returns, owes bool
	// terminal: a checkpoint of a running job is claimed. one: several jobs claim a checkpoint. replaces: a new owner does
	// not replace the claim of the one before.
	terminal, one, replaces bool
	// hides: a claimed checkpoint that its claimer lets go is dropped at once, not hidden. outlives: it goes also if the
	// claimer has no checkpoint of its own.
	hides, outlives bool
	// condemns: foreign files are promised after nothing reaches them. reaches: the pin of a claim is returned with the
	// imported checkpoint, though a later one names its files. pending: promised foreign files do not keep their pin.
	condemns, reaches, pending bool
	// wanted: a pin has leaked though its holder still wants its import. gate: attempts begin before the import is done.
	wanted, gate bool
	// trash: a checkpoint in the trash does not keep its files. purge: a purge does not wait for pins. newestGoes: a person may
	// remove the checkpoint that the job would restore. settles: an ended job is not swept once more. early: the
	// trash and the pins of tools expire at once, whatever the store's time is.
	trash, purge, newestGoes, settles, early bool
	// occupies: a pin has leaked if its holder shows no journal; its first slot is not occupied before.
	occupies bool
	// copied: an import from elsewhere forgets its copies.
	copied bool
	// unfinished: it sweeps a copy that has not ended.
	unfinished bool
	// tombstone: it cleans a savepoint without a tombstone. saved: it reports a savepoint before the entry that makes it done.
	// listed: an unfinished savepoint leaves the list.
	tombstone, saved, listed bool
	// stopping: an attempt of a stopping job restores the newest checkpoint.
	stopping bool
	// above: it also aborts an unfinished slot above the head's.
	above bool
}
