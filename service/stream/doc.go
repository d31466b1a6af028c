// Package stream serves the data plane: PutState and GetState, byte streams between workers and the store.
//
// It owns the admission of streams, the names of state files, the sums of the bytes that pass through, and the bounds
// on memory. An admitted stream takes about two buffers of 1 MiB, a waiting stream almost nothing. The package must not
// know which checkpoints are open, who owns a job, or what is in a journal. An Authorizer knows.
//
// # Admission before bytes
//
// At most Options.Puts streams write at a time. A handler is admitted before it reads anything of the body. The Go
// client sends "Expect: 100-continue", which net/http answers at the first read, so a waiting client has sent only its
// HTTP header.
//
// The Go client also sends a copy of the header message in the HTTP header. So a stream can be refused before it is
// admitted. A client may do without both. Its first bytes then wait in the kernel.
package stream
