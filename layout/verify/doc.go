// Package verify says whether checkpoints are whole: whether every file that they name lies on storage, has the right
// size and, if that is asked for, the right bytes. It also says which checkpoints need a file (Uses), and tries a
// restore (Drill).
//
// It owns the comparison of a store with its journals and _metadata, and the reports about it. It must not know
// daemons or drivers. It decides nothing about deletes, and it never writes.
//
// # How a root is verified
//
// Run works in rounds over all jobs that were asked for. A round has four passes:
//
//  1. names: read the head of each journal. Read the _metadata of each checkpoint, compare it with the journal, and
//     enter its files into one table.
//  2. sizes: list the folders of these files, and compare presence and size.
//  3. bytes (only with Options.ReadData): read each file once, although several checkpoints name it, and compare its sums.
//  4. blame: if anything is wrong, read the _metadata once more and say which checkpoints and whose state it hits.
//
// The table holds about 60 bytes for each file and no names. The passes read the names from the _metadata again, as
// streams, so memory does not grow with the length of names or with the number of handles.
//
// # Jobs that run
//
// Run holds no pin, because it must not write. A running job may therefore drop a checkpoint while Run looks at it.
// When something is wrong with a checkpoint, Run reads the head again. A checkpoint that left the head is reported as
// left, not as damaged. If a job's newest checkpoint left, the next round looks at the job's newer checkpoints. Files
// that were read once are not read again.
//
// # Unreadable is not damaged
//
// A store that fails says nothing about a file. Such a file is UNREADABLE. After MaxUnreadable of them Run stops.
package verify
