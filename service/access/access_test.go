package access

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
)

// Each procedure of the API has a role. A new procedure without a row of the table would be refused to everybody.
func TestEveryProcedureHasARole(t *testing.T) {
	seen := map[string]bool{}
	for _, file := range []protoreflect.FileDescriptor{ckptdv1.File_ckptd_v1_engine_proto, ckptdv1.File_ckptd_v1_jobs_proto,
		ckptdv1.File_ckptd_v1_collect_proto, ckptdv1.File_ckptd_v1_retention_proto, ckptdv1.File_ckptd_v1_savepoints_proto,
		ckptdv1.File_ckptd_v1_history_proto} {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				path := fmt.Sprintf("/%s/%s", service.FullName(), service.Methods().Get(j).Name())
				seen[path] = true
				if r, ok := Needed(path); !ok || r == open {
					t.Errorf("%s wants the role %q, in the table: %t; want a role", path, r, ok)
				}
			}
		}
	}
	for path := range needed {
		if strings.HasPrefix(path, "/ckptd.") && !seen[path] {
			t.Errorf("the table has %s, which the API does not have", path)
		}
	}
	if len(seen) < 17 {
		t.Errorf("the API has %d procedures, want 17 at least: the walk is broken", len(seen))
	}
}

func TestParseList(t *testing.T) {
	const token = "correct-horse-battery-staple"
	sum := sha256.Sum256([]byte(token))
	l, err := parseList([]byte("# who may do what\n\nclicks run sha256:" + hex.EncodeToString(sum[:]) +
		" # the engine\nprometheus\tread  token:0123456789-0123456789\nops run,delete certificate\n"))
	if err != nil {
		t.Fatal(err)
	}
	for given, want := range map[string]string{token: "clicks read,run", "0123456789-0123456789": "prometheus read", "": "", "ops": "", token + "x": ""} {
		got := ""
		if e, ok := l.byToken(given); ok {
			got = e.name + " " + e.roles.String()
		}
		if got != want {
			t.Errorf("token %q belongs to %q, want %q", given, got, want)
		}
	}
}

// A line with a mistake is refused with its number and what to write, and no part of the line is repeated.
func TestParseListRefuses(t *testing.T) {
	const secret = "topsecret-topsecret-topsecret"
	for file, want := range map[string]string{
		"":                                  "nobody may call",
		"# nothing\n":                       "nobody may call",
		"a run":                             "line 1: 2 words: want NAME ROLES PROOF",
		"\na run token:" + secret + " more": "line 2: 4 words",
		"a " + secret + " certificate":      "unknown role: the roles are read, run, delete",
		"a read," + secret + " certificate": "unknown role",
		"a run " + secret:                   "no proof",
		"a run token:topsecret":             "fewer than 20 characters",
		"a run sha256:topsecret":            "64 hexadecimal digits",
		"a run sha256:" + secret + secret:   "64 hexadecimal digits",
		"a run sha256:" + strings.Repeat("topsecre", 8):             "64 hexadecimal digits",
		"a run certificate\n" + strings.Repeat("topsecret", 10_000): "longer than 64 KiB",
	} {
		l, err := parseList([]byte(file))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "topsecre") {
			t.Errorf("%.60q: %v, %v; want an error that says %q without the secret", file, l, err, want)
		}
	}
}

const (
	reader, engine, cleaner = "reader-reader-reader", "engine-engine-engine", "cleaner-cleaner-cleaner"
)

func newGuard(t *testing.T, log *strings.Builder) (g *Guard, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "access")
	text := fmt.Sprintf("r read token:%s\ne run token:%s\nc delete token:%s\n", reader, engine, cleaner)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := NewGuard(file, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return g, file
}

