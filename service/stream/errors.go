package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/data"
)

// errRead says that a file that was there could not be read on.
var errRead = errors.New("reading state")

// codes is the one table from what the floors below say to what a client is told; the first match counts.
var codes = []struct {
	err  error
	code connect.Code
	// reason, if any, goes along as a detail.
	reason ckptdv1.Refused_Reason
}{
	// The file may or may not be there. Nobody knows its name but us: the client sends its bytes again, under a new one.
	{storage.ErrUnknown, connect.CodeUnavailable, 0},
	{storage.ErrMismatch, connect.CodeDataLoss, ckptdv1.Refused_REASON_CORRUPT},
	{storage.ErrNotFound, connect.CodeNotFound, 0},
	{layout.ErrName, connect.CodeInvalidArgument, 0},
	{data.ErrNotChunk, connect.CodeInvalidArgument, 0},
	{syscall.ENOSPC, connect.CodeResourceExhausted, 0},
	{syscall.EDQUOT, connect.CodeResourceExhausted, 0},
	{syscall.EMFILE, connect.CodeUnavailable, 0},
	{syscall.ENFILE, connect.CodeUnavailable, 0},
	{syscall.EROFS, connect.CodeFailedPrecondition, 0},
	{syscall.EACCES, connect.CodePermissionDenied, 0},
	{context.Canceled, connect.CodeCanceled, 0},
	{context.DeadlineExceeded, connect.CodeDeadlineExceeded, 0},
	// A file shorter than its handle says.
	{io.ErrUnexpectedEOF, connect.CodeDataLoss, ckptdv1.Refused_REASON_CORRUPT},
}

// rpcError gives an error its code. One that has a code keeps it.
func rpcError(err error) error {
	if _, ok := errors.AsType[*connect.Error](err); ok || err == nil {
		return err
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			e := connect.NewError(c.code, fmt.Errorf("stream: %w", err))
			if c.reason != 0 {
				if d, derr := connect.NewErrorDetail(&ckptdv1.Refused{Reason: c.reason}); derr == nil {
					e.AddDetail(d)
				}
			}
			return e
		}
	}
	return connect.NewError(connect.CodeInternal, fmt.Errorf("stream: %w", err))
}

func invalidf(format string, args ...any) error {
	return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("stream: "+format, args...))
}
