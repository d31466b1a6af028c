// Package incremental owns what one owner knows of its job's files: their numbers (Names), sets of numbers (Set), and
// which files are reachable, promised and condemned (Index).
//
// Inside a daemon a file is a small number. Names gives out the numbers and finds the file that a backend means; it
// is mutable and used by one goroutine. Set and Index are values: a copy shares everything and never changes.
//
// It must not know stores, the journal, other epochs, or the protocol that decides when a file is condemned.
package incremental
