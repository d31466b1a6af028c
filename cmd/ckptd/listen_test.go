package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/service"
)

// onePort is a daemon that listens as serve has it, and its URL.
func onePort(t *testing.T) string {
	t.Helper()
	l, url, err := listen(t.Context(), "127.0.0.1:0", false, 0)
	if err != nil {
		t.Fatal(err)
	}
	s, err := service.New(mem.Open(), &service.Options{URLs: []string{url}})
	if err != nil {
		t.Fatal(err)
	}
	web := newHTTPServer(s.Handler())
	done := make(chan struct{})
	go func() { defer close(done); _ = web.Serve(l) }()
	t.Cleanup(func() { s.Close(); web.Close(); <-done })
	return url
}

// httpClient speaks HTTP/2 without TLS, or HTTP/1.1.
func httpClient(t *testing.T, two bool) *http.Client {
	var p http.Protocols
	p.SetUnencryptedHTTP2(two)
	p.SetHTTP1(!two)
	transport := &http.Transport{Protocols: &p}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// TestOnePort: Connect, gRPC and gRPC-Web, as binary and as JSON, health and reflection, all on the port that serve opens.
func TestOnePort(t *testing.T) {
	t.Parallel()
	url, one, two := onePort(t), httpClient(t, false), httpClient(t, true)
	for name, c := range map[string]struct {
		web  *http.Client
		opts []connect.ClientOption
	}{
		"Connect":                  {one, nil},
		"Connect by HTTP/2":        {two, nil},
		"Connect with JSON":        {one, []connect.ClientOption{connect.WithProtoJSON()}},
		"gRPC":                     {two, []connect.ClientOption{connect.WithGRPC()}},
		"gRPC-Web":                 {one, []connect.ClientOption{connect.WithGRPCWeb()}},
		"gRPC-Web by HTTP/2, gzip": {two, []connect.ClientOption{connect.WithGRPCWeb(), connect.WithSendGzip()}},
	} {
		people := ckptdv1connect.NewJobServiceClient(c.web, url, c.opts...)
		if res, err := people.GetStatus(t.Context(), &ckptdv1.GetStatusRequest{}); err != nil || res.GetUrls()[0] != url {
			t.Errorf("%s: %v, %v", name, res, err)
		}
		_, err := people.CancelJob(t.Context(), &ckptdv1.CancelJobRequest{JobId: "_"})
		if connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("%s: a bad job id: %v", name, err)
		}
	}
	for path, want := range map[string]string{
		"/ckptd.v1.EngineService/AttachJob {\"jobId\": \"counter\", \"requestId\": \"1\", \"config\": {\"interval\": \"0.5s\"}," +
			"\"plan\": {\"operators\": [{\"id\": \"counter\", \"parallelism\": 1, \"maxParallelism\": 1, \"triggered\": true}]}}": `"epoch":"1"`,
		`/grpc.health.v1.Health/Check {"service": "ckptd.v1.EngineService"}`: `"SERVING`,
		`/ckptd.v1.JobService/ShowCheckpoint {"jobId": "nobody"}`:            `"code":"not_found"`,
	} {
		path, body, _ := strings.Cut(path, " ")
		if got := post(t.Context(), t, one, url+path, body); !strings.Contains(got, want) {
			t.Errorf("POST %s: %s, want %s", path, got, want)
		}
	}
	stream := grpcreflect.NewClient(two, url).NewStream(t.Context())
	names, err := stream.ListServices()
	if err != nil || !slices.Contains(names, ckptdv1connect.StateServiceName) {
		t.Errorf("reflection: %v, %v", names, err)
	}
	if _, err := stream.Close(); err != nil {
		t.Error(err)
	}
}

// TestListenLeavesOthersAlone: connecting to a file or an empty folder fails like connecting to a dead socket, but only
// the dead socket is removed.
func TestListenLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	dir := socketDir(t)
	paths := map[string]string{"file": filepath.Join(dir, "file"), "folder": filepath.Join(dir, "folder"), "link": filepath.Join(dir, "link")}
	err := errors.Join(os.WriteFile(paths["file"], []byte("precious"), 0o600), os.Mkdir(paths["folder"], 0o700), os.Symlink("file", paths["link"]))
	if err != nil {
		t.Fatal(err)
	}
	for what, path := range paths {
		if _, err := checkListen(t.Context(), "unix:"+path); err == nil || !strings.Contains(err.Error(), "not a socket") {
			t.Errorf("check of a %s: %v", what, err)
		}
		if l, _, err := listen(t.Context(), "unix:"+path, false, 0o600); err == nil {
			l.Close()
			t.Errorf("it listens on a %s", what)
		}
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
	left := filepath.Join(dir, "left")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: left, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	l, _, err := listen(t.Context(), "unix:"+left, false, 0o600)
	if err != nil {
		t.Fatalf("what a killed daemon left is in the way: %v", err)
	}
	if _, err := checkListen(t.Context(), "unix:"+left); err != nil {
		t.Errorf("the check of a socket that a killed daemon left: %v", err)
	}
	l.Close()
}

// TestNothingIsWrittenWhenTheAddressIsTaken: serve binds before it touches the store. A new root is not made.
func TestNothingIsWrittenWhenTheAddressIsTaken(t *testing.T) {
	dir := socketDir(t)
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	socket, err := net.Listen("unix", filepath.Join(dir, "taken"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	for at, want := range map[string]string{port.Addr().String(): "the port is in use", "unix:" + socket.Addr().String(): "another process answers there"} {
		var out bytes.Buffer
		code := run(t.Context(), []string{"serve", "--root", filepath.Join(dir, "root"), "--listen", at}, &out, &out)
		if code != exit.Failed || !strings.Contains(out.String(), want) {
			t.Errorf("%s: exit code %d\n%s", at, code, &out)
		}
		if _, err := os.Stat(filepath.Join(dir, "root")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the root was made: %v", at, err)
		}
	}
}

// post is what `curl -H 'Content-Type: application/json' -d BODY URL` prints.
func post(ctx context.Context, t *testing.T, c *http.Client, url, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
