package data

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"google.golang.org/protobuf/proto"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// ErrSource is in the chain of Body.Err when the source failed.
var ErrSource = errors.New("data: source")

// Body is the request body of PutState: the header's envelope, then the source's bytes in envelopes of one chunk each. It
// has WriteTo, so that net/http hands over its connection instead of copying in small pieces.
type Body struct {
	header []byte
	chunk  int

	mu      sync.Mutex
	src     io.ReadCloser
	writing bool
	closed  bool
	err     error
	// released is closed when the source is: nobody reads from it any more.
	released chan struct{}

	// pending is what Read has framed and not yet given away.
	pending []byte
	buf     *[]byte
}

// envelopeSize is Connect's envelope: flags, and the message's length, big endian.
const envelopeSize = 5

// headRoom is what is kept free before a chunk in its buffer.
const headRoom = envelopeSize + prefixMax

// buffers holds one buffer of a chunk and its envelope per stream in progress.
var buffers sync.Pool

// NewBody frames header and src, which it closes, in chunks of at most chunk bytes.
func NewBody(header *ckptdv1.PutStateHeader, src io.ReadCloser, chunk int) (*Body, error) {
	m := &ckptdv1.PutStateRequest{Part: &ckptdv1.PutStateRequest_Header{Header: header}}
	b, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, envelopeSize), m)
	if err != nil {
		return nil, fmt.Errorf("data: header: %w", err)
	}
	binary.BigEndian.PutUint32(b[1:envelopeSize], uint32(len(b)-envelopeSize))
	return &Body{header: b, chunk: chunk, src: src, released: make(chan struct{})}, nil
}

// Err is why the source failed, with ErrSource in the chain; nil if it did not. It is complete after Wait.
func (b *Body) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// Wait returns when the source has been closed. It is, once the request is over.
func (b *Body) Wait() { <-b.released }

// Close ends the body: at once, or when the write in progress has returned.
func (b *Body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	if !b.writing {
		b.releaseLocked()
	}
	return nil
}

// WriteTo writes all that is left of the body.
func (b *Body) WriteTo(w io.Writer) (n int64, err error) {
	if !b.begin() {
		return 0, http.ErrBodyReadAfterClose
	}
	defer b.end()
	write := func(p []byte) error {
		k, err := w.Write(p)
		n += int64(k)
		return err
	}
	for {
		p, err := b.next()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if err := write(p); err != nil {
			return n, err
		}
	}
}

// Read is for transports that do not know WriteTo.
func (b *Body) Read(p []byte) (int, error) {
	if !b.begin() {
		return 0, http.ErrBodyReadAfterClose
	}
	defer b.end()
	if len(b.pending) == 0 {
		var err error
		if b.pending, err = b.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.pending)
	b.pending = b.pending[n:]
	return n, nil
}

// next gives the next envelope, valid until the call after it.
func (b *Body) next() ([]byte, error) {
	if len(b.pending) > 0 {
		p := b.pending
		b.pending = nil
		return p, nil
	}
	if h := b.header; h != nil {
		b.header = nil
		return h, nil
	}
	if b.buf == nil {
		b.buf = b.takeBuffer()
	}
	buf := (*b.buf)[:headRoom+b.chunk]
	n, err := io.ReadFull(b.src, buf[headRoom:])
	if n == 0 || err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		if !errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: %w", ErrSource, err)
			b.mu.Lock()
			b.err = err
			b.mu.Unlock()
		}
		return nil, err
	}
	// The envelope and the chunk's prefix go right before its bytes, so that all is one write.
	var prefix [headRoom]byte
	head := AppendPrefix(prefix[:envelopeSize], Put, n)
	binary.BigEndian.PutUint32(head[1:envelopeSize], uint32(len(head)-envelopeSize+n))
	start := headRoom - len(head)
	copy(buf[start:], head)
	return buf[start : headRoom+n], nil
}

func (b *Body) takeBuffer() *[]byte {
	if p, ok := buffers.Get().(*[]byte); ok && cap(*p) >= headRoom+b.chunk {
		return p
	}
	p := make([]byte, headRoom+b.chunk)
	return &p
}

func (b *Body) begin() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || b.writing {
		return false
	}
	b.writing = true
	return true
}

func (b *Body) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writing = false
	if b.closed {
		b.releaseLocked()
	}
}

func (b *Body) releaseLocked() {
	b.src.Close()
	if b.buf != nil {
		buffers.Put(b.buf)
		b.buf, b.pending = nil, nil
	}
	close(b.released)
}

type bodyKey struct{}

// WithBody has a Doer send b as the body of the request that is made with the context.
func WithBody(ctx context.Context, b *Body) context.Context {
	return context.WithValue(ctx, bodyKey{}, b)
}

// Doer is a connect.HTTPClient for data streams: it puts the Body of WithBody in the place of Connect's pipe, and serves the
// sink of WithSink.
type Doer struct{ Client *http.Client }

// Do sends the request.
func (d Doer) Do(r *http.Request) (*http.Response, error) {
	if b, ok := r.Context().Value(bodyKey{}).(*Body); ok {
		r.Body.Close()
		r.Body = b
		r.ContentLength = -1
	}
	res, err := d.Client.Do(r)
	if in, ok := r.Context().Value(sinkKey{}).(*In); ok && err == nil {
		takeChunks(res, in)
	}
	return res, err
}
