// Package filesink writes records to files of a local folder, each record exactly once. It owns the files' names, the staging folder, the order of
// the system calls and the lines' format. It knows no daemon: when a checkpoint is complete, and which attempt runs, it is told.
//
//	<dir>/<name>-<subtask>-<checkpoint>-<attempt>.csv             published: the lines of one subtask between two checkpoints
//	<dir>/.pending/<name>-<subtask>-<attempt>-<sequence>.csv      a part that is being written, or pre-committed
//
// # One part
//
//	Write      create the part (O_EXCL), on its first record only: an empty part is never made
//	PreCommit  flush, fsync the file, close, fsync .pending; the part's id goes into the checkpoint's state
//	Commit     link(2) to the final name, fsync dir, remove from .pending
//
// A crash at any point leaves one of: a part that no state names (forgotten by the next Restore), a part that a state names (published by
// the Restore of that state), both names of one file, or the final name alone (published already, both times). link never replaces, so a part is published
// at most once, and whole.
//
// # Why a zombie does no harm
//
// Let attempt A be replaced by B, which restores checkpoint R, while a process still runs A and does not know. Three facts come
// from outside: a checkpoint of A cannot complete once B has begun; a process hears Complete only of checkpoints of its own attempt; an
// attempt has at most one process for a subtask, ever. Then:
//
//   - Parts in R's state belong to a complete checkpoint. A may publish them late and B publishes them at once: it is the same file under the
//     same final name, and whoever comes second finds it there.
//   - Parts that A pre-committed under a checkpoint after R, and its open one, hold records that B will write again. A never hears that such a
//     checkpoint is complete, as it is not; so A never publishes them, and B removes them. What A stages later still stays in .pending until
//     the next attempt's Restore.
//   - B's own parts bear B in both names, so A can neither publish nor overwrite nor remove them: A's Restore removes parts of attempts below A only.
//   - Removing the parts of attempts below B loses nothing: R is the newest complete checkpoint of all those attempts, and its state names all
//     their parts that were not published before it.
//
// Two jobs may share a folder if their names differ. Rescaling is not handled here: a state is restored by the subtask that wrote it.
package filesink
