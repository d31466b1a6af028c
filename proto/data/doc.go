// Package data moves the bytes of state through Connect streams at the speed of a plain HTTP body.
//
// It owns what both ends of a data stream share: the codec that takes chunks out of messages, or puts them in, without a copy;
// the request body that frames a source by itself; the sums of a file; sizes and the header of admission. It must not know what
// a file is for, nor who may read or write it, nor any package of ours but the generated messages and strictjson.
//
// The wire is that of ckptd.v1.StateService with Connect's own codec: a default client or server at the other end sees no
// difference.
package data

import "time"

const (
	// ChunkTCP is the chunk size for TCP connections, in bytes.
	ChunkTCP = 512 << 10
	// ChunkUnix is the chunk size for Unix sockets, whose send buffer is raised to UnixBuffer.
	ChunkUnix = 256 << 10
	// UnixBuffer is the send buffer of Unix sockets, in bytes.
	UnixBuffer = 4 << 20
	// MaxChunk is the largest chunk that the API allows.
	MaxChunk = 1 << 20
	// ReadMaxBytes bounds one message of a data stream.
	ReadMaxBytes = 2 << 20
	// BlockSize is how much of a file one block sum covers.
	BlockSize = 4 << 20
	// AdmissionWait is how long a sender waits for the daemon's "go on" before it sends its bytes regardless.
	AdmissionWait = time.Hour
	// HeaderName carries a copy of PutState's header message in the HTTP header (binary, as connect.EncodeBinaryHeader writes
	// it), so that a daemon can refuse before any byte of the body has been sent. Optional.
	HeaderName = "Ckptd-Put-State-Bin"
)
