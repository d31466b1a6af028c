package incremental

// Index is what an owner knows of the job's files. It is a value; all files in it exist, but for condemned ones.
//
// A file is reachable (a retained checkpoint names it), promised (to a pending checkpoint; kept by the caller), condemned (nothing
// will ever need it; it waits to be deleted), or none of these: acknowledged for a checkpoint that came to nothing, or fallen
// while a promise held it. Those are condemned with the next completion, or by a sweep.
type Index struct {
	// Known are all files named by a retained checkpoint at attach or acknowledged since, and not deleted yet.
	Known Set
	// AtAttach are those of older epochs.
	AtAttach Set
	// Reachable are those that a retained checkpoint names.
	Reachable Set
	// Condemned may hold files that are not Known: orphans that a sweep found.
	Condemned Set
}

// Promisable is those of files that may be promised: reachable now, or of this epoch, acknowledged and not condemned.
func (x Index) Promisable(files Set) Set {
	return files.And(x.Reachable.Or(x.Known.Minus(x.AtAttach).Minus(x.Condemned)))
}

// Idle is everything known that is neither reachable nor promised nor condemned.
func (x Index) Idle(promised Set) Set {
	return x.Known.Minus(x.Reachable).Minus(promised).Minus(x.Condemned)
}

// Gone forgets condemned files that were deleted.
func (x *Index) Gone(files Set) {
	x.Known = x.Known.Minus(files)
	x.Condemned = x.Condemned.Minus(files)
}
