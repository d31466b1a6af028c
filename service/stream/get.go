package stream

import (
	"context"
	"fmt"
	"io"
	"math"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/data"
)

// GetState streams a range of a file of the job's own state, or of one that is lent to it. The client checks the sums, which it has from the
// checkpoint.
func (s *Service) GetState(ctx context.Context, req *ckptdv1.GetStateRequest, stream *connect.ServerStream[ckptdv1.GetStateResponse]) error {
	key, first, n, err := rangeOf(req)
	if err != nil {
		return rpcError(err)
	}
	if id := req.GetFile().GetJobId(); id != "" && id != req.GetJobId() {
		if err := s.auth.AuthorizeGet(ctx, req.GetJobId(), id); err != nil {
			return rpcError(err)
		}
	}
	if _, err := s.gets.acquire(ctx); err != nil {
		return rpcError(err)
	}
	defer s.gets.release()
	if req.GetFile().GetLength() == 0 {
		if err := s.checkEmpty(ctx, key, req.GetFile()); err != nil {
			return rpcError(err)
		}
	}
	r, err := s.store.Open(ctx, key, first, n)
	if err != nil {
		return rpcError(err)
	}
	defer r.Close()
	if w := plainResponse(ctx); w != nil && n > 0 {
		return rpcError(sendPlain(w, r, n, chunkSize(ctx)))
	}
	return send(stream.Conn(), r, n, chunkSize(ctx))
}

// rangeOf returns the key of the object that a request asks for, the first byte, and the number of bytes. The key is
// made anew from its parsed parts, so it always names a state file of the job, or of the one that the file's handle names.
func rangeOf(req *ckptdv1.GetStateRequest) (key string, first, n int64, err error) {
	if err := layout.ValidateJobID(req.GetJobId()); err != nil {
		return "", 0, 0, err
	}
	f := req.GetFile()
	job := req.GetJobId()
	if id := f.GetJobId(); id != "" {
		if err := layout.ValidateJobID(id); err != nil {
			return "", 0, 0, err
		}
		job = id
	}
	k := layout.ParseJobKey(f.GetKey())
	if k.Place != layout.PlaceShared && k.Place != layout.PlaceExclusive {
		return "", 0, 0, fmt.Errorf("%w: %.200q is not the key of a state file", layout.ErrName, f.GetKey())
	}
	begin, length, off := uint64(0), f.GetLength(), req.GetOffset()
	if length > math.MaxInt64 {
		return "", 0, 0, invalidf("get state %s: a length of %d bytes is not possible", f.GetKey(), length)
	}
	if s := f.GetSegment(); s != nil {
		if s.GetOffset() > length || s.GetLength() > length-s.GetOffset() {
			return "", 0, 0, invalidf("segment of %d bytes from %d: %s has %d bytes", s.GetLength(), s.GetOffset(), f.GetKey(), length)
		}
		begin, length = s.GetOffset(), s.GetLength()
	}
	if off > length || req.GetLength() > length-off {
		return "", 0, 0, invalidf("%d bytes from %d: %s has %d bytes", req.GetLength(), off, f.GetKey(), length)
	}
	size := req.GetLength()
	if size == 0 {
		size = length - off
	}
	return layout.JobPrefix(job) + k.String(), int64(begin + off), int64(size), nil
}

// checkEmpty refuses a handle without a length, unless the file is empty.
func (s *Service) checkEmpty(ctx context.Context, key string, f *ckptdv1.FileHandle) error {
	info, err := s.store.Stat(ctx, key)
	if err != nil {
		return err
	}
	if info.Size != 0 || f.GetCrc32C() != 0 || len(f.GetBlockCrc32C()) != 0 {
		return invalidf("get state %s: the handle has no length, and the file has %d bytes: hand the handle back as Assignment answered it", key, info.Size)
	}
	return nil
}

// send streams n bytes of r in messages of at most chunk bytes.
func send(conn connect.StreamingHandlerConn, r io.Reader, n int64, chunk int) error {
	for n > 0 {
		out := data.Out{Direction: data.Get, R: r, N: int(min(n, int64(chunk)))}
		if err := conn.Send(&out); err != nil {
			if out.Err != nil {
				return rpcError(fmt.Errorf("%w: %w", errRead, out.Err))
			}
			return err
		}
		n -= int64(out.N)
	}
	return nil
}
