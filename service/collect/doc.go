// Package collect finds out, without owning a job, which objects of the job nothing needs any more: the plan of a
// collection. It owns the groups that a plan is shown in, and the set of the names that retained checkpoints need.
//
// The package must not know how an object is deleted: an owner does that (package shell). It judges by the owner machine's
// own rules (owner.View), and writes nothing.
package collect
