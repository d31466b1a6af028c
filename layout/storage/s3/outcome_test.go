package s3_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout/storage"
)

// TestOutcome: the outcome of Publish depends on the replies to all its tries, not only the last.
func TestOutcome(t *testing.T) {
	t.Parallel()
	servers.Credentials(t)
	notDone := errors.New("not done")
	code := func(code string) string { return "<Error><Code>" + code + "</Code></Error>" }
	for _, c := range []struct {
		name    string
		replies []way // one for each try
		want    error // nil: done
	}{
		{"done", []way{{status: 200}}, nil},
		{"taken", []way{{status: 412, body: code("PreconditionFailed")}}, storage.ErrExists},
		{"denied", []way{{status: 403, body: code("AccessDenied")}}, notDone},
		{"too large", []way{{status: 400, body: code("EntityTooLarge")}}, notDone},
		{"elsewhere", []way{{status: 307, body: code("TemporaryRedirect")}}, notDone},
		{"another at work", []way{{status: 409, body: code("ConditionalRequestConflict")}}, storage.ErrUnknown},
		{"another operation", []way{{status: 409, body: code("OperationAborted")}}, storage.ErrUnknown},
		{"a conflict of another kind", []way{{status: 409, body: code("ObjectParentIsFile")}}, notDone},
		{"a conflict without a word", []way{{status: 409}}, storage.ErrUnknown},
		{"failed", []way{{status: 500, body: code("InternalError")}}, storage.ErrUnknown},
		{"slow down", []way{{status: 503, body: code("SlowDown")}}, storage.ErrUnknown},
		{"full", []way{{status: 507, body: code("InsufficientStorage")}}, storage.ErrUnknown},
		{"hidden", []way{{status: 200, body: code("InternalError")}}, storage.ErrUnknown},
		{"cut", []way{{status: 0}}, storage.ErrUnknown},
		{"failed, then done", []way{{status: 500, body: code("InternalError")}, {status: 200}}, nil},
		{"failed, then taken: by itself or another", []way{{status: 500, body: code("InternalError")}, {status: 412, body: code("PreconditionFailed")}}, storage.ErrExists},
		{"failed, then denied", []way{{status: 500, body: code("InternalError")}, {status: 403, body: code("AccessDenied")}}, storage.ErrUnknown},
		{"cut, then denied", []way{{status: 0}, {status: 403, body: code("AccessDenied")}}, storage.ErrUnknown},
		{"a token that had expired, then denied", []way{{status: 400, body: code("RequestTimeout")}, {status: 403, body: code("AccessDenied")}}, notDone},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var n atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if r.Method == http.MethodGet {
					_, _ = io.WriteString(w, "<ListBucketResult></ListBucketResult>")
					return
				}
				reply := c.replies[min(int(n.Add(1)), len(c.replies))-1]
				if reply.status == 0 {
					panic(http.ErrAbortHandler)
				}
				if reply.status == http.StatusOK {
					w.Header().Set("ETag", `"e"`)
				}
				w.WriteHeader(reply.status)
				_, _ = io.WriteString(w, reply.body)
			}))
			defer server.Close()
			opened := open(t, fmt.Sprintf("s3://b/p?endpoint=%s&max_attempts=%d", server.URL, len(c.replies)))
			defer opened.Close()
			err := opened.Store.Publish(t.Context(), "job/_journal/1", []byte("x"))
			unknown := errors.Is(err, storage.ErrUnknown)
			switch {
			case int(n.Load()) != len(c.replies):
				t.Errorf("%d requests, want %d; %v", n.Load(), len(c.replies), err)
			case c.want == notDone && (err == nil || unknown || errors.Is(err, storage.ErrExists)):
				t.Errorf("error %v, want one that says not done", err)
			case c.want != notDone && !errors.Is(err, c.want):
				t.Errorf("error %v, want %v", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "operation error") {
				t.Errorf("error %v, want it without the SDK's long text", err)
			}
		})
	}
}
