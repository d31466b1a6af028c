package api

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"google.golang.org/protobuf/proto"
)

// reasonCodes maps a reason of refusal to the RPC code. It is the only such table.
var reasonCodes = map[ckptdv1.Refused_Reason]connect.Code{
	ckptdv1.Refused_REASON_STALE_ATTEMPT:   connect.CodeFailedPrecondition,
	ckptdv1.Refused_REASON_STALE_EPOCH:     connect.CodeFailedPrecondition,
	ckptdv1.Refused_REASON_NOT_OPEN:        connect.CodeFailedPrecondition,
	ckptdv1.Refused_REASON_JOB_TERMINAL:    connect.CodeFailedPrecondition,
	ckptdv1.Refused_REASON_REPLACED:        connect.CodeAborted,
	ckptdv1.Refused_REASON_INLINE_CAP:      connect.CodeResourceExhausted,
	ckptdv1.Refused_REASON_PLAN_MISMATCH:   connect.CodeFailedPrecondition,
	ckptdv1.Refused_REASON_CONFIG_MISMATCH: connect.CodeFailedPrecondition,
	ckptdv1.Refused_REASON_UNKNOWN_HANDLE:  connect.CodeInvalidArgument,
	ckptdv1.Refused_REASON_CORRUPT:         connect.CodeDataLoss,
	ckptdv1.Refused_REASON_NEWER_FORMAT:    connect.CodeFailedPrecondition,
	ckptdv1.Refused_REASON_ANOTHER_ROOT:    connect.CodeFailedPrecondition,
	ckptdv1.Refused_REASON_STATE_TOO_LARGE: connect.CodeResourceExhausted,
}

// Refused makes an error with the detail that names its reason.
func Refused(detail *ckptdv1.Refused, format string, args ...any) error {
	code, ok := reasonCodes[detail.Reason]
	if !ok {
		code = connect.CodeFailedPrecondition
	}
	return withDetail(connect.NewError(code, fmt.Errorf(format, args...)), detail)
}

// NotOwner makes the error that sends the caller to the daemon that owns the job.
func NotOwner(job string, urls []string, epoch uint64) error {
	err := connect.NewError(connect.CodeFailedPrecondition,
		fmt.Errorf("job %s is owned by another daemon, at %v, since epoch %d", job, urls, epoch))
	return withDetail(err, &ckptdv1.NotOwner{OwnerUrls: urls, Epoch: epoch})
}

// ErrNotAttached means that this daemon does not own the job, or not any more. The caller looks for the owner again.
var ErrNotAttached = errors.New("the job is not attached here")

// NotAttached makes the error for a job that this daemon does not own, and whose owner it does not know. The caller has
// to attach.
func NotAttached(job string) error {
	err := connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("%w: %s: call AttachJob first", ErrNotAttached, job))
	return withDetail(err, &ckptdv1.NotOwner{})
}

// IsNotAttached reports whether NotAttached made the error.
func IsNotAttached(err error) bool {
	n := detail[*ckptdv1.NotOwner](err)
	return n != nil && len(n.GetOwnerUrls()) == 0
}

// OwnerURLs returns the addresses of the job's owner if NotOwner made the error; nil: it did not.
func OwnerURLs(err error) []string { return detail[*ckptdv1.NotOwner](err).GetOwnerUrls() }

// IsAnotherRoot reports whether a daemon refused a call because it serves another root than the caller means.
func IsAnotherRoot(err error) bool {
	r := detail[*ckptdv1.Refused](err)
	return r.GetReason() == ckptdv1.Refused_REASON_ANOTHER_ROOT
}

// detail returns the detail of that type of a call's error; nil: there is none.
func detail[T proto.Message](err error) (none T) {
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return none
	}
	for _, d := range ce.Details() {
		if m, err := d.Value(); err == nil {
			if v, ok := m.(T); ok {
				return v
			}
		}
	}
	return none
}

// withDetail adds a message to an error's details.
func withDetail(err *connect.Error, message proto.Message) error {
	if d, derr := connect.NewErrorDetail(message); derr == nil {
		err.AddDetail(d)
	}
	return err
}

// Error gives an error of the packages below the code that the caller sees. An error that has a code keeps it.
func Error(err error) error {
	var ce *connect.Error
	switch {
	case err == nil || errors.As(err, &ce):
		return err
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, err)
	case errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, err)
	case errors.Is(err, storage.ErrNotFound), errors.Is(err, catalog.ErrNoJob), errors.Is(err, catalog.ErrNoCheckpoint):
		return connect.NewError(connect.CodeNotFound, err)
	case errors.Is(err, layout.ErrName):
		return connect.NewError(connect.CodeInvalidArgument, err)
	case errors.Is(err, catalog.ErrDamaged), errors.Is(err, layout.ErrCorrupt), errors.Is(err, journal.ErrCorrupt):
		return connect.NewError(connect.CodeDataLoss, err)
	case errors.Is(err, layout.ErrNewerFormat), errors.Is(err, layout.ErrUnknownKind), errors.Is(err, journal.ErrNewer):
		return Refused(&ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_NEWER_FORMAT}, "%w", err)
	case errors.Is(err, storage.ErrUnknown):
		return connect.NewError(connect.CodeUnavailable, err)
	default:
		return connect.NewError(connect.CodeInternal, err)
	}
}
