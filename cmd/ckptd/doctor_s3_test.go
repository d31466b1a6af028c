package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/conformance/servers"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// Real servers with their default settings are fit, over http and https, and so is gofakes3 as ckptd uses it. Doctor
// leaves nothing behind on any of them.
func TestDoctorOnS3(t *testing.T) {
	t.Parallel()
	type server struct {
		kind string
		tls  bool
	}
	all := []server{{servers.Versitygw, false}, {servers.Versitygw, true}, {servers.Gofakes3, false}}
	if os.Getenv("CKPTD_TEST_FULL") != "" {
		all = append(all, server{servers.MinIO, false}, server{servers.MinIO, true})
	}
	for _, s := range all {
		t.Run(fmt.Sprintf("%s, tls %t", s.kind, s.tls), func(t *testing.T) {
			t.Parallel()
			root := servers.StartS3(t, s.kind, s.tls).URL("some/prefix", "")
			r, code, said := runDoctor(t, root)
			if code != exit.Done || r.GetVerdict() != ckptdv1.Verdict_VERDICT_FIT {
				t.Errorf("exit code %d\n%s\n%s", code, protojson.Format(r), said)
			}
			if left := objectsOf(t, root); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

func objectsOf(t *testing.T, root string) (keys []string) {
	t.Helper()
	opened, err := drivers.Open(t.Context(), root, true)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	for info, err := range opened.Store.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

// If doctor cannot examine a store at all, it prints the reason and advice, and exits with code 1: it has found nothing
// wrong with the store.
func TestDoctorCannotOpen(t *testing.T) {
	plain, secure := servers.StartS3(t, servers.Versitygw, false), servers.StartS3(t, servers.Versitygw, true)
	closed := httptest.NewServer(nil)
	closed.Close()
	for _, c := range []struct {
		name, root, secret, seen, advice string
	}{
		{"no such bucket", strings.Replace(plain.URL("x", ""), servers.Bucket, "nobody-made-it", 1), "", "make the bucket first", "Check the address, the name"},
		{"wrong key", plain.URL("x", ""), "not-the-secret", "the credentials found", "they need s3:ListBucket on the bucket"},
		{"nobody listens", plain.URLAt(closed.URL, "x", "max_attempts=1"), "", "connection refused", "See that the store answers"},
		{"unknown authority", "s3://" + servers.Bucket + "/x?max_attempts=1&endpoint=" + secure.Endpoint, "", "say ca=", "Check the address"},
		{"no credentials", plain.URL("x", ""), "none", "set AWS_ACCESS_KEY_ID", "Check the address"},
		{"http at an https port", plain.URLAt(strings.Replace(plain.Endpoint, "http:", "https:", 1), "x", "max_attempts=1"), "", "say endpoint=http://", "Check the address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			switch c.secret {
			case "":
			case "none":
				t.Setenv("AWS_ACCESS_KEY_ID", "")
				t.Setenv("AWS_SECRET_ACCESS_KEY", "")
			default:
				t.Setenv("AWS_SECRET_ACCESS_KEY", c.secret)
			}
			r, code, said := runDoctor(t, c.root)
			f := findingOf(r, "open")
			if code != exit.Failed || r.GetVerdict() != ckptdv1.Verdict_VERDICT_NOT_EXAMINED || !strings.Contains(f.GetSeen(), c.seen) || !strings.Contains(f.GetAdvice(), c.advice) {
				t.Errorf("exit code %d, seen %q, advice %q; want %q and %q\n%s", code, f.GetSeen(), f.GetAdvice(), c.seen, c.advice, said)
			}
		})
	}
}

// before puts a handler before a server and gives the endpoint to use instead.
func before(t *testing.T, server *servers.S3, handle func(w http.ResponseWriter, r *http.Request, forward http.Handler)) string {
	t.Helper()
	target, err := url.Parse(server.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	forward := httputil.NewSingleHostReverseProxy(target)
	forward.ErrorLog = log.New(io.Discard, "", 0)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handle(w, r, forward) }))
	t.Cleanup(proxy.Close)
	return proxy.URL
}

// Doctor reports a store whose clock is 20 minutes off. A store that refuses such requests, as Amazon does from 15
// minutes on, cannot be examined.
func TestDoctorClockSkew(t *testing.T) {
	t.Parallel()
	server := servers.StartS3(t, servers.Gofakes3, false)
	for _, c := range []struct {
		skew   time.Duration
		strict bool
		seen   string // a regular expression
	}{
		{20 * time.Minute, false, `(19m|20m)\d+s ahead of ours`}, {-20 * time.Minute, false, `(19m|20m)\d+s behind ours`},
		{20 * time.Minute, true, "set this machine's clock"},
	} {
		endpoint := before(t, server, func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
			now := time.Now().Add(c.skew)
			signed, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
			reply := httptest.NewRecorder()
			if c.strict && (err != nil || now.Sub(signed).Abs() > 15*time.Minute) {
				reply.WriteHeader(http.StatusForbidden)
				fmt.Fprint(reply, "<Error><Code>RequestTimeTooSkewed</Code><Message>The difference between the request time and the current time is too large.</Message></Error>")
			} else {
				r.Header.Set("X-Amz-Date", time.Now().UTC().Format("20060102T150405Z")) // the server's own clock is right
				forward.ServeHTTP(reply, r)
			}
			for name, values := range reply.Header() {
				w.Header()[name] = values
			}
			w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
			if at, err := http.ParseTime(reply.Header().Get("Last-Modified")); err == nil {
				w.Header().Set("Last-Modified", at.Add(c.skew).UTC().Format(http.TimeFormat))
			}
			w.WriteHeader(reply.Code)
			_, _ = w.Write(reply.Body.Bytes())
		})
		r, code, said := runDoctor(t, server.URLAt(endpoint, "skew", "max_attempts=1"))
		check, want := "clock", exit.Done
		if c.strict {
			check, want = "open", exit.Failed
		}
		f := findingOf(r, check)
		if code != want || !regexp.MustCompile(c.seen).MatchString(f.GetSeen()) || !c.strict && (f.GetResult() != ckptdv1.Result_RESULT_WARNING || !strings.Contains(f.GetAdvice(), "NTP")) {
			t.Errorf("%+v: exit code %d, %v\n%s\n%s", c, code, f, protojson.Format(r), said)
		}
	}
}
