// Package stream writes the job of a stream as a chain of typed steps:
//
//	clicks := stream.From(source).UID("clicks")
//	ones := stream.Map(clicks.Filter(loggedIn).UID("logged-in"), one).UID("one")
//	job := ones.KeyBy(user).Sum(number).UID("count").To(sink).Named("clicks")
//
// It owns the graph that people write, the types on the way, and their bytes on the wire and in the state. It makes a
// runtime.Job of the graph. It must not know daemons, processes or connectors.
//
// # Methods and functions
//
// A method of Go has no type parameters of its own. So every step that keeps the type of the records is a method, and
// is chained: Filter, KeyBy, Reduce, Min, Max, Last, To. Count and Sum are methods, too, because the type of their result is
// always the same. A step that makes another type is a function with the stream as its first argument: Map, FlatMap,
// Fold, Aggregate. The compiler checks every type. A library whose Map is a method has to give up the type, or the
// chain.
//
// # Records between the steps
//
// A source gives bytes. They are decoded once, and the steps up to the next KeyBy or sink pass Go values. Before the
// exchange a record is encoded, with the key beside it. A Codec does both; CodecOf is the default: text for strings and
// numbers, the bytes themselves for []byte, JSON for everything else.
//
// # Operators
//
// Every step is an operator of the plan, and has a UID. Steps without state need none, because nothing of theirs is in
// a checkpoint. A step with state, a source and a sink find their state by the UID again, in every later version of the
// job.
package stream
