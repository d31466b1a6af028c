package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// A proxy in front of a server breaks a promise of the store. Doctor and the start of a daemon give the same verdict.
func TestDoctorBehindProxies(t *testing.T) {
	t.Parallel()
	if os.Getenv("CKPTD_TEST_FULL") == "" {
		t.Skip("not run: CKPTD_TEST_FULL=1 (make test)")
	}
	server := servers.StartS3(t, servers.Gofakes3, false)
	isDelete := func(r *http.Request) bool { return r.Method == http.MethodPost && r.URL.Query().Has("delete") }
	var canaries atomic.Int64
	for _, c := range []struct {
		name   string
		handle func(w http.ResponseWriter, r *http.Request, forward http.Handler)
		check  string
		result ckptdv1.Result
		starts string // or the error
		code   int
	}{
		{"deletes are answered by nobody who knows", func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
			if isDelete(r) {
				fmt.Fprint(w, `<?xml version="1.0"?><DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></DeleteResult>`)
				return
			}
			forward.ServeHTTP(w, r)
		}, "delete", ckptdv1.Result_RESULT_NOT_EXAMINED, "WARNING: it is not known whether the store deletes anything", exit.Failed},
		{"deletes are answered well, and not done", func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
			if !isDelete(r) {
				forward.ServeHTTP(w, r)
				return
			}
			body, _ := io.ReadAll(r.Body)
			text := "<DeleteResult>"
			for _, part := range strings.Split(string(body), "<Key>")[1:] {
				key, _, _ := strings.Cut(part, "</Key>")
				text += "<Deleted><Key>" + key + "</Key></Deleted>"
			}
			fmt.Fprint(w, text+"</DeleteResult>")
		}, "delete", ckptdv1.Result_RESULT_UNFIT, "still there after they were deleted", exit.Damage},
		{"small writes come twice", func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
			if r.Method != http.MethodPut || r.Header.Get("If-None-Match") == "" {
				forward.ServeHTTP(w, r)
				return
			}
			body, _ := io.ReadAll(r.Body)
			for _, reply := range []http.ResponseWriter{httptest.NewRecorder(), w} {
				again := r.Clone(r.Context())
				again.Body = io.NopCloser(bytes.NewReader(body))
				forward.ServeHTTP(reply, again)
			}
		}, "publish", ckptdv1.Result_RESULT_OK, "32 of 32 races with one winner", exit.Done},
		{"the first writes fail", func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
			if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/canary") && canaries.Add(1)%3 != 0 {
				http.Error(w, "", http.StatusInternalServerError)
				return
			}
			forward.ServeHTTP(w, r)
		}, "publish", ckptdv1.Result_RESULT_OK, "races with one winner", exit.Done},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			root := server.URLAt(before(t, server, c.handle), strings.ReplaceAll(c.name, " ", "-"), "max_attempts=1")
			r, code, said := runDoctor(t, root)
			if f := findingOf(r, c.check); code != c.code || f.GetResult() != c.result {
				t.Errorf("exit code %d, %v\n%s\n%s", code, f, protojson.Format(r), said)
			}
			opened, err := drivers.Open(t.Context(), root, false)
			if err != nil {
				t.Fatal(err)
			}
			defer opened.Close()
			made, err := layout.OpenRoot(t.Context(), opened.Store)
			if text := fmt.Sprint(made, err); !strings.Contains(text, c.starts) || (err != nil) != (c.code == exit.Damage) {
				t.Errorf("starts with: %s", text)
			}
		})
	}
}
