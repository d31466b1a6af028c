package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/data"
)

// drainMax is how many bytes of a refused body are read and dropped. Without that, the client would see a connection
// reset instead of the refusal.
const drainMax = 64 << 20

// PutState stores one file and returns its handle when the file is durable.
func (s *Service) PutState(ctx context.Context, stream *connect.ClientStream[ckptdv1.PutStateRequest]) (*ckptdv1.PutStateResponse, error) {
	early, err := earlyHeader(stream.RequestHeader())
	if err != nil {
		return nil, err
	}
	if early != nil {
		if err := s.check(ctx, early); err != nil {
			return nil, rpcError(err)
		}
	}
	waited, err := s.puts.acquire(ctx)
	if err != nil {
		return nil, rpcError(err)
	}
	file, begun, err := s.admitted(ctx, stream.Conn(), early, waited)
	s.puts.release()
	if err != nil {
		if begun {
			drain(stream.Conn())
		}
		return nil, rpcError(err)
	}
	return &ckptdv1.PutStateResponse{File: file}, nil
}

// admitted is the part of PutState that runs while the stream is admitted. begun reports whether anything of the body
// has been read.
func (s *Service) admitted(ctx context.Context, conn connect.StreamingHandlerConn, early *ckptdv1.PutStateHeader, waited bool) (file *ckptdv1.FileHandle, begun bool, err error) {
	if early != nil && waited {
		if err := s.check(ctx, early); err != nil {
			return nil, false, err
		}
	}
	var first ckptdv1.PutStateRequest
	if err := conn.Receive(&first); err != nil {
		return nil, true, notEOF(err)
	}
	header := first.GetHeader()
	switch {
	case header == nil:
		return nil, true, invalidf("put state: the first message is not a header: send PutStateHeader first")
	case early == nil:
		if err := s.check(ctx, header); err != nil {
			return nil, true, err
		}
	case !proto.Equal(early, header):
		return nil, true, invalidf("put state: the header message differs from the HTTP header %s: send the same header in both", data.HeaderName)
	}
	file, err = s.receiveFile(ctx, conn, header)
	return file, true, err
}

// earlyHeader returns the copy of the header message in the HTTP header; nil: there is none.
func earlyHeader(h http.Header) (*ckptdv1.PutStateHeader, error) {
	v := h.Get(data.HeaderName)
	if v == "" {
		return nil, nil
	}
	b, err := connect.DecodeBinaryHeader(v)
	if err != nil {
		return nil, invalidf("%s: %v", data.HeaderName, err)
	}
	m := &ckptdv1.PutStateHeader{}
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, invalidf("%s: %v", data.HeaderName, err)
	}
	return m, nil
}

// check refuses a header whose file cannot be stored, whatever its bytes.
func (s *Service) check(ctx context.Context, h *ckptdv1.PutStateHeader) error {
	if err := layout.ValidateJobID(h.GetJobId()); err != nil {
		return err
	}
	switch {
	case h.GetScope() != ckptdv1.Scope_SCOPE_EXCLUSIVE && h.GetScope() != ckptdv1.Scope_SCOPE_SHARED:
		return invalidf("scope %v: want EXCLUSIVE or SHARED", h.GetScope())
	case h.GetEpoch() == 0 || h.GetCheckpointId() == 0:
		return invalidf("epoch %d, checkpoint %d: both count from 1", h.GetEpoch(), h.GetCheckpointId())
	case h.GetLength() > min(s.maxFile, math.MaxInt64):
		return invalidf("length %d: a file holds at most %d bytes", h.GetLength(), s.maxFile)
	}
	return s.auth.AuthorizePut(ctx, uploadOf(h))
}

func uploadOf(h *ckptdv1.PutStateHeader) Upload {
	return Upload{Job: h.GetJobId(), Epoch: h.GetEpoch(), Attempt: h.GetAttempt(), Checkpoint: h.GetCheckpointId()}
}

// receiveFile writes the chunks that follow the header to a new file.
func (s *Service) receiveFile(ctx context.Context, conn connect.StreamingHandlerConn, h *ckptdv1.PutStateHeader) (*ckptdv1.FileHandle, error) {
	name := layout.JobKey{
		Place:      layout.PlaceExclusive,
		Checkpoint: h.GetCheckpointId(),
		File:       layout.FileName{Epoch: h.GetEpoch(), Checkpoint: h.GetCheckpointId(), Nonce: s.nonce, Sequence: s.sequence.Add(1)},
	}
	if h.GetScope() == ckptdv1.Scope_SCOPE_SHARED {
		name.Place = layout.PlaceShared
	}
	w, err := s.store.Create(ctx, layout.JobPrefix(h.GetJobId())+name.String(), storage.CreateOptions{
		Size: int64(h.GetLength()), HasSize: h.Length != nil,
		CRC32C: h.GetCrc32C(), HasCRC32C: h.Crc32C != nil,
	})
	if err != nil {
		return nil, err
	}
	defer w.Abort()
	var sums data.Sums
	if err := receive(conn, func(p []byte) error {
		_, _ = sums.Write(p)
		if err := s.bounded(h, sums.Length(), len(p)); err != nil {
			return err
		}
		_, err := w.Write(p)
		return err
	}); err != nil {
		return nil, err
	}
	if err := compare(h, &sums); err != nil {
		return nil, err
	}
	if err := w.Commit(); err != nil {
		return nil, err
	}
	f := sums.Handle(name.String())
	s.auth.Stored(uploadOf(h), f)
	return f, nil
}

// bounded refuses a chunk that is too large, or that makes the file too long. n is the length of the chunk, length that
// of the file so far, with the chunk.
func (s *Service) bounded(h *ckptdv1.PutStateHeader, length uint64, n int) error {
	switch {
	case n > data.MaxChunk:
		return invalidf("chunk of %d bytes: a chunk holds at most %d", n, data.MaxChunk)
	case h.Length != nil && length > h.GetLength():
		return fmt.Errorf("%w: more than the %d bytes announced", storage.ErrMismatch, h.GetLength())
	case length > s.maxFile:
		return invalidf("file of more than %d bytes: a file holds at most that", s.maxFile)
	}
	return nil
}

// compare refuses a file whose length or CRC32C is not the announced one.
func compare(h *ckptdv1.PutStateHeader, sums *data.Sums) error {
	if h.Length != nil && sums.Length() != h.GetLength() {
		return fmt.Errorf("%w: %d bytes arrived, %d were announced", storage.ErrMismatch, sums.Length(), h.GetLength())
	}
	if h.Crc32C != nil && sums.CRC32C() != h.GetCrc32C() {
		return fmt.Errorf("%w: CRC32C %08x arrived, %08x was announced", storage.ErrMismatch, sums.CRC32C(), h.GetCrc32C())
	}
	return nil
}

// receive calls write with each chunk until the stream ends. It returns nil if the stream ends without error.
func receive(conn connect.StreamingHandlerConn, write func([]byte) error) error {
	in := data.In{Direction: data.Put, Write: write}
	for {
		err := conn.Receive(&in)
		switch {
		case in.Err != nil:
			return in.Err
		case errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// drain reads and drops the rest of a refused body, at most drainMax bytes.
func drain(conn connect.StreamingHandlerConn) {
	n := 0
	_ = receive(conn, func(p []byte) error {
		if n += len(p); n > drainMax {
			return io.ErrShortBuffer
		}
		return nil
	})
}

// notEOF replaces io.EOF, which means that the client sent no message.
func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return invalidf("put state: the stream has no header: send PutStateHeader first")
	}
	return err
}
