package stream

import (
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
)

// guardBody prevents two kinds of hang.
//
// The first: Connect closes the request's body before it writes an error. Under "Expect: 100-continue", net/http then
// tries to read the body, while the client waits for the answer. So Close does nothing unless the body has been read
// from. The server closes the rest.
//
// The second: a client sends nothing in the middle of a file. guardBody ends the body when a read has waited for
// silence, or up to an eighth longer.
func guardBody(next http.Handler, silence time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		guarded := *r
		body := &guardedBody{ReadCloser: r.Body, silence: silence}
		// Only PutState reads the body to its end, where the deadline is cleared. A deadline that remained would end
		// the answer on HTTP/1 as well.
		if r.ProtoMajor == 1 && strings.HasSuffix(r.URL.Path, ckptdv1connect.StateServicePutStateProcedure) {
			body.until = http.NewResponseController(w).SetReadDeadline
		}
		guarded.Body = body
		next.ServeHTTP(w, withPlain(w, &guarded))
	})
}

// guardedBody is a request's body with guardBody's two guards.
type guardedBody struct {
	io.ReadCloser
	read    bool // something has been read
	silence time.Duration
	// until sets the connection's read deadline; nil: reads have no deadline.
	until func(time.Time) error
	moved time.Time // when the deadline was last set
	err   error     // the error that ended the body
}

// Read implements io.Reader. It moves the deadline only when an eighth of silence has passed, which is cheaper than at
// each read.
func (b *guardedBody) Read(p []byte) (int, error) {
	b.read = true
	if b.err != nil {
		return 0, b.err
	}
	if now := time.Now(); b.until != nil && now.Sub(b.moved) >= b.silence/8 {
		_ = b.until(now.Add(b.silence + b.silence/8)) // a connection without deadlines goes without
		b.moved = now
	}
	n, err := b.ReadCloser.Read(p)
	if b.err = err; err != nil && b.until != nil {
		// From here on the server watches whether the client disconnects, however long the store takes.
		_ = b.until(time.Time{})
	}
	return n, err
}

// Close implements io.Closer. It does nothing unless the body has been read from.
func (b *guardedBody) Close() error {
	if !b.read {
		return nil
	}
	return b.ReadCloser.Close()
}
