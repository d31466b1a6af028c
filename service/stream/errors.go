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

// errRead marks errors of reading a file after it was opened.
var errRead = errors.New("reading state")

// codes maps an error of the packages below to the code for the client. It is the only such table. The first match
// counts.
var codes = []struct {
	err  error
	code connect.Code
	// reason is added as a detail; 0: none.
	reason ckptdv1.Refused_Reason
}{
	// The file may or may not exist, and only this daemon knows its name. The client sends the bytes again, to a new
	// file.
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
	// The file is shorter than its handle says.
	{io.ErrUnexpectedEOF, connect.CodeDataLoss, ckptdv1.Refused_REASON_CORRUPT},
}

// rpcError gives an error its code. An error that has a code keeps it.
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

// invalidf makes the error for a request that can never succeed.
func invalidf(format string, args ...any) error {
	return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("stream: "+format, args...))
}
