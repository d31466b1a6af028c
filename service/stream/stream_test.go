package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/proto/data"
	"github.com/ckptd/ckptd/service/stream"
)

// authorizer allows all uploads except those that refuse refuses.
type authorizer struct {
	refuse func(stream.Upload) error
}

func (a authorizer) AuthorizePut(_ context.Context, u stream.Upload) error {
	if a.refuse == nil {
		return nil
	}
	return a.refuse(u)
}

// AuthorizeGet allows what "friend" lends.
func (authorizer) AuthorizeGet(_ context.Context, job, lender string) error {
	if lender == "friend" {
		return nil
	}
	return connect.NewError(connect.CodePermissionDenied, errors.New(lender+" lends nothing to "+job))
}

func (authorizer) Stored(stream.Upload, *ckptdv1.FileHandle) {}

// server serves a store over a real socket.
type server struct {
	base string
	http *http.Client
	// addr is the address of the socket.
	addr string
}

func serve(t testing.TB, network string, h func() (string, http.Handler)) server {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(h())
	srv := &http.Server{Handler: mux, ConnContext: stream.ConnContext}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, l.Addr().String())
		if err == nil {
			stream.ConnContext(ctx, c)
		}
		return c, err
	}
	transport := &http.Transport{DialContext: dial, DisableCompression: true, ExpectContinueTimeout: data.AdmissionWait, MaxIdleConnsPerHost: 64}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		srv.Close()
		<-done
	})
	return server{base: "http://ckptd", http: &http.Client{Transport: transport}, addr: l.Addr().String()}
}

