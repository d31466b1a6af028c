// Package filesink writes records to files of a local folder, each record exactly once.
//
// It owns the files' names, the staging folder, the order of the system calls and the format of the lines. It knows
// no daemon: its caller tells it the attempt, and when a checkpoint is complete.
//
//	<dir>/<name>-<subtask>-<checkpoint>-<attempt>.csv          published: one subtask between two checkpoints
//	<dir>/.pending/<name>-<subtask>-<attempt>-<sequence>.csv   a part that is being written, or pre-committed
//
// Files of JSON lines end in .jsonl.
//
// # One part
//
//	Write      create the part (O_EXCL), on its first record only: an empty part is never made
//	PreCommit  flush, fsync the file, close, fsync .pending; the part's id goes into the checkpoint's state
//	Commit     link(2) to the final name, fsync dir, remove from .pending
//
// After a crash at any point one of these is left:
//
//   - a part that no state names; the next Restore removes it
//   - a part that a state names; the Restore of this state publishes it
//   - both names of one file, or the final name alone; the part is published already
//
// link never replaces a file, so a part is published at most once, and whole.
//
// # Why a process of a replaced attempt does no harm
//
// Attempt A was replaced by B, which restores checkpoint R. A process still runs A and does not know of B.
// The coordinator guarantees three facts. No checkpoint of A completes once B has begun. A process receives Complete
// only for checkpoints of its own attempt. An attempt never has more than one process for a subtask. Then:
//
//   - Parts in R's state belong to a complete checkpoint. A may publish them late, and B publishes them at once. Both
//     link the same file to the same final name; the second one finds it there.
//   - A may have pre-committed parts under checkpoints after R, and has an open part. B writes their records again.
//     These checkpoints never complete, so A never publishes the parts, and B removes them. Parts that A stages later
//     stay in .pending until the next attempt's Restore.
//   - B's own parts have B in both names, so A can neither publish nor overwrite nor remove them: A's Restore removes
//     only parts of attempts below A.
//   - Removing the parts of attempts below B loses nothing. R is the newest complete checkpoint of these attempts, and
//     its state names all their parts that were not published before it.
//
// Two jobs may share a folder if their names differ. Rescaling is not supported: the subtask that wrote a state
// restores it.
package filesink
