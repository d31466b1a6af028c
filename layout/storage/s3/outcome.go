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

// tries records the requests of one mutation. The SDK repeats requests by itself. If a later one is refused, an
// earlier one may still have been carried out, or may be later.
type tries struct {
	mu   sync.Mutex
	list []try
}

// A try is one request.
type try struct {
	// sent: a connection took the request, or a part of it.
	sent bool
	// status of the reply; 0: there was none.
	status int
}

type triesKey struct{}

// watched returns a context whose requests are recorded in the returned tries.
func watched(ctx context.Context) (context.Context, *tries) {
	t := &tries{}
	return context.WithValue(ctx, triesKey{}, t), t
}

func triesOf(ctx context.Context) *tries {
	t, _ := ctx.Value(triesKey{}).(*tries)
	return t
}

// begin records a request; the returned function records its outcome.
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

// refused reports whether this try was not carried out and never will be.
func (t try) refused() bool {
	if !t.sent {
		return true
	}
	return t.status >= 300 && t.status < 500 && t.status != http.StatusConflict || t.status == http.StatusNotImplemented
}

// earlierUnknown reports whether a try before the last may have been carried out, or may be later.
func (t *tries) earlierUnknown() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, one := range t.list {
		if i < len(t.list)-1 && !one.refused() {
			return true
		}
	}
	return false
}

// last returns the last try; if there is none, a try that was not sent.
func (t *tries) last() try {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.list) == 0 {
		return try{}
	}
	return t.list[len(t.list)-1]
}

// outcome turns the SDK's error of a mutation into one of the contract's three outcomes. conditional: the request had
// If-None-Match.
func (t *tries) outcome(err error, conditional bool) error {
	if err == nil {
		return nil
	}
	last, status := t.last(), statusOf(err)
	if conditional && status == http.StatusPreconditionFailed {
		return fmt.Errorf("%w: %w", storage.ErrExists, plain(err))
	}
	certain := last.refused() || last.status == http.StatusConflict && isFolder(err)
	if certain && !t.earlierUnknown() {
		return plain(err)
	}
	return &unknownError{plain(err)}
}

// An unknownError is the error of a mutation that may have been done, or may be done later.
type unknownError struct{ err error }

func (d *unknownError) Error() string   { return storage.ErrUnknown.Error() + ": " + d.err.Error() }
func (d *unknownError) Unwrap() []error { return []error{storage.ErrUnknown, d.err} }

// withoutUnknown removes ErrUnknown from an error where nothing can have been done.
func withoutUnknown(err error) error {
	var unknown *unknownError
	if errors.As(err, &unknown) {
		return unknown.err
	}
	return err
}

// isFolder reports whether a server over a file tree refused the key because the key, or an element above it, is
// something else there. Any other conflict means that another writer was at work, and leaves our own outcome open.
func isFolder(err error) bool {
	code := codeOf(err)
	return code == "ExistingObjectIsDirectory" || code == "ObjectParentIsFile"
}

// statusOf returns the status of the reply in an error's chain, or 0.
func statusOf(err error) int {
	var reply *smithyhttp.ResponseError
	if errors.As(err, &reply) && reply.Response != nil && reply.Response.Response != nil {
		return reply.HTTPStatusCode()
	}
	return 0
}

// codeOf returns the store's own code for an error, or "".
func codeOf(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// A refusal is an error of the store in few words. The SDK's own text is far longer.
type refusal struct {
	text string
	// err is the SDK's error; nil if a key of a batch was refused.
	err error
	// throttled: the store asks for fewer requests.
	throttled bool
	// missing: the server lacks the requested function for good.
	missing bool
}

func (r *refusal) Error() string { return r.text }

// Unwrap returns the SDK's error and the contract's sentinel errors.
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

// errNotS3 is for a reply with status 200 that does not come from an S3 store: a gateway's page, or nothing.
var errNotS3 = errors.New("the reply does not come from an S3 store; does a gateway or a proxy answer in its place?")

// checkETag returns an error for a success without an ETag. Every store names the ETag of what is stored now.
func checkETag(etag *string) error {
	if etag == nil || *etag == "" {
		return errNotS3
	}
	return nil
}

// absent reports whether err says that there is no such object. A missing bucket is another error.
func absent(err error) bool {
	return statusOf(err) == http.StatusNotFound && codeOf(err) != "NoSuchBucket"
}

// readError turns an error of a read into the contract's words.
func readError(err error) error {
	if absent(err) {
		return storage.ErrNotFound
	}
	return plain(err)
}

func swapPayloadHash(stack *middleware.Stack) error {
	return v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware(stack)
}