func newService(t testing.TB, store storage.Store, a stream.Authorizer, o *stream.Options) *stream.Service {
	t.Helper()
	s, err := stream.New(store, layout.NewNonce(), a, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// defaultClient is a client as a generator in any language makes it: with Connect's own codec, gzip accepted, and none
// of the SDK's headers.
func (s server) defaultClient(opts ...connect.ClientOption) ckptdv1connect.StateServiceClient {
	return ckptdv1connect.NewStateServiceClient(s.http, s.base, opts...)
}

func randomBytes(seed uint64, n int) []byte {
	p := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{byte(seed)})
	_, _ = rng.Read(p)
	return p
}

func header(p []byte) *ckptdv1.PutStateHeader {
	return &ckptdv1.PutStateHeader{
		JobId: "job", Epoch: 3, Attempt: 1, CheckpointId: 7, Scope: ckptdv1.Scope_SCOPE_SHARED,
		Length: proto.Uint64(uint64(len(p))), Crc32C: proto.Uint32(data.CRC32C(0, p)),
	}
}

// put sends a file as a default client does.
func put(ctx context.Context, c ckptdv1connect.StateServiceClient, h *ckptdv1.PutStateHeader, p []byte, chunk int) (*ckptdv1.FileHandle, error) {
	st, err := c.PutState(ctx)
	if err != nil {
		return nil, err
	}
	err = st.Send(&ckptdv1.PutStateRequest{Part: &ckptdv1.PutStateRequest_Header{Header: h}})
	for err == nil && len(p) > 0 {
		n := min(chunk, len(p))
		err = st.Send(&ckptdv1.PutStateRequest{Part: &ckptdv1.PutStateRequest_Chunk{Chunk: p[:n]}})
		p = p[n:]
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	res, err := st.CloseAndReceive()
	return res.GetFile(), err
}

func get(ctx context.Context, c ckptdv1connect.StateServiceClient, req *ckptdv1.GetStateRequest) ([]byte, error) {
	st, err := c.GetState(ctx, req)
	if err != nil {
		return nil, err
	}
	defer st.Close()
	var all []byte
	for st.Receive() {
		all = append(all, st.Msg().GetChunk()...)
	}
	return all, st.Err()
}

// sendOurs sends a file as the SDK does.
func (s server) sendOurs(ctx context.Context, h *ckptdv1.PutStateHeader, src io.ReadCloser, chunk int) (*ckptdv1.FileHandle, error) {
	body, err := data.NewBody(h, src, chunk)
	if err != nil {
		return nil, err
	}
	early, err := proto.Marshal(h)
	if err != nil {
		return nil, err
	}
	ctx, info := connect.NewClientContext(data.WithBody(ctx, body))
	info.RequestHeader().Set("Expect", "100-continue")
	info.RequestHeader().Set(data.HeaderName, connect.EncodeBinaryHeader(early))
	st, err := ckptdv1connect.NewStateServiceClient(data.Doer{Client: s.http}, s.base, data.ClientOptions()).PutState(ctx)
	if err != nil {
		return nil, err
	}
	res, err := st.CloseAndReceive()
	return res.GetFile(), err
}

func keys(t testing.TB, store storage.Store) []string {
	t.Helper()
	var ks []string
	for info, err := range store.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		ks = append(ks, info.Key)
	}
	return ks
}

// Every client stores and reads the same bytes over every kind of connection.
func TestRoundTrip(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		store := mem.New()
		s := serve(t, network, newService(t, store, authorizer{}, nil).Handler)
		clients := map[string]ckptdv1connect.StateServiceClient{
			"default":   s.defaultClient(),
			"json":      s.defaultClient(connect.WithProtoJSON()),
			"gzip":      s.defaultClient(connect.WithSendGzip()),
			"our codec": s.defaultClient(data.ClientOptions()),
		}
		for name, c := range clients {
			for _, n := range []int{0, 1, 100_000, data.BlockSize, data.BlockSize + 1, 2*data.BlockSize + 77} {
				if (name == "json" || name == "gzip") && n > 100_000 {
					continue // slow, and nothing new
				}
				t.Run(fmt.Sprintf("%s/%s/%d", network, name, n), func(t *testing.T) {
					p := randomBytes(uint64(n), n)
					h := header(p)
					if n == 1 { // unknown length and sum, for one checkpoint alone
						h.Length, h.Crc32C, h.Scope = nil, nil, ckptdv1.Scope_SCOPE_EXCLUSIVE
					}
					f, err := put(t.Context(), c, h, p, 1<<20)
					if name == "gzip" {
						// The server offers no compression. A client that compresses anyway gets an error that says so.
						if connect.CodeOf(err) != connect.CodeUnimplemented {
							t.Fatalf("gzip: %v, want unimplemented", err)
						}
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					checkStored(t, store, f, h, p)
					off := n / 3
					got, err := get(t.Context(), c, &ckptdv1.GetStateRequest{JobId: "job", File: f, Offset: uint64(off)})
					if err != nil || !bytes.Equal(got, p[off:]) {
						t.Fatalf("%d bytes from %d: got %d bytes, %v; want the bytes that were sent", n-off, off, len(got), err)
					}
				})
			}
		}
	}
}

func checkStored(t *testing.T, store storage.Store, f *ckptdv1.FileHandle, h *ckptdv1.PutStateHeader, p []byte) {
	t.Helper()
	k := layout.ParseJobKey(f.GetKey())
	place := layout.PlaceShared
	if h.GetScope() == ckptdv1.Scope_SCOPE_EXCLUSIVE {
		place = layout.PlaceExclusive
	}
	if k.Place != place || k.File.Epoch != h.GetEpoch() || k.File.Checkpoint != h.GetCheckpointId() {
		t.Errorf("key %q, want the scope, epoch and checkpoint of %v", f.GetKey(), h)
	}
	var sums data.Sums
	_, _ = sums.Write(p)
	if want := sums.Handle(f.GetKey()); !proto.Equal(f, want) {
		t.Errorf("handle %v, want %v", f, want)
	}
	r, err := store.Open(t.Context(), "job/"+f.GetKey(), 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, p) {
		t.Errorf("%d bytes are stored, %v; want the bytes that were sent", len(got), err)
	}
}

func TestOurClientRoundTrip(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		store := mem.New()
		s := serve(t, network, newService(t, store, authorizer{}, nil).Handler)
		p := randomBytes(5, data.BlockSize+12345)
		h := header(p)
		f, err := s.sendOurs(t.Context(), h, io.NopCloser(bytes.NewReader(p)), data.ChunkUnix)
		if err != nil {
			t.Fatal(err)
		}
		checkStored(t, store, f, h, p)
	}
}

