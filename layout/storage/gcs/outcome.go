package gcs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"

	"cloud.google.com/go/storage"
	"google.golang.org/api/googleapi"

	contract "github.com/ckptd/ckptd/layout/storage"
)

// tries are the requests of one mutation that can carry it out: a whole upload, the last chunk of a resumable one, a
// delete, a rewrite. The library repeats some by itself. If a later one is refused, an earlier one may still have been
// carried out, or may be later.
type tries struct {
	mu   sync.Mutex
	list []try
	// session is the address of a resumable upload.
	session string
	// incomplete: the request's body has not ended yet, so no reply can be a success.
	incomplete atomic.Bool
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

// completes reports whether a request can carry out a mutation. The start of a resumable upload and its chunks before
// the last cannot.
func completes(req *http.Request) bool {
	query := req.URL.Query()
	if given := req.Header.Get("Content-Range"); given != "" {
		return !strings.HasSuffix(given, "/*")
	}
	return query.Get("uploadType") != "resumable"
}

// send sends a request and records its outcome.
func (t *tries) send(base http.RoundTripper, req *http.Request) (*http.Response, error) {
	if !completes(req) {
		return t.sendPart(base, req)
	}
	t.mu.Lock()
	i := len(t.list)
	t.list = append(t.list, try{})
	t.mu.Unlock()
	note := func(f func(*try)) {
		t.mu.Lock()
		defer t.mu.Unlock()
		f(&t.list[i])
	}
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { note(func(one *try) { one.sent = true }) }}
	resp, err := base.RoundTrip(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
	if err != nil {
		return nil, err
	}
	note(func(one *try) { one.status = resp.StatusCode })
	if resp.StatusCode < 300 && t.incomplete.Load() {
		// The library would wait for ever for somebody to read the rest.
		return nil, errors.Join(errNotGCS, resp.Body.Close())
	}
	if req.Method == http.MethodDelete && resp.StatusCode < 300 && !deleted(resp) {
		return nil, errors.Join(errNotGCS, resp.Body.Close())
	}
	return resp, nil
}

// sendPart sends the start of a resumable upload, or a chunk before the last. The library would take any success of a
// chunk for the end of the upload.
func (t *tries) sendPart(base http.RoundTripper, req *http.Request) (*http.Response, error) {
	resp, err := base.RoundTrip(req)
	if err != nil || resp.StatusCode > 299 {
		return resp, err
	}
	session := resp.Header.Get("Location")
	start := req.Header.Get("Content-Range") == ""
	if start && session == "" || !start && resp.Header.Get("X-Http-Status-Code-Override") != "308" {
		return nil, errors.Join(errNotGCS, resp.Body.Close())
	}
	if start {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.session = session
	}
	return resp, nil
}

// deleted reports whether a reply to a delete is one of the store: Google's has no content, that of emulators may be
// "null". The library would believe any success.
func deleted(resp *http.Response) bool {
	if resp.StatusCode == http.StatusNoContent {
		return true
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, 16))
	said := strings.TrimSpace(string(text))
	return err == nil && (said == "" || said == "null")
}

// refused reports whether this try was not carried out and never will be.
func (t try) refused() bool {
	switch {
	case !t.sent, t.status == http.StatusNotImplemented:
		return true
	case t.status == http.StatusRequestTimeout, t.status == http.StatusConflict:
		return false
	}
	return t.status >= 300 && t.status < 500
}

// unknown reports whether a try may have been carried out, or may be later. With before, the last try does not count.
func (t *tries) unknown(before bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := t.list
	if before && len(list) > 0 {
		list = list[:len(list)-1]
	}
	for _, one := range list {
		if !one.refused() {
			return true
		}
	}
	return false
}

// uploadSession is the address of the resumable upload, or "".
func (t *tries) uploadSession() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.session
}

// outcome turns the library's error of a mutation into one of the contract's three outcomes.
func (t *tries) outcome(err error) error {
	switch {
	case err == nil:
		return nil
	case statusOf(err) == http.StatusPreconditionFailed:
		return fmt.Errorf("%w: %w", contract.ErrExists, plain(err))
	case t.unknown(false):
		return &unknownError{plain(err)}
	}
	return plain(err)
}

