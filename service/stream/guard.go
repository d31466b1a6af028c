package stream

import (
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
)

// guardBody keeps a refusal from waiting for bytes that nobody sends. Connect closes the request's body before it writes an
// error; under "Expect: 100-continue" net/http then tries to read the body, which the client holds back until it is told to go
// on: both sides would hang. So Close does nothing unless the body has been read from. The server itself closes what is left.
//
// And it ends the body of a sender that says nothing for longer than silence, or a little longer, while it is waited for.
func guardBody(next http.Handler, silence time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		guarded := *r
		body := &guardedBody{ReadCloser: r.Body, silence: silence}
		// Only where the body is read to its end: on HTTP/1 a limit that were left would end the answer, too.
		if r.ProtoMajor == 1 && strings.HasSuffix(r.URL.Path, ckptdv1connect.StateServicePutStateProcedure) {
			body.until = http.NewResponseController(w).SetReadDeadline
		}
		guarded.Body = body
		next.ServeHTTP(w, withPlain(w, &guarded))
	})
}

type guardedBody struct {
	io.ReadCloser
	read    bool
	silence time.Duration
	// until moves the limit of what is waited for; nil: there is none.
	until func(time.Time) error
	moved time.Time
	err   error // the last one: nothing follows
}

// Read moves the limit only when an eighth of it has passed: that is cheaper than at each read.
func (b *guardedBody) Read(p []byte) (int, error) {
	b.read = true
	if b.err != nil {
		return 0, b.err
	}
	if now := time.Now(); b.until != nil && now.Sub(b.moved) >= b.silence/8 {
		_ = b.until(now.Add(b.silence + b.silence/8)) // a connection that knows no limits has none
		b.moved = now
	}
	n, err := b.ReadCloser.Read(p)
	if b.err = err; err != nil && b.until != nil {
		// From here on the server listens for the sender's going away, however long the store takes.
		_ = b.until(time.Time{})
	}
	return n, err
}

func (b *guardedBody) Close() error {
	if !b.read {
		return nil
	}
	return b.ReadCloser.Close()
}
