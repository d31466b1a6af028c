// Package incremental owns what is known of a job's files while one owner lives: their numbers (Names), sets of them (Set), and
// which are reachable, promised and condemned (Index).
//
// Inside a daemon a file is a small number. Names gives out the numbers and answers which file a backend means; it is mutable
// and used by one goroutine. Set and Index are values: a copy shares everything and never changes.
//
// It must not know stores, the journal, epochs' owners or the protocol that decides when something is condemned.
package incremental