// An unknownError is the error of a mutation that may have been done, or may be done later.
type unknownError struct{ err error }

func (d *unknownError) Error() string   { return contract.ErrUnknown.Error() + ": " + d.err.Error() }
func (d *unknownError) Unwrap() []error { return []error{contract.ErrUnknown, d.err} }

// statusOf returns the status of the reply in an error's chain, or 0.
func statusOf(err error) int {
	var reply *googleapi.Error
	if errors.As(err, &reply) {
		return reply.Code
	}
	return 0
}

// reasonOf returns the store's own word for an error, or "".
func reasonOf(err error) string {
	var reply *googleapi.Error
	if errors.As(err, &reply) && len(reply.Errors) > 0 {
		return reply.Errors[0].Reason
	}
	return ""
}

// A refusal is an error of the store in few words. The library's own text may hold a whole page.
type refusal struct {
	text string
	err  error
	// throttled: the store asks for fewer requests.
	throttled bool
	// missing: the server lacks the requested function for good.
	missing bool
}

func (r *refusal) Error() string { return r.text }

// Unwrap returns the library's error and the contract's sentinel errors.
func (r *refusal) Unwrap() (all []error) {
	if r.throttled {
		all = append(all, contract.ErrThrottled)
	}
	if r.missing {
		all = append(all, contract.ErrUnfit)
	}
	return append(all, r.err)
}

// plain shortens an error of the library.
func plain(err error) error {
	var reply *googleapi.Error
	if !errors.As(err, &reply) {
		return err
	}
	if reply.Message == "" { // the library does not look into the error of a download
		var said *googleapi.Error
		if errors.As(googleapi.CheckResponseWithBody(&http.Response{StatusCode: reply.Code}, []byte(reply.Body)), &said) {
			reply = said
		}
	}
	r := &refusal{err: err, throttled: throttles(reply), missing: reply.Code == http.StatusNotImplemented}
	r.text = reply.Message
	switch {
	case r.text == "" && strings.TrimSpace(reply.Body) == "":
		r.text = "a reply without a text"
	case r.text == "":
		r.text = fmt.Sprintf("a reply that is not Google's: %.120q", reply.Body)
	}
	if reason := reasonOf(reply); reason != "" {
		r.text = reason + ": " + r.text
	}
	r.text = fmt.Sprintf("%s (status %d)", r.text, reply.Code)
	if r.missing {
		r.text = contract.ErrUnfit.Error() + ": the server lacks what ckptd needs: " + r.text
	}
	return r
}

// throttles reports whether a reply asks for fewer requests.
func throttles(reply *googleapi.Error) bool {
	switch reasonOf(reply) {
	case "rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded":
		return !changedNow(reply)
	}
	return reply.Code == http.StatusTooManyRequests || reply.Code == http.StatusServiceUnavailable
}

// changedNow reports whether an object was made or deleted less than a second ago, which Google allows once. That says
// nothing about other requests.
func changedNow(err error) bool {
	var reply *googleapi.Error
	return errors.As(err, &reply) && reply.Code == http.StatusTooManyRequests && strings.Contains(reply.Message, "object mutation")
}

// absent reports whether err says that there is no such object. A missing bucket is another error.
func absent(err error) bool {
	return (errors.Is(err, storage.ErrObjectNotExist) || statusOf(err) == http.StatusNotFound) && !noBucket(err)
}

// noBucket reports whether err says that there is no such bucket.
func noBucket(err error) bool {
	var reply *googleapi.Error
	return errors.Is(err, storage.ErrBucketNotExist) || errors.As(err, &reply) && reply.Code == http.StatusNotFound && strings.Contains(reply.Message, "bucket does not exist")
}

// readError turns an error of a read into the contract's words.
func readError(err error) error {
	if absent(err) {
		return contract.ErrNotFound
	}
	return plain(err)
}
