// Package journal owns the journal of a job: what an entry says, how it is written down, and the two step machines that read
// the head and append to it.
//
//	<job>/_journal/<slot>     slot = 20 decimal digits, dense from 1, made by Publish only; the largest is the head
//
// An entry holds the whole small state of the job. Lower slots are history; the largest is never deleted.
//
// The machines (ReadHead, Append) are values without I/O, goroutines, clock or randomness: a step takes the result of the
// operation before and gives the next one. A copy of a machine is a machine of its own, so that a search can walk over them.
//
// It must not know stores, keys, jobs' files, workers or what an owner does with a verdict. Outside codec.go and
// convert.go nothing here knows protobuf.
//
// A kind of entry is added in KindNone's list and in the API's words (layout/catalog); older versions keep it. A field
// is added in parts.go or entry.go, in the two directions of convert.go, in seal (key.go) and, if it can grow, in Fits
// (limits.go).
//
// # What the executor of an Op owes
//
//   - OpList lists the slots there are, in any order. If there is none it also says whether the job's folder holds other objects
//     (Foreign); temporaries do not count.
//   - OpGet reads one slot whole and decodes it. The entry must be durable before the result is handed in (a dirty read must not
//     be acted on).
//   - OpPublish creates the slot from the entry's bytes; the same bytes for the same op.
//   - OpAsk asks a process whether it owns the job; see package owner.
//   - A read that merely failed is Unknown. After a result of Unknown or NotDone the machine gives the operation out again, with
//     Wait set; the executor waits its back-off before it starts it.
package journal
