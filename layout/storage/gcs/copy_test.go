package gcs_test

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ckptd/ckptd/conformance/gcsfake"
	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout/storage"
)

// A large object is copied by several calls, also into another bucket, and is the source's to the byte. Neither an object
// that is there nor one of another sum is touched.
func TestCopyInSeveralCalls(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	server, endpoint := answering(t, gcsfake.Bucket{RewriteBytes: 1 << 20}, func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/rewriteTo/") && calls.Add(1) == 3 {
			w.WriteHeader(http.StatusServiceUnavailable) // is asked again
			return true
		}
		return false
	})
	server.Set("another", gcsfake.Bucket{})
	from := open(t, servers.GCSURL(endpoint, "from", ""))
	defer from.Close()
	to := open(t, strings.Replace(servers.GCSURL(endpoint, "to", ""), servers.Bucket, "another", 1))
	defer to.Close()
	data := random(5<<20 + 1)
	if err := create(t.Context(), from.Store, "a/f", data, announced(data)); err != nil {
		t.Fatal(err)
	}
	target := to.Store.(storage.Copier)
	if err := target.CopyFrom(t.Context(), from.Store, "a/f", "b/f", announced(data)); err != nil {
		t.Fatal(err)
	}
	if got, err := readAll(t.Context(), to.Store, "b/f"); err != nil || !bytes.Equal(got, data) || calls.Load() != 7 {
		t.Errorf("%d bytes, %v, after %d calls; want the %d of the source after 7", len(got), err, calls.Load(), len(data))
	}
	if err := target.CopyFrom(t.Context(), from.Store, "a/f", "b/f", announced(data)); !errors.Is(err, storage.ErrExists) {
		t.Errorf("copied over an object: %v, want that it exists", err)
	}
	other := announced(data)
	other.CRC32C++
	if err := target.CopyFrom(t.Context(), from.Store, "a/f", "b/g", other); !errors.Is(err, storage.ErrMismatch) {
		t.Errorf("with another sum: %v, want a mismatch", err)
	}
}

// A source that the target's credentials may not read is left to the caller, who can read it with its own.
func TestCopyDenied(t *testing.T) {
	t.Parallel()
	var armed atomic.Bool
	_, endpoint := answering(t, gcsfake.Bucket{}, func(w http.ResponseWriter, r *http.Request) bool {
		if armed.Load() && strings.Contains(r.URL.Path, "/rewriteTo/") {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	})
	from := open(t, servers.GCSURL(endpoint, "from", ""))
	defer from.Close()
	if err := from.Store.Publish(t.Context(), "a/f", []byte("x")); err != nil {
		t.Fatal(err)
	}
	armed.Store(true)
	if err := from.Store.(storage.Copier).CopyFrom(t.Context(), from.Store, "a/f", "b/f", announced([]byte("x"))); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("copy: %v, want unsupported", err)
	}
}
