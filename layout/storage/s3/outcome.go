package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"sync"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/ckptd/ckptd/layout/storage"
)

// tries is what is known of the requests of one mutation. The SDK repeats them by itself, and a refusal of the second says nothing
// about the first, which may have been done or may still be.
type tries struct {
	mu   sync.Mutex
	list []try
}

// A try is one request.
type try struct {
	// sent: a connection took it, or part of it.
	sent bool
	// status of the reply; 0: there was none.
	status int
}

type triesKey struct{}

// watched gives a context whose requests are written down.
func watched(ctx context.Context) (context.Context, *tries) {
	t := &tries{}
	return context.WithValue(ctx, triesKey{}, t), t
}

func triesOf(ctx context.Context) *tries {
	t, _ := ctx.Value(triesKey{}).(*tries)
	return t
}

// begin notes a request; end its outcome.
func (t *tries) begin(req *http.Request) (watched *http.Request, end func(*http.Response, error)) {
	t.mu.Lock()
	i := len(t.list)
	t.list = append(t.list, try{})
	t.mu.Unlock()
	note := func(f func(*try)) {
		t.mu.Lock()
		f(&t.list[i])
		t.mu.Unlock()
	}
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { note(func(one *try) { one.sent = true }) }}
	return req.WithContext(httptrace.WithClientTrace(req.Context(), trace)), func(resp *http.Response, err error) {
		if err == nil {
			note(func(one *try) { one.status = resp.StatusCode })
		}
	}
}

// refused: this try was not done and never will be.
func (t try) refused() bool {
	if !t.sent {
		return true
	}
	return t.status >= 300 && t.status < 500 && t.status != http.StatusConflict || t.status == http.StatusNotImplemented
}

// unsettled: one of the tries before the last may have been done, or may be.
func (t *tries) unsettled() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, one := range t.list {
		if i < len(t.list)-1 && !one.refused() {
			return true
		}
	}
	return false
}

// last is the last try; without any, one that was not sent.
func (t *tries) last() try {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.list) == 0 {
		return try{}
	}
	return t.list[len(t.list)-1]
}

// outcome turns what the SDK says of a mutation into one of the contract's three. conditional: the request had If-None-Match.
func (t *tries) outcome(err error, conditional bool) error {
	if err == nil {
		return nil
	}
	last, status := t.last(), statusOf(err)
	if conditional && status == http.StatusPreconditionFailed {
		return fmt.Errorf("%w: %w", storage.ErrExists, plain(err))
	}
	certain := last.refused() || last.status == http.StatusConflict && isFolder(err)
	if certain && !t.unsettled() {
		return plain(err)
	}
	return &doubtful{plain(err)}
}

// A doubtful error is one of a mutation that may have been done, or may still be.
type doubtful struct{ err error }

func (d *doubtful) Error() string   { return storage.ErrUnknown.Error() + ": " + d.err.Error() }
func (d *doubtful) Unwrap() []error { return []error{storage.ErrUnknown, d.err} }

// certain takes the doubt out of an error where nothing can have been done.
func certain(err error) error {
	var doubt *doubtful
	if errors.As(err, &doubt) {
		return doubt.err
	}
	return err
}

// isFolder: a server over a file tree refuses the key, because it or what is above it is something else there. Any other conflict means that
// another writer was at work; what it says of us is not certain.
func isFolder(err error) bool {
	code := codeOf(err)
	return code == "ExistingObjectIsDirectory" || code == "ObjectParentIsFile"
}

// statusOf is the status of the reply an error tells of, or 0.
func statusOf(err error) int {
	var reply *smithyhttp.ResponseError
	if errors.As(err, &reply) && reply.Response != nil && reply.Response.Response != nil {
		return reply.HTTPStatusCode()
	}
	return 0
}

// codeOf is the store's own word for an error, or "".
func codeOf(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// A refusal is an error of the store in few words; the SDK's own text has the request's whole life in it.
type refusal struct {
	text string
	// err is the SDK's; nil where a key of a batch was refused.
	err error
	// throttled: the store asks for fewer requests.
	throttled bool
	// missing: the server does not have what it was asked for, and never will.
	missing bool
}

func (r *refusal) Error() string { return r.text }

// Unwrap gives the SDK's error and the contract's word.
func (r *refusal) Unwrap() (all []error) {
	if r.throttled {
		all = append(all, storage.ErrThrottled)
	}
	if r.missing {
		all = append(all, storage.ErrUnfit)
	}
	if r.err != nil {
		all = append(all, r.err)
	}
	return all
}

// plain shortens an error of the SDK.
func plain(err error) error {
	r := &refusal{err: err, throttled: throttles(statusOf(err), codeOf(err)), missing: statusOf(err) == http.StatusNotImplemented}
	var api smithy.APIError
	var send *smithyhttp.RequestSendError
	switch {
	case errors.As(err, &api):
		text := api.ErrorCode()
		if message := api.ErrorMessage(); message != "" && message != text {
			text += ": " + message
		}
		if status := statusOf(err); status != 0 {
			text += fmt.Sprintf(" (status %d", status)
			var reply *awshttp.ResponseError
			if errors.As(err, &reply) && reply.RequestID != "" {
				text += ", request " + reply.RequestID
			}
			text += ")"
		}
		r.text = text
		if r.missing {
			r.text = storage.ErrUnfit.Error() + ": the server lacks what ckptd needs: " + text
		}
	case errors.As(err, &send) && send.Err != nil:
		r.text = send.Err.Error()
	case r.throttled:
		r.text = fmt.Sprintf("a reply that is not S3's (status %d)", statusOf(err))
	default:
		return err
	}
	return r
}

// errNotS3 is about a reply that says 200 and is none of the store's: a gateway's page, or nothing.
var errNotS3 = errors.New("a reply without what a store says; is something else in its place?")

// genuine doubts a success that does not name what is stored now, as every store does.
func genuine(etag *string) error {
	if etag == nil || *etag == "" {
		return errNotS3
	}
	return nil
}

// absent: there is no such object. A bucket that is not there is something else.
func absent(err error) bool {
	return statusOf(err) == http.StatusNotFound && codeOf(err) != "NoSuchBucket"
}

// reading gives an error of a read the contract's words.
func reading(err error) error {
	if absent(err) {
		return storage.ErrNotFound
	}
	return plain(err)
}

func swapPayloadHash(stack *middleware.Stack) error {
	return v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware(stack)
}
