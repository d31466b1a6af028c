package incremental

// Index is what an owner knows of the job's files. It is a value. All files in it exist, except condemned ones.
//
// A file is reachable (a retained checkpoint names it), promised (to a pending checkpoint; the caller keeps these),
// or condemned (nothing will ever need it; it waits to be deleted). A file can also be none of these: it was
// acknowledged for a checkpoint that came to nothing, or it became unreachable while it was promised. The next
// completion, or a sweep, condemns such files.
type Index struct {
	// Known are all files that a retained checkpoint named at attach, or that were acknowledged since, and that are
	// not deleted yet.
	Known Files
	// AtAttach are the known files of older epochs.
	AtAttach Files
	// Reachable are the files that a retained checkpoint names.
	Reachable Files
	// Condemned are files that wait to be deleted. They need not be Known: a sweep also finds orphans.
	Condemned Files
}

// Promisable returns those of files that may be promised: reachable now, or of this epoch, acknowledged and not
// condemned.
func (x Index) Promisable(files Files) Files {
	return files.And(x.Reachable.Or(x.Known.Minus(x.AtAttach).Minus(x.Condemned)))
}

// Idle returns the known files that are neither reachable nor promised nor condemned.
func (x Index) Idle(promised Files) Files {
	return x.Known.Minus(x.Reachable).Minus(promised).Minus(x.Condemned)
}

// Gone removes condemned files that were deleted.
func (x *Index) Gone(files Files) {
	x.Known = x.Known.Minus(files)
	x.Condemned = x.Condemned.Minus(files)
}