// Each refusal has its code and leaves nothing on storage.
func TestRefusals(t *testing.T) {
	store := mem.New()
	closed := connect.NewError(connect.CodeFailedPrecondition, errors.New("checkpoint 8 is not open"))
	s := serve(t, "tcp", newService(t, store, authorizer{refuse: func(u stream.Upload) error {
		if u.Checkpoint == 8 {
			return closed
		}
		return nil
	}}, &stream.Options{MaxFile: 1 << 20}).Handler)
	p := randomBytes(1, 300_000)
	cases := []struct {
		name string
		edit func(h *ckptdv1.PutStateHeader)
		code connect.Code
		// before is set when the file is refused before the body is read.
		before bool
	}{
		{"not open", func(h *ckptdv1.PutStateHeader) { h.CheckpointId = 8 }, connect.CodeFailedPrecondition, true},
		{"path as job", func(h *ckptdv1.PutStateHeader) { h.JobId = "../x" }, connect.CodeInvalidArgument, true},
		{"no job", func(h *ckptdv1.PutStateHeader) { h.JobId = "" }, connect.CodeInvalidArgument, true},
		{"no scope", func(h *ckptdv1.PutStateHeader) { h.Scope = 0 }, connect.CodeInvalidArgument, true},
		{"no epoch", func(h *ckptdv1.PutStateHeader) { h.Epoch = 0 }, connect.CodeInvalidArgument, true},
		{"no checkpoint", func(h *ckptdv1.PutStateHeader) { h.CheckpointId = 0 }, connect.CodeInvalidArgument, true},
		{"too long", func(h *ckptdv1.PutStateHeader) { h.Length = proto.Uint64(1<<20 + 1) }, connect.CodeInvalidArgument, true},
		{"announced more", func(h *ckptdv1.PutStateHeader) { *h.Length++ }, connect.CodeDataLoss, false},
		{"announced less", func(h *ckptdv1.PutStateHeader) { *h.Length-- }, connect.CodeDataLoss, false},
		{"another sum", func(h *ckptdv1.PutStateHeader) { *h.Crc32C ^= 1 }, connect.CodeDataLoss, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := header(p)
			c.edit(h)
			if _, err := put(t.Context(), s.defaultClient(), h, p, 1<<16); connect.CodeOf(err) != c.code {
				t.Errorf("default client: %v, want %v", err, c.code)
			}
			src := &countingReader{r: bytes.NewReader(p)}
			if _, err := s.sendOurs(t.Context(), h, src, 1<<16); connect.CodeOf(err) != c.code {
				t.Errorf("the SDK: %v, want %v", err, c.code)
			}
			if c.before && src.n > 0 {
				t.Errorf("the SDK read %d bytes of a refused file, want none", src.n)
			}
			if ks := keys(t, store); len(ks) > 0 {
				t.Errorf("on storage are %v, want nothing", ks)
			}
		})
	}
}

type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

func (c *countingReader) Close() error { return nil }

// A default client that sends far more than any buffer holds still gets the reason of the refusal.
func TestRefusalOfALongBody(t *testing.T) {
	store := mem.New()
	s := serve(t, "tcp", newService(t, store, authorizer{refuse: func(stream.Upload) error {
		return connect.NewError(connect.CodeFailedPrecondition, errors.New("no"))
	}}, nil).Handler)
	p := make([]byte, 1<<20)
	for range 5 {
		h := header(bytes.Repeat(p, 40))
		if _, err := put(t.Context(), s.defaultClient(), h, bytes.Repeat(p, 40), 1<<20); connect.CodeOf(err) != connect.CodeFailedPrecondition {
			t.Fatalf("the upload ended with %v, want failed_precondition", err)
		}
	}
}

func TestProtocolErrors(t *testing.T) {
	store := mem.New()
	s := serve(t, "tcp", newService(t, store, authorizer{}, nil).Handler)
	c := s.defaultClient()
	st, err := c.PutState(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.CloseAndReceive(); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("no header: %v, want invalid_argument", err)
	}
	p := randomBytes(1, 2*data.MaxChunk)
	if _, err := put(t.Context(), c, header(p), p, data.MaxChunk+1); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("chunk too large: %v, want invalid_argument", err)
	}
	if _, err := put(t.Context(), c, header(p), p, len(p)); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("message too large: %v, want resource_exhausted", err)
	}
	if st, err = c.PutState(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_ = st.Send(&ckptdv1.PutStateRequest{Part: &ckptdv1.PutStateRequest_Header{Header: header(p)}})
	}
	if _, err := st.CloseAndReceive(); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("second header: %v, want invalid_argument", err)
	}
	if ks := keys(t, store); len(ks) > 0 {
		t.Errorf("on storage are %v, want nothing", ks)
	}
}

