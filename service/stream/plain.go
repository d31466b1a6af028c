package stream

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/ckptd/ckptd/proto/data"
)

// copySize is the size of the buffer between a file and a connection. It fits the processor's cache, which makes it
// faster than a buffer of a whole chunk.
const copySize = 64 << 10

var copyBuffers = sync.Pool{New: func() any { return new([copySize]byte) }}

// plainKey is the context key of a plain response.
type plainKey struct{}

// withPlain keeps the response writer in the request's context if messages may be written without Connect. That is
// possible for Connect's protocol in protobuf on HTTP/1.
//
// There a message is five bytes and its encoding. The length of the whole answer is known in advance, so net/http
// copies from a file as it does for a file server. gRPC, JSON and HTTP/2 use Connect's own writer.
func withPlain(w http.ResponseWriter, r *http.Request) *http.Request {
	if r.ProtoMajor != 1 || r.Header.Get("Content-Type") != "application/connect+proto" {
		return r
	}
	return r.WithContext(context.WithValue(r.Context(), plainKey{}, w))
}

// plainResponse returns the response writer that withPlain kept; nil: none.
func plainResponse(ctx context.Context) http.ResponseWriter {
	w, _ := ctx.Value(plainKey{}).(http.ResponseWriter)
	return w
}

// endSize is the length of the message that ends a stream without error: an envelope around "{}".
const endSize = envelopeSize + 2

// envelopeSize is the length of Connect's envelope: one byte of flags, and the message's length in four bytes, big
// endian.
const envelopeSize = 5

// sendPlain streams n > 0 bytes of r as messages of at most chunk bytes. Connect adds the last message. After the first
// byte an error can only break the connection, since the header has promised the answer's length.
func sendPlain(w http.ResponseWriter, r io.Reader, n int64, chunk int) error {
	f := &framer{w: w, left: n, chunk: int64(chunk)}
	w.Header().Set("Content-Length", strconv.FormatInt(f.framedSize()+endSize, 10))
	var err error
	if wt, ok := r.(io.WriterTo); ok {
		_, err = wt.WriteTo(f)
	} else {
		buf := copyBuffers.Get().(*[copySize]byte)
		_, err = io.CopyBuffer(struct{ io.Writer }{f}, r, buf[:])
		copyBuffers.Put(buf)
	}
	if err == nil && f.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && !f.begun {
		w.Header().Del("Content-Length")
		return fmt.Errorf("%w: %w", errRead, err)
	}
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}

// framer writes bytes in messages.
type framer struct {
	w     http.ResponseWriter
	begun bool // a message has been written
	// left is how many bytes of the range are still to be written. room is how many of them belong to the message in
	// progress.
	left, room int64
	chunk      int64
}

// framedSize returns the length of all messages that are still to be written.
func (f *framer) framedSize() int64 {
	full, rest := f.left/f.chunk, f.left%f.chunk
	size := full * int64(len(appendHead(nil, f.chunk)))
	if rest > 0 {
		size += int64(len(appendHead(nil, rest)))
	}
	return size + f.left
}

// appendHead appends the bytes that precede a chunk of n bytes: the envelope and the field's prefix.
func appendHead(b []byte, n int64) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0, 0)
	b = data.AppendPrefix(b, data.Get, int(n))
	binary.BigEndian.PutUint32(b[start+1:], uint32(int64(len(b)-start-envelopeSize)+n))
	return b
}

// message begins a new message if the last one is complete.
func (f *framer) message() error {
	if f.room > 0 {
		return nil
	}
	if f.left == 0 {
		return errors.New("more bytes than asked for")
	}
	f.room, f.begun = min(f.left, f.chunk), true
	var head [32]byte
	_, err := f.w.Write(appendHead(head[:0], f.room))
	return err
}

// Write implements io.Writer.
func (f *framer) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		if err := f.message(); err != nil {
			return n, err
		}
		k, err := f.w.Write(p[:min(int64(len(p)), f.room)])
		n += k
		f.room -= int64(k)
		f.left -= int64(k)
		if err != nil {
			return n, err
		}
		p = p[k:]
	}
	return n, nil
}

// ReadFrom implements io.ReaderFrom. It passes a limited file to net/http message by message. net/http then lets the
// system copy without a buffer, where the system can.
func (f *framer) ReadFrom(src io.Reader) (n int64, err error) {
	rf, ok := f.w.(io.ReaderFrom)
	limited, isLimited := src.(*io.LimitedReader)
	if !ok || !isLimited {
		buf := copyBuffers.Get().(*[copySize]byte)
		defer copyBuffers.Put(buf)
		return io.CopyBuffer(struct{ io.Writer }{f}, src, buf[:])
	}
	for limited.N > 0 && f.left > 0 {
		if err := f.message(); err != nil {
			return n, err
		}
		want := min(limited.N, f.room)
		k, err := rf.ReadFrom(&io.LimitedReader{R: limited.R, N: want})
		n += k
		f.room -= k
		f.left -= k
		limited.N -= k
		if err != nil || k < want {
			return n, err
		}
	}
	return n, nil
}
