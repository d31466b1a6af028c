// Package journal owns the journal of a job: the contents of an entry, its encoding, and the two step machines that
// read the head and append to the journal.
//
//	<job>/_journal/<slot>     slot = 20 decimal digits, dense from 1, made by Publish only; the largest is the head
//
// An entry holds the whole small state of the job. Lower slots are history; the largest is never deleted.
//
// The machines (ReadHead, Append) are values without I/O, goroutines, clock or randomness. A step takes the result of
// the last operation and returns the next operation. A copy of a machine is independent of the original, so a search
// can try every order of results.
//
// The package must not know stores, keys, files of jobs, workers, or how an owner acts on a verdict. Only codec.go and
// convert.go know protobuf.
//
// A new kind of entry is added to the list of kinds (entry.go) and to the API's words (layout/catalog); older versions
// keep an unknown kind. A new field is added in parts.go or entry.go, in both directions of convert.go, in seal
// (key.go) and, if it can grow, in Fits (limits.go).
//
// # Duties of the executor of an Op
//
//   - OpList lists the existing slots, in any order. If there is none, its Result also says whether the job's folder
//     holds other objects (Foreign); temporaries do not count.
//   - OpGet reads one slot whole and decodes it. The executor makes sure that the entry is durable before it hands the
//     Result back, because nobody may act on a dirty read.
//   - OpPublish creates the slot from the entry's bytes. A repeated Op writes the same bytes.
//   - A failed read is Unknown. After Unknown or NotDone the machine emits the operation again, with Wait set. The
//     executor waits its back-off before it starts the operation.
package journal