// A key is never used as a path. Only state files of the named job can be read.
func TestGetRefusesEverythingButStateFiles(t *testing.T) {
	store := mem.New()
	s := serve(t, "tcp", newService(t, store, authorizer{}, nil).Handler)
	p := randomBytes(1, 10)
	f, err := put(t.Context(), s.defaultClient(), header(p), p, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{layout.SlotKey("job", 1), layout.MetadataKey("job", 7), "_ckptd"} {
		if err := store.Publish(t.Context(), key, p); err != nil {
			t.Fatal(err)
		}
	}
	bad := []string{
		"", ".", "/", "_journal/" + layout.SlotName(1), "chk-7/_metadata", "../_ckptd", "shared/../../_ckptd", "shared/x",
		"job/" + f.GetKey(), "/" + f.GetKey(), f.GetKey() + "/", strings.ToUpper(f.GetKey()), "shared//" + strings.TrimPrefix(f.GetKey(), "shared/"),
	}
	for _, key := range bad {
		_, err := get(t.Context(), s.defaultClient(), &ckptdv1.GetStateRequest{JobId: "job", File: &ckptdv1.FileHandle{Key: key, Length: 10}})
		if connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("key %q: %v, want invalid_argument", key, err)
		}
	}
	with := func(change func(f *ckptdv1.FileHandle)) *ckptdv1.FileHandle {
		g := proto.CloneOf(f)
		change(g)
		return g
	}
	segment := func(offset, length uint64) func(f *ckptdv1.FileHandle) {
		return func(f *ckptdv1.FileHandle) { f.Segment = &ckptdv1.Segment{Offset: offset, Length: length} }
	}
	requests := map[string]struct {
		req  *ckptdv1.GetStateRequest
		code connect.Code
	}{
		"other job":          {&ckptdv1.GetStateRequest{JobId: "other", File: f}, connect.CodeNotFound},
		"job is a path":      {&ckptdv1.GetStateRequest{JobId: "x/../job", File: f}, connect.CodeInvalidArgument},
		"beyond the end":     {&ckptdv1.GetStateRequest{JobId: "job", File: f, Offset: 5, Length: 6}, connect.CodeInvalidArgument},
		"far beyond":         {&ckptdv1.GetStateRequest{JobId: "job", File: f, Offset: 1 << 63, Length: 1 << 63}, connect.CodeInvalidArgument},
		"another job's file": {&ckptdv1.GetStateRequest{JobId: "job", File: with(func(f *ckptdv1.FileHandle) { f.JobId = "lender" })}, connect.CodePermissionDenied},
		"a lender's file":    {&ckptdv1.GetStateRequest{JobId: "job", File: with(func(f *ckptdv1.FileHandle) { f.JobId = "friend" })}, connect.CodeNotFound},
		"lender is a path":   {&ckptdv1.GetStateRequest{JobId: "job", File: with(func(f *ckptdv1.FileHandle) { f.JobId = "../job" })}, connect.CodeInvalidArgument},
		"segment beyond":     {&ckptdv1.GetStateRequest{JobId: "job", File: with(segment(5, 6))}, connect.CodeInvalidArgument},
		"segment far beyond": {&ckptdv1.GetStateRequest{JobId: "job", File: with(segment(1<<63, 1<<63))}, connect.CodeInvalidArgument},
		"beyond the segment": {&ckptdv1.GetStateRequest{JobId: "job", File: with(segment(2, 5)), Offset: 2, Length: 4}, connect.CodeInvalidArgument},
		"after the segment":  {&ckptdv1.GetStateRequest{JobId: "job", File: with(segment(2, 5)), Offset: 6}, connect.CodeInvalidArgument},
		"file is shorter":    {&ckptdv1.GetStateRequest{JobId: "job", File: &ckptdv1.FileHandle{Key: f.GetKey(), Length: 11}}, connect.CodeDataLoss},
	}
	for name, r := range requests {
		if _, err := get(t.Context(), s.defaultClient(), r.req); connect.CodeOf(err) != r.code {
			t.Errorf("%s: %v, want %v", name, err, r.code)
		}
	}
}

// Offset and length of a request count within the segment that the handle names.
func TestGetCountsWithinTheSegment(t *testing.T) {
	s := serve(t, "tcp", newService(t, mem.New(), authorizer{}, nil).Handler)
	p := randomBytes(3, 1000)
	f, err := put(t.Context(), s.defaultClient(), header(p), p, 1000)
	if err != nil {
		t.Fatal(err)
	}
	f.JobId = "job"
	for _, c := range []struct{ from, bytes, off, n, want uint64 }{
		{100, 50, 0, 0, 50}, {100, 50, 10, 0, 40}, {100, 50, 10, 20, 20}, {100, 50, 10, 40, 40}, {0, 1000, 0, 0, 1000}, {990, 10, 9, 1, 1},
		{100, 0, 0, 0, 0}, {1000, 0, 0, 0, 0}, {100, 50, 50, 0, 0},
	} {
		f.Segment = &ckptdv1.Segment{Offset: c.from, Length: c.bytes}
		got, err := get(t.Context(), s.defaultClient(), &ckptdv1.GetStateRequest{JobId: "job", File: f, Offset: c.off, Length: c.n})
		if want := p[c.from+c.off:][:c.want]; err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes from %d of segment %v: %d bytes, %v; want the %d bytes there", c.n, c.off, f.GetSegment(), len(got), err, c.want)
		}
	}
}
