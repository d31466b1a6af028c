package stream_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/stream"
)

// brokenStore returns its own answers where it has some.
type brokenStore struct {
	storage.Store
	create, write, commit error
	// The first write closes began, unless it is nil. Every write waits until hold is closed, unless it is nil.
	began, hold chan struct{}
	once        sync.Once
	// careless is set when the store does not compare lengths and sums.
	careless bool
}

func (b *brokenStore) Create(ctx context.Context, key string, o storage.CreateOptions) (storage.Writer, error) {
	if b.create != nil {
		return nil, &storage.Error{Op: "create", Key: key, Err: b.create}
	}
	if b.careless {
		o = storage.CreateOptions{}
	}
	w, err := b.Store.Create(ctx, key, o)
	return &brokenWriter{Writer: w, b: b}, err
}

type brokenWriter struct {
	storage.Writer
	b *brokenStore
}

func (w *brokenWriter) Write(p []byte) (int, error) {
	if w.b.began != nil {
		w.b.once.Do(func() { close(w.b.began) })
	}
	if w.b.hold != nil {
		<-w.b.hold
	}
	if w.b.write != nil {
		return 0, w.b.write
	}
	return w.Writer.Write(p)
}

func (w *brokenWriter) Commit() error {
	if w.b.commit != nil {
		return w.b.commit
	}
	return w.Writer.Commit()
}

// An error of the store reaches the client as the code that says what to do.
func TestStorageErrorsAreCodes(t *testing.T) {
	unknown := fmt.Errorf("reply lost: %w", storage.ErrUnknown)
	cases := []struct {
		name  string
		store *brokenStore
		code  connect.Code
	}{
		{"outcome unknown", &brokenStore{commit: unknown}, connect.CodeUnavailable},
		{"disk full at create", &brokenStore{create: syscall.ENOSPC}, connect.CodeResourceExhausted},
		{"disk full while writing", &brokenStore{write: &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}}, connect.CodeResourceExhausted},
		{"quota", &brokenStore{commit: syscall.EDQUOT}, connect.CodeResourceExhausted},
		{"read-only", &brokenStore{create: syscall.EROFS}, connect.CodeFailedPrecondition},
		{"other bytes", &brokenStore{commit: storage.ErrMismatch}, connect.CodeDataLoss},
		{"anything else", &brokenStore{commit: errors.New("odd")}, connect.CodeInternal},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			inner := mem.New()
			c.store.Store = inner
			s := serve(t, "tcp", newService(t, c.store, authorizer{}, nil).Handler)
			p := randomBytes(1, 3<<20)
			if _, err := put(t.Context(), s.defaultClient(), header(p), p, 1<<20); connect.CodeOf(err) != c.code {
				t.Errorf("default client: %v, want %v", err, c.code)
			}
			if _, err := s.sendOurs(t.Context(), header(p), io.NopCloser(bytes.NewReader(p)), 1<<18); connect.CodeOf(err) != c.code {
				t.Errorf("the SDK: %v, want %v", err, c.code)
			}
			if ks := keys(t, inner); len(ks) > 0 {
				t.Errorf("on storage are %v, want nothing", ks)
			}
		})
	}
}

// The daemon compares the announced length and sum itself, and does not rely on the store alone.
func TestAnnouncementsAreCompared(t *testing.T) {
	inner := mem.New()
	s := serve(t, "tcp", newService(t, &brokenStore{Store: inner, careless: true}, authorizer{}, nil).Handler)
	p := randomBytes(1, 1000)
	for name, edit := range map[string]func(h *ckptdv1.PutStateHeader){
		"more": func(h *ckptdv1.PutStateHeader) { *h.Length++ },
		"less": func(h *ckptdv1.PutStateHeader) { *h.Length-- },
		"sum":  func(h *ckptdv1.PutStateHeader) { *h.Crc32C++ },
	} {
		h := header(p)
		edit(h)
		if _, err := put(t.Context(), s.defaultClient(), h, p, 300); connect.CodeOf(err) != connect.CodeDataLoss {
			t.Errorf("%s: %v, want data_loss", name, err)
		}
	}
	if ks := keys(t, inner); len(ks) > 0 {
		t.Errorf("on storage are %v, want nothing", ks)
	}
}

// A client that disconnects in the middle of a file leaves nothing on storage, and its admission ends.
func TestCancelLeavesNothing(t *testing.T) {
	inner := mem.New()
	began := make(chan struct{})
	s := serve(t, "tcp", newService(t, &brokenStore{Store: inner, began: began}, authorizer{}, &stream.Options{Puts: 1}).Handler)
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	failed := make(chan error, 1)
	go func() {
		_, err := s.sendOurs(ctx, &ckptdv1.PutStateHeader{JobId: "job", Epoch: 1, CheckpointId: 1, Scope: ckptdv1.Scope_SCOPE_SHARED}, r, 1<<16)
		failed <- err
	}()
	if _, err := w.Write(make([]byte, 1<<16)); err != nil {
		t.Fatal(err)
	}
	<-began
	cancel()
	w.CloseWithError(io.ErrClosedPipe)
	if err := <-failed; connect.CodeOf(err) != connect.CodeCanceled {
		t.Fatalf("the stream ended with %v, want canceled", err)
	}
	p := []byte("after")
	ctx, cancel = context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := put(ctx, s.defaultClient(), header(p), p, 10); err != nil {
		t.Fatal(err)
	}
	if ks := keys(t, inner); len(ks) != 1 {
		t.Errorf("on storage are %v, want one file", ks)
	}
}

