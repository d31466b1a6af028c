// Package copying copies checkpoints from one root to another, job by job, and brings only what the target lacks.
//
// It owns the plan (Choose: which checkpoints, in which order, and why not the others), the names of copied files
// (placer), and the execution. It must not know drivers, flags or daemons. Whoever calls it tells it how to ask another
// owner, and answers for it while it owns a job (Claims).
//
// The order of writes for one job:
//
//  1. The target's journal: the copier becomes the owner. The entry has the same job id, the status COPIED, and the
//     origin, marked unfinished.
//  2. For each checkpoint, the newest first: its files, as far as the target does not have them; then its _metadata; then
//     the entry that retains it.
//  3. The files that nothing names any more are deleted, if this run has left some behind.
//  4. The owner releases the job. If nothing failed, the origin is not unfinished any more.
//
// So at any moment what the target's journal names is whole. What an interrupted copy has brought beyond that stays, since
// no owner sweeps an unfinished copy; the same command finds it by name and size, and goes on.
//
// A copied checkpoint keeps its files' names, and its _metadata stays the same byte for byte. Where a file cannot keep its
// place, both change: a file that another job lends, a file beside the _metadata of a savepoint, and every file of a
// self-contained copy. Their new names are made from the old ones, so that a second run finds them again.
//
// A file is never deleted while the source names it: a later copy might bring it back under the same name.
package copying
