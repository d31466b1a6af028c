package s3_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout/storage"
)

// The outcome of a Complete is unknown. An object of our length and sum is ours: the Complete was done. Any other
// object, and any other answer, proves nothing and must never pass for done.
func TestWhatSettlesAComplete(t *testing.T) {
	t.Parallel()
	servers.Credentials(t)
	const otherSum = "AAAAAA=="
	large := random(9 << 20)
	for name, c := range map[string]struct {
		extra  string
		status int
		length int
		sum    func(ours string) string
		done   bool
	}{
		"our length, our sum":         {"", 200, len(large), func(ours string) string { return ours }, true},
		"our length, another sum":     {"", 200, len(large), func(string) string { return otherSum }, false},
		"our length, no sum":          {"", 200, len(large), func(string) string { return "" }, false},
		"shorter, our sum":            {"", 200, len(large) - 1, func(ours string) string { return ours }, false},
		"longer, our sum":             {"", 200, len(large) + 1, func(ours string) string { return ours }, false},
		"empty, no sum":               {"", 200, 0, func(string) string { return "" }, false},
		"no object":                   {"", 404, 0, func(string) string { return "" }, false},
		"no permission to look":       {"", 403, 0, func(string) string { return "" }, false},
		"no answer":                   {"", 500, 0, func(string) string { return "" }, false},
		"a server that sums nothing":  {"&checksums=when_required", 200, len(large), func(string) string { return "" }, false},
		"and yet answers another sum": {"&checksums=when_required", 200, len(large), func(string) string { return otherSum }, false},
	} {
		for _, gone := range []bool{true, false} { // the upload is gone at the second try; or each try stays unknown
			t.Run(fmt.Sprintf("%s, upload gone: %v", name, gone), func(t *testing.T) {
				t.Parallel()
				var completes, looks, aborts atomic.Int32
				var ours atomic.Value
				ours.Store("")
				p := newPuppet(t, func(w http.ResponseWriter, r *http.Request) bool {
					switch request(r) {
					case "POST uploadId":
						ours.Store(r.Header.Get("X-Amz-Checksum-Crc32c"))
						if completes.Add(1) > 1 && gone {
							w.WriteHeader(http.StatusNotFound)
							_, _ = io.WriteString(w, "<Error><Code>NoSuchUpload</Code></Error>")
							return true
						}
						w.WriteHeader(http.StatusInternalServerError)
						_, _ = io.WriteString(w, "<Error><Code>InternalError</Code></Error>")
						return true
					case "DELETE uploadId":
						aborts.Add(1)
					case "HEAD":
						looks.Add(1)
						if sum := c.sum(ours.Load().(string)); sum != "" {
							w.Header().Set("X-Amz-Checksum-Crc32c", sum)
						}
						w.Header().Set("ETag", `"e"`)
						w.Header().Set("Content-Length", fmt.Sprint(c.length))
						w.WriteHeader(c.status)
						return true
					}
					return false
				})
				opened := p.open(t, "&max_attempts=1"+c.extra)
				defer opened.Close()
				err := create(t.Context(), opened.Store, "a/f", large, storage.CreateOptions{})
				if (err == nil) != c.done || err != nil && !errors.Is(err, storage.ErrUnknown) {
					t.Errorf("%v, want done: %v, else ErrUnknown", err, c.done)
				}
				if looks.Load() == 0 {
					t.Error("the driver did not look at the object, want it to")
				}
				if aborts.Load() != 0 {
					t.Error("the driver aborted an upload that may be an object, want it kept")
				}
			})
		}
	}
}
