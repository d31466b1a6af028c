package client

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/proto/address"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

var (
	// ErrNotOwner: the client followed redirects to the job's owner, but the last daemon named yet another one.
	ErrNotOwner = errors.New("not the job's owner")
	// ErrUnavailable: no daemon answered within the client's patience.
	ErrUnavailable = errors.New("no daemon answered")
	// ErrStaleAttempt: the job runs another attempt. The worker waits for Start, Cancel or Replaced.
	ErrStaleAttempt = errors.New("not the current attempt")
	// ErrStaleEpoch: the job has a new owner. The checkpoint of the old epoch will not complete.
	ErrStaleEpoch = errors.New("not the current epoch")
	// ErrNotOpen: the checkpoint takes no acknowledgements: it is complete or aborted, or it has all of them.
	ErrNotOpen = errors.New("checkpoint is not open")
	// ErrJobTerminal: the job is canceled, failed or finished: the caller can begin a new job id. Or it is suspended: it goes on when the
	// caller attaches it again.
	ErrJobTerminal = errors.New("job has ended")
	// ErrReplaced: another process runs these subtasks.
	ErrReplaced = errors.New("replaced by another process")
	// ErrInlineCap: the checkpoint takes no more inline bytes. Snapshot sends files instead, and returns this error
	// only if that did not help.
	ErrInlineCap = errors.New("too much inline state")
	// ErrPlanMismatch: the journal has another plan, and no attempt can begin with the given plan.
	ErrPlanMismatch = errors.New("another plan")
	// ErrConfigMismatch: the job runs with another configuration. The error's text names each key that differs.
	ErrConfigMismatch = errors.New("another configuration")
	// ErrUnknownHandle: an acknowledgement named state that is neither new for the checkpoint nor promised to it.
	ErrUnknownHandle = errors.New("unknown state handle")
	// ErrAnotherRoot: the daemon serves another root than the caller means.
	ErrAnotherRoot = errors.New("another root")
	// ErrCorrupt: bytes differ from their sum or length.
	ErrCorrupt = errors.New("corrupt state")
	// ErrNewerFormat: what is stored needs a newer ckptd than the daemon.
	ErrNewerFormat = errors.New("written in a newer format")
	// ErrNotFound: the job, checkpoint or file does not exist.
	ErrNotFound = errors.New("not found")
	// ErrInvalid: the request is malformed.
	ErrInvalid = errors.New("invalid request")
	// ErrDenied: the daemon does not know the caller, or the caller lacks the role for the call.
	ErrDenied = errors.New("access denied")
	// ErrUntrusted: the daemon's certificate is not trusted, only one side speaks TLS, or a token would be sent without
	// TLS.
	ErrUntrusted = errors.New("not trusted")
	// ErrNoSpace: the store is full.
	ErrNoSpace = errors.New("no space left")
	// ErrStateTooLarge: a piece of state is larger than the job's storage in memory takes.
	ErrStateTooLarge = errors.New("state too large for memory")
	// ErrSource: a piece's source could not be read, or gave other bytes than before.
	ErrSource = errors.New("source of state")
	// ErrClosed: the client or session is closed.
	ErrClosed = errors.New("closed")
	// ErrCrash is a cause with which a test ends a context of Register, as if the process had been killed.
	ErrCrash = errors.New("crash")
)

// reasons maps a daemon's reasons to this package's errors. No other place does.
var reasons = map[ckptdv1.Refused_Reason]error{
	ckptdv1.Refused_REASON_STALE_ATTEMPT:   ErrStaleAttempt,
	ckptdv1.Refused_REASON_STALE_EPOCH:     ErrStaleEpoch,
	ckptdv1.Refused_REASON_NOT_OPEN:        ErrNotOpen,
	ckptdv1.Refused_REASON_JOB_TERMINAL:    ErrJobTerminal,
	ckptdv1.Refused_REASON_REPLACED:        ErrReplaced,
	ckptdv1.Refused_REASON_INLINE_CAP:      ErrInlineCap,
	ckptdv1.Refused_REASON_PLAN_MISMATCH:   ErrPlanMismatch,
	ckptdv1.Refused_REASON_CONFIG_MISMATCH: ErrConfigMismatch,
	ckptdv1.Refused_REASON_UNKNOWN_HANDLE:  ErrUnknownHandle,
	ckptdv1.Refused_REASON_CORRUPT:         ErrCorrupt,
	ckptdv1.Refused_REASON_NEWER_FORMAT:    ErrNewerFormat,
	ckptdv1.Refused_REASON_ANOTHER_ROOT:    ErrAnotherRoot,
	ckptdv1.Refused_REASON_STATE_TOO_LARGE: ErrStateTooLarge,
}

// codes maps a code to its meaning if the error has no detail. A code that is absent here has no meaning.
var codes = map[connect.Code]error{
	connect.CodeUnavailable:       ErrUnavailable,
	connect.CodeNotFound:          ErrNotFound,
	connect.CodeInvalidArgument:   ErrInvalid,
	connect.CodeResourceExhausted: ErrNoSpace,
	connect.CodeDataLoss:          ErrCorrupt,
	connect.CodeUnauthenticated:   ErrDenied,
	connect.CodePermissionDenied:  ErrDenied,
}

// callError is a failed call with its meaning: a daemon has answered with an error, or not at all.
type callError struct {
	// kind is one of this package's sentinels, or nil.
	kind error
	// retry: the call may succeed when repeated, with this owner or another.
	retry bool
	// notOwner names the owner, if the daemon said who owns the job.
	notOwner *ckptdv1.NotOwner
	refused  *ckptdv1.Refused
	cause    error
	// silent is true if the daemon did not answer in its time. It may be suspended.
	silent bool
}

func (e *callError) Error() string {
	if e.kind == nil {
		return e.cause.Error()
	}
	return fmt.Sprintf("%v: %v", e.kind, e.cause)
}

func (e *callError) Unwrap() []error {
	if e.kind == nil {
		return []error{e.cause}
	}
	return []error{e.kind, e.cause}
}

// classify gives an error of a call its meaning. ctx is the caller's context; after its end no call is retried.
func classify(ctx context.Context, err error) *callError {
	if ce, ok := errors.AsType[*callError](err); ok {
		return ce
	}
	e := &callError{cause: err}
	if ctx.Err() != nil {
		e.cause = context.Cause(ctx)
		return e
	}
	if errors.Is(err, address.ErrUntrusted) || errors.Is(err, address.ErrOneSided) || errors.Is(err, address.ErrExposed) {
		e.kind = ErrUntrusted // a repetition cannot help
		return e
	}
	answer, ok := errors.AsType[*connect.Error](err)
	if !ok {
		e.kind, e.retry = ErrUnavailable, true
		return e
	}
	for _, d := range answer.Details() {
		m, err := d.Value()
		if err != nil {
			continue
		}
		switch m := m.(type) {
		case *ckptdv1.NotOwner:
			e.kind, e.notOwner, e.retry = ErrNotOwner, m, true
			return e
		case *ckptdv1.Refused:
			e.kind, e.refused = reasons[m.GetReason()], m
			return e
		}
	}
	e.kind = codes[answer.Code()]
	// The error did not come from a daemon (a refused connection, a reset, a proxy's page), or one try has timed out.
	e.retry = !connect.IsWireError(err) || answer.Code() == connect.CodeUnavailable || answer.Code() == connect.CodeDeadlineExceeded
	e.silent = answer.Code() == connect.CodeDeadlineExceeded
	if e.retry && e.kind == nil {
		e.kind = ErrUnavailable
	}
	return e
}
