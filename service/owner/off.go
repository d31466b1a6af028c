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
	// newest: an attempt restores the oldest retained checkpoint.
	newest bool
	// atAttach: a file of an older epoch is promised again after its last user fell.
	atAttach bool
	// life: results of an earlier life count.
	life bool
	// stale: BeginSnapshot and Acknowledge of other epochs and attempts are taken.
	stale bool
	// keeps: a process of an older attempt takes over from a live one.
	keeps bool
	// loading: checkpoints are triggered before the _metadata of the retained ones are read.
	loading bool
	// unknown: a _metadata whose write has an unknown outcome was not written. exists: one that is there already is ours.
	unknown, exists bool
	// unansweredMetas: a _metadata that is on its way when its checkpoint is aborted is forgotten.
	unansweredMetas bool
	// hidden: a hidden checkpoint does not keep its files, though it is lent.
	hidden bool
	// unread: deletes go on while a retained _metadata cannot be read.
	unread bool
	// order: files are deleted before the _metadata that name them.
	order bool
	// page: a sweep ends with its first page. swept: a sweep before the end counts as the last one.
	page, swept bool
	// failed: files whose delete failed are forgotten.
	failed bool
	// above: what is unfinished above the head's slot is given up, too.
	above bool
}
