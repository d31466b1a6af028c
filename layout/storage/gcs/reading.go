package gcs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// A reading is one read of an object. The library asks for the rest of the same generation whenever a reply breaks off,
// without a pause and without end. A reading ends that when several replies in a row bring nothing.
type reading struct {
	store *store
	// requests so far, and those in a row that brought no byte.
	requests, vain int
	// got is the number of bytes of the present reply; cause is how it ended.
	got   int64
	cause error
}

type readingKey struct{}

func withReading(ctx context.Context, r *reading) context.Context {
	return context.WithValue(ctx, readingKey{}, r)
}

func readingOf(ctx context.Context) *reading {
	r, _ := ctx.Value(readingKey{}).(*reading)
	return r
}

// send sends a request of this read. One goroutine reads, so nothing is locked.
func (r *reading) send(base http.RoundTripper, req *http.Request) (*http.Response, error) {
	if r.requests > 0 {
		if r.vain++; r.got > 0 {
			r.vain = 1
		}
		if r.vain >= r.store.attempts() {
			return nil, fmt.Errorf("the reply broke off: %w", r.cause)
		}
		r.store.retries.report(r.cause)
	}
	r.requests++
	r.got, r.cause = 0, errors.New("no reply")
	resp, err := base.RoundTrip(req)
	if err != nil {
		r.cause = err
		return nil, err
	}
	resp.Body = &readBody{resp.Body, r}
	return resp, nil
}

// A readBody counts the bytes of a reply.
type readBody struct {
	io.ReadCloser
	reading *reading
}

func (b *readBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.reading.got += int64(n)
	if err != nil {
		b.reading.cause = err
	}
	return n, err
}