// Every path answers each sender as the table says, and a path without a row answers nobody.
func TestGuard(t *testing.T) {
	var log strings.Builder
	g, _ := newGuard(t, &log)
	behind := g.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	roles := map[string]Roles{reader: Read, engine: Read | Run, cleaner: Read | Delete}
	paths := []string{"/", "/metrics/", "/debug/pprof", "/ckptd.v1.JobService/NoSuchCall"}
	for path := range needed {
		paths = append(paths, path)
	}
	refused := 0
	for _, path := range paths {
		for _, header := range []string{"", "Bearer " + reader, "Bearer " + engine, "bearer  " + cleaner, "Bearer wrong-wrong-wrong-wrong", "Basic " + engine} {
			want := http.StatusUnauthorized
			need, known := needed[path]
			if scheme, token, _ := strings.Cut(header, " "); strings.EqualFold(scheme, "bearer") {
				switch have, ok := roles[strings.TrimSpace(token)]; {
				case ok && !known:
					want = http.StatusNotImplemented
				case ok && have&need != 0:
					want = http.StatusTeapot
				case ok:
					want = http.StatusForbidden
				}
			}
			if known && need == open {
				want = http.StatusTeapot
			}
			r := httptest.NewRequest(http.MethodPost, path, nil)
			r.Header.Set("Content-Type", "application/json")
			if header != "" {
				r.Header.Set("Authorization", header)
			}
			w := httptest.NewRecorder()
			behind.ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("%s with %q: %d, want %d\n%s", path, header, w.Code, want, w.Body)
			}
			if w.Code != http.StatusTeapot {
				refused++
			}
			for _, secret := range []string{reader, engine, cleaner, "wrong-wrong"} {
				if strings.Contains(w.Body.String(), secret) {
					t.Errorf("%s with %q: the answer repeats a token: %s", path, header, w.Body)
				}
			}
		}
	}
	if text := log.String(); !strings.Contains(text, "a request was refused") || strings.Count(text, "\n") > refused/2 {
		t.Errorf("the log has %d lines for %d refusals, want some and few:\n%.500s", strings.Count(text, "\n"), refused, text)
	} else if strings.Contains(text, "-reader-") || strings.Contains(text, "-engine-") || strings.Contains(text, "-wrong-") {
		t.Errorf("the log repeats a token:\n%s", text)
	}
}

// A changed access file is in force for the next request. A wrong one changes nothing, and the log says so.
func TestGuardReadsAgain(t *testing.T) {
	var log strings.Builder
	g, file := newGuard(t, &log)
	ask := func(token string) connect.Code {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		if err := g.check(r); err != nil {
			return err.Code()
		}
		return 0
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	if code := ask(reader); code != 0 {
		t.Fatalf("before the change: %v", code)
	}
	write("r read token:fresh-fresh-fresh-fresh\n")
	if code := ask(reader); code != connect.CodeUnauthenticated {
		t.Errorf("the withdrawn token: %v, want it refused", code)
	}
	if code := ask("fresh-fresh-fresh-fresh"); code != 0 {
		t.Errorf("the new token: %v, want it taken", code)
	}
	write("r raed token:other-other-other-other\n")
	if code := ask("fresh-fresh-fresh-fresh"); code != 0 {
		t.Errorf("after a wrong change: %v, want the lines before it in force", code)
	}
	if text := log.String(); strings.Count(text, "stay in force") != 1 || strings.Contains(text, "other-other") {
		t.Errorf("want one line about the wrong file, without its token:\n%s", text)
	}
}

// A refusal has the form of the request's protocol.
func TestRefusalsOfEachProtocol(t *testing.T) {
	var log strings.Builder
	g, _ := newGuard(t, &log)
	server := httptest.NewUnstartedServer(g.Wrap(http.NotFoundHandler()))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	for name, option := range map[string]connect.ClientOption{
		"Connect": connect.WithClientOptions(), "JSON": connect.WithProtoJSON(), "gRPC": connect.WithGRPC(), "gRPC-Web": connect.WithGRPCWeb(),
	} {
		jobs := ckptdv1connect.NewJobServiceClient(server.Client(), server.URL, option)
		if _, err := jobs.GetStatus(t.Context(), &ckptdv1.GetStatusRequest{}); connect.CodeOf(err) != connect.CodeUnauthenticated {
			t.Errorf("%s, a unary call: %v, want %v", name, err, connect.CodeUnauthenticated)
		}
		state := ckptdv1connect.NewStateServiceClient(server.Client(), server.URL, option)
		stream, err := state.GetState(t.Context(), &ckptdv1.GetStateRequest{})
		if err == nil {
			stream.Receive()
			err = stream.Err()
			stream.Close()
		}
		if connect.CodeOf(err) != connect.CodeUnauthenticated {
			t.Errorf("%s, a stream: %v, want %v", name, err, connect.CodeUnauthenticated)
		}
	}
}
