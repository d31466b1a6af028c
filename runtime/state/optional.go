package state

// Committed is what a source implements that wants to know of complete checkpoints, as one that shows its position
// to people elsewhere.
type Committed interface {
	// Committed says that a checkpoint of this attempt is complete. position is what Position returned for it. The
	// call does not block. Its error is logged and fails nothing.
	Committed(checkpoint uint64, position []byte) error
}

// Interrupter is what a source or a sink implements whose methods can wait for a server.
type Interrupter interface {
	// Interrupt makes a waiting method return soon with an error, and later methods too. Close remains useful; its
	// waiting is bounded. Any goroutine may call Interrupt, at any time, more than once.
	Interrupt()
}