// A stream ends when its client sends nothing in the middle of a file, with its connection open. Then another stream is
// admitted. A stream that waits for the store does not end.
func TestSilentSender(t *testing.T) {
	t.Parallel()
	const silence = 500 * time.Millisecond
	began, hold := make(chan struct{}), make(chan struct{})
	s := serve(t, "tcp", newService(t, &brokenStore{Store: mem.New(), began: began, hold: hold}, authorizer{}, &stream.Options{Puts: 1, Silence: silence}).Handler)
	p := randomBytes(1, 1<<16)
	r, w := io.Pipe()
	silent, next := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := s.sendOurs(t.Context(), header(make([]byte, 1<<20)), r, 1<<16)
		silent <- err
	}()
	if _, err := w.Write(p); err != nil {
		t.Fatal(err)
	}
	<-began
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, err := s.sendOurs(ctx, header(p), io.NopCloser(bytes.NewReader(p)), 1<<16)
		next <- err
	}()
	time.Sleep(2 * silence) // in which the store, and not the sender, is waited for
	select {
	case err := <-silent:
		t.Errorf("the stream ended with %v while it waited for the store, want it to go on", err)
	default:
	}
	close(hold)
	if err := <-next; err != nil {
		t.Errorf("the stream that waits for admission ended with %v, want it stored", err)
	}
	if err := <-silent; connect.CodeOf(err) != connect.CodeDeadlineExceeded {
		t.Errorf("the silent client got %v, want deadline_exceeded", err)
	}
	w.CloseWithError(io.ErrClosedPipe)
}

// The authorizer is asked again when a stream has waited, since the checkpoint may have ended meanwhile. The client has
// sent no byte.
func TestAskedAgainAfterWaiting(t *testing.T) {
	hold, began := make(chan struct{}), make(chan struct{})
	open, asked := make(chan struct{}), make(chan uint64, 10)
	auth := authorizer{refuse: func(u stream.Upload) error {
		asked <- u.Checkpoint
		select {
		case <-open:
			return connect.NewError(connect.CodeFailedPrecondition, errors.New("aborted meanwhile"))
		default:
			return nil
		}
	}}
	s := serve(t, "tcp", newService(t, &brokenStore{Store: mem.New(), began: began, hold: hold}, auth, &stream.Options{Puts: 1}).Handler)
	p := randomBytes(1, 100)
	first, second := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := s.sendOurs(t.Context(), header(p), io.NopCloser(bytes.NewReader(p)), 100)
		first <- err
	}()
	<-began
	if n := len(asked); n != 1 {
		t.Errorf("the authorizer was asked %d times about the stream that did not wait, want once", n)
	}
	<-asked
	waits := header(p)
	waits.CheckpointId++
	src := &countingReader{r: bytes.NewReader(p)}
	go func() {
		_, err := s.sendOurs(t.Context(), waits, src, 100)
		second <- err
	}()
	if id := <-asked; id != waits.GetCheckpointId() {
		t.Errorf("the authorizer was asked about checkpoint %d, want %d, that of the second stream", id, waits.GetCheckpointId())
	}
	close(open)
	close(hold)
	if err := <-first; err != nil {
		t.Errorf("the first stream ended with %v, want it stored", err)
	}
	if err := <-second; connect.CodeOf(err) != connect.CodeFailedPrecondition || src.n > 0 {
		t.Errorf("the second stream ended with %v after %d bytes, want failed_precondition before the first byte", err, src.n)
	}
}

// Any tool that can POST can store a file: it sends envelopes of JSON. The test uses curl, if it is installed, and a
// plain HTTP client.
func TestPlainPost(t *testing.T) {
	store := mem.New()
	s := serve(t, "unix", newService(t, store, authorizer{}, nil).Handler)
	p := []byte("state of a job, as curl sends it")
	var body bytes.Buffer
	for _, m := range []*ckptdv1.PutStateRequest{
		{Part: &ckptdv1.PutStateRequest_Header{Header: header(p)}},
		{Part: &ckptdv1.PutStateRequest_Chunk{Chunk: p}},
	} {
		b, err := protojson.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		body.WriteByte(0)
		_ = binary.Write(&body, binary.BigEndian, uint32(len(b)))
		body.Write(b)
	}
	const path, contentType = "/ckptd.v1.StateService/PutState", "application/connect+json"
	answers := map[string][]byte{}
	res, err := s.http.Post(s.base+path, contentType, bytes.NewReader(body.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if answers["net/http"], err = io.ReadAll(res.Body); err != nil {
		t.Fatal(err)
	}
	if curl, err := exec.LookPath("curl"); err == nil {
		file := filepath.Join(t.TempDir(), "body")
		if err := os.WriteFile(file, body.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		tcp := serve(t, "tcp", newService(t, store, authorizer{}, nil).Handler)
		cmd := exec.CommandContext(t.Context(), curl, "-sS", "--data-binary", "@"+file, "-H", "Content-Type: "+contentType, "http://"+tcp.addr+path)
		if answers["curl"], err = cmd.Output(); err != nil {
			t.Fatal(err)
		}
	}
	for who, answer := range answers {
		if !strings.Contains(string(answer), `"key":"shared/`) || strings.Contains(string(answer), `"error"`) {
			t.Errorf("%s got the answer %q, want a shared file", who, answer)
		}
	}
	if ks := keys(t, store); len(ks) != len(answers) {
		t.Errorf("on storage are %v, want %d files", ks, len(answers))
	}
	if res.StatusCode != http.StatusOK {
		t.Errorf("status %d, want 200", res.StatusCode)
	}
}
