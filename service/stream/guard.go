package stream

import (
	"io"
	"net/http"
)

// guardBody keeps a refusal from waiting for bytes that nobody sends. Connect closes the request's body before it writes an
// error; under "Expect: 100-continue" net/http then tries to read the body, which the client holds back until it is told to go
// on: both sides would hang. So Close does nothing unless the body has been read from. The server itself closes what is left.
func guardBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		guarded := *r
		guarded.Body = &guardedBody{ReadCloser: r.Body}
		next.ServeHTTP(w, withPlain(w, &guarded))
	})
}

type guardedBody struct {
	io.ReadCloser
	read bool
}

func (b *guardedBody) Read(p []byte) (int, error) {
	b.read = true
	return b.ReadCloser.Read(p)
}

func (b *guardedBody) Close() error {
	if !b.read {
		return nil
	}
	return b.ReadCloser.Close()
}
