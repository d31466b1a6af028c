package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/data"
)

// corruptTries bounds how often a file is sent while the daemon receives other bytes than were summed. A damaged
// transfer may succeed at the next try; a source that has changed will not.
const corruptTries = 3

// longTries bounds how often a file is sent again after a long try: the daemon took bytes until little or no patience
// was left to look for the next daemon.
const longTries = 2

// outlasts tells whether a try took most of the patience; patience 0 has no bound.
func outlasts(try, patience time.Duration) bool { return patience > 0 && 2*try > patience }

// upload is one file to be sent for a checkpoint.
type upload struct {
	piece  Piece
	header *ckptdv1.PutStateHeader
}

// send makes the file durable and returns its handle. It reads the source once for its sum, and then for each try.
func (j *Job) send(ctx context.Context, u upload) (*ckptdv1.FileHandle, error) {
	sums, err := sumOf(ctx, u.piece)
	if err != nil {
		return nil, err
	}
	u.header.Length, u.header.Crc32C = proto.Uint64(sums.Length()), proto.Uint32(sums.CRC32C())
	corrupt, long := 0, 0
	for {
		f, err := search(ctx, j, u.header.GetEpoch(), func(ctx context.Context, e *endpoint) (*ckptdv1.FileHandle, error) {
			began := time.Now()
			f, read, err := put(ctx, e, u)
			if err == nil {
				err = compare(f, sums)
			}
			ce := classify(ctx, err)
			switch {
			case err == nil:
			case errors.Is(ce, ErrCorrupt):
				corrupt++
				ce.retry = corrupt < corruptTries
				return nil, ce
			case ce.retry && read && long < longTries && outlasts(time.Since(began), j.client.options.patience):
				long++
				return nil, nil // begin a new search, with full patience
			}
			return f, err
		})
		if f != nil || err != nil {
			return f, err
		}
	}
}

// noticed is a source that notices whether anything was read from it. Reading begins when a daemon has admitted the
// stream.
type noticed struct {
	io.ReadCloser
	read atomic.Bool
}

func (n *noticed) Read(p []byte) (int, error) {
	n.read.Store(true)
	return n.ReadCloser.Read(p)
}

// put is one try to send a file. read tells whether the daemon has admitted the stream.
func put(ctx context.Context, e *endpoint, u upload) (file *ckptdv1.FileHandle, read bool, err error) {
	opened, err := u.piece.Open()
	if err != nil {
		return nil, false, sourceError(u.piece, err)
	}
	src := &noticed{ReadCloser: opened}
	body, err := data.NewBody(u.header, src, e.chunk)
	if err != nil {
		src.Close()
		return nil, false, err
	}
	header, err := proto.Marshal(u.header)
	if err != nil {
		src.Close()
		return nil, false, err
	}
	ctx, cancel := context.WithCancel(data.WithBody(ctx, body))
	defer cancel()
	ctx, info := connect.NewClientContext(ctx)
	info.RequestHeader().Set("Expect", "100-continue")
	info.RequestHeader().Set(data.HeaderName, connect.EncodeBinaryHeader(header))
	stream, err := e.state.PutState(ctx)
	if err == nil {
		var res *ckptdv1.PutStateResponse
		res, err = stream.CloseAndReceive()
		file = res.GetFile()
	}
	// After this nobody reads the source any more, so the caller may reuse it.
	cancel()
	body.Close()
	body.Wait()
	if broken := body.Err(); broken != nil {
		return nil, false, sourceError(u.piece, broken)
	}
	return file, src.read.Load(), err
}

func compare(f *ckptdv1.FileHandle, sums *data.Sums) error {
	want := sums.Handle(f.GetKey())
	if f.GetKey() == "" || !proto.Equal(f, want) {
		return &callError{kind: ErrCorrupt, cause: fmt.Errorf("the daemon answered %v, sent was %v", f, want)}
	}
	return nil
}

// sumBuffers are for reading sources.
var sumBuffers = sync.Pool{New: func() any { return new([1 << 20]byte) }}

// sumOf reads a piece's source once.
func sumOf(ctx context.Context, p Piece) (*data.Sums, error) {
	src, err := p.Open()
	if err != nil {
		return nil, sourceError(p, err)
	}
	defer src.Close()
	buf := sumBuffers.Get().(*[1 << 20]byte)
	defer sumBuffers.Put(buf)
	sums := &data.Sums{}
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		n, err := src.Read(buf[:])
		_, _ = sums.Write(buf[:n])
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, sourceError(p, err)
		}
	}
	if sums.Length() != uint64(p.Size) {
		return nil, sourceError(p, fmt.Errorf("has %d bytes, the piece says %d", sums.Length(), p.Size))
	}
	return sums, nil
}

func sourceError(p Piece, err error) error {
	return &callError{kind: ErrSource, cause: fmt.Errorf("piece %s: %w", p.Name, err)}
}
