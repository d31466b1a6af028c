// Package stream serves the data plane: PutState and GetState, byte streams between workers and the store.
//
// It owns admission, the naming of state files, the sums of what passes through, and the bounds on memory: about two buffers of
// 1 MiB for each admitted stream, next to nothing for a waiting one. It must not know which checkpoints are open, who owns a
// job, or what is in a journal: an Authorizer answers that.
//
// # Admission before bytes
//
// At most Options.Puts streams write at a time. A handler waits for its slot before it reads anything of the body, and clients of
// ours send "Expect: 100-continue", which net/http answers at the first read: so a waiting sender has sent its header
// only. The header message also comes in the HTTP header, so that a refusal needs neither slot nor bytes. A client that does
// without both is served too; its first bytes then wait in the kernel.
package stream
