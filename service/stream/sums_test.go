package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/proto/data"
)

// rotting is a store that changes bytes on their way. It records its requests.
type rotting struct {
	storage.Store
	// rot is the position of the byte of a file that is changed on its way to the store; negative: none.
	rot int

	mu      sync.Mutex
	key     string
	created storage.CreateOptions
	opened  [2]int64 // offset and length
	// read changes the bytes that are read; nil: they stay as they are.
	read func(io.Reader) io.Reader
}

func (s *rotting) Create(ctx context.Context, key string, opts storage.CreateOptions) (storage.Writer, error) {
	s.mu.Lock()
	s.key, s.created = key, opts
	s.mu.Unlock()
	w, err := s.Store.Create(ctx, key, opts)
	return &rottingWriter{Writer: w, rot: s.rot}, err
}

func (s *rotting) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	s.mu.Lock()
	s.key, s.opened = key, [2]int64{offset, length}
	read := s.read
	s.mu.Unlock()
	r, err := s.Store.Open(ctx, key, offset, length)
	if err != nil || read == nil {
		return r, err
	}
	return struct {
		io.Reader
		io.Closer
	}{read(r), r}, nil
}

// asked returns the last request.
func (s *rotting) asked() (key string, created storage.CreateOptions, opened [2]int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.key, s.created, s.opened
}

// setRead sets how bytes that are read from now on are changed.
func (s *rotting) setRead(read func(io.Reader) io.Reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read = read
}

type rottingWriter struct {
	storage.Writer
	rot int
}

func (w *rottingWriter) Write(p []byte) (int, error) {
	if 0 <= w.rot && w.rot < len(p) {
		p = bytes.Clone(p)
		p[w.rot] ^= 1
	}
	w.rot -= len(p)
	return w.Writer.Write(p)
}

// putBoth sends a file with a default client, and then with the SDK.
func (s server) putBoth(t *testing.T, h *ckptdv1.PutStateHeader, p []byte, after func(who string, f *ckptdv1.FileHandle, err error)) {
	t.Helper()
	f, err := put(t.Context(), s.defaultClient(), h, p, 1<<20)
	after("default client", f, err)
	f, err = s.sendOurs(t.Context(), h, io.NopCloser(bytes.NewReader(p)), 1<<18)
	after("our client", f, err)
}

// The store gets the announced length and sum of a file, so that it can compare them. It gets nothing that was not
// announced.
func TestStoreIsToldWhatIsAnnounced(t *testing.T) {
	store := &rotting{Store: mem.New(), rot: -1}
	s := serve(t, "tcp", newService(t, store, authorizer{}, nil).Handler)
	for _, n := range []int{0, 1, 300_000, data.BlockSize + 1} {
		p := randomBytes(uint64(n), n)
		for name, want := range map[string]storage.CreateOptions{
			"both":    {Size: int64(n), HasSize: true, CRC32C: data.CRC32C(0, p), HasCRC32C: true},
			"length":  {Size: int64(n), HasSize: true},
			"sum":     {CRC32C: data.CRC32C(0, p), HasCRC32C: true},
			"nothing": {},
		} {
			t.Run(fmt.Sprintf("%s of %d bytes", name, n), func(t *testing.T) {
				h := header(p)
				if !want.HasSize {
					h.Length = nil
				}
				if !want.HasCRC32C {
					h.Crc32C = nil
				}
				s.putBoth(t, h, p, func(who string, f *ckptdv1.FileHandle, err error) {
					if err != nil {
						t.Fatalf("%s: %v", who, err)
					}
					key, told, _ := store.asked()
					if told != want {
						t.Errorf("%s: the store was told %+v, want %+v", who, told, want)
					}
					if want := layout.JobPrefix(h.GetJobId()) + f.GetKey(); key != want {
						t.Errorf("%s: the file is stored as %s, want %s, which PutState returned", who, key, want)
					}
				})
			})
		}
	}
}

// If the sum was announced, bytes that change between the daemon and the store never count as stored.
func TestBytesThatRotOnTheWayToTheStoreAreRefused(t *testing.T) {
	for _, n := range []int{1, 300_000, data.BlockSize + 1} {
		for _, at := range []int{0, n / 2, n - 1} {
			t.Run(fmt.Sprintf("byte %d of %d", at, n), func(t *testing.T) {
				store := &rotting{Store: mem.New(), rot: at}
				s := serve(t, "tcp", newService(t, store, authorizer{}, nil).Handler)
				p := randomBytes(1, n)
				h := header(p)
				s.putBoth(t, h, p, func(who string, f *ckptdv1.FileHandle, err error) {
					if connect.CodeOf(err) != connect.CodeDataLoss {
						t.Errorf("%s: PutState returned %v, %v; want %v", who, f, err, connect.CodeDataLoss)
					}
				})
				if ks := keys(t, store); len(ks) > 0 {
					t.Errorf("on storage are %v, want nothing", ks)
				}
			})
		}
	}
}

// The handle that PutState returns has the sums of the stored bytes, announced or not. So a reader notices changed
// bytes.
func TestHandleHasTheSumsOfWhatIsStored(t *testing.T) {
	store := mem.New()
	s := serve(t, "tcp", newService(t, store, authorizer{}, nil).Handler)
	for _, n := range []int{0, 1, data.BlockSize, data.BlockSize + 1, 2*data.BlockSize + 77} {
		p := randomBytes(uint64(n), n)
		h := header(p)
		h.Length, h.Crc32C = nil, nil
		s.putBoth(t, h, p, func(who string, f *ckptdv1.FileHandle, err error) {
			want := &ckptdv1.FileHandle{Key: f.GetKey(), Length: uint64(n), Crc32C: data.CRC32C(0, p)}
			for at := 0; at < n && n > data.BlockSize; at += data.BlockSize {
				want.BlockCrc32C = append(want.BlockCrc32C, data.CRC32C(0, p[at:min(n, at+data.BlockSize)]))
			}
			if err != nil || !proto.Equal(f, want) {
				t.Errorf("%s: for %d bytes PutState returned %v, %v; want %v", who, n, f, err, want)
			}
		})
	}
}

// GetState reads exactly the range of the request. If the store returns fewer bytes or breaks off, the client gets an
// error.
func TestReadsAreWholeOrFail(t *testing.T) {
	broken := errors.New("connection lost")
	const n = data.MaxChunk + 77
	p := randomBytes(7, n)
	store := &rotting{Store: mem.New(), rot: -1}
	s := serve(t, "tcp", newService(t, store, authorizer{}, nil).Handler)
	f, err := put(t.Context(), s.defaultClient(), header(p), p, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	clients := map[string]ckptdv1connect.StateServiceClient{
		"default": s.defaultClient(), "json": s.defaultClient(connect.WithProtoJSON()), "ours": s.defaultClient(data.ClientOptions()),
		"gRPC-Web": s.defaultClient(connect.WithGRPCWeb()),
	}
	for _, c := range []struct{ off, length uint64 }{
		{0, 0}, {0, n}, {0, 1}, {n - 1, 1}, {n - 1, 0}, {data.MaxChunk - 1, 2}, {100, 200}, {100, n - 100},
	} {
		end := c.off + c.length
		if c.length == 0 {
			end = n
		}
		want := p[c.off:end]
		for who, client := range clients {
			if who == "json" && len(want) > 1000 {
				continue // slow, and nothing new
			}
			t.Run(fmt.Sprintf("%s/%d bytes from %d", who, c.length, c.off), func(t *testing.T) {
				req := &ckptdv1.GetStateRequest{JobId: "job", File: f, Offset: c.off, Length: c.length}
				store.setRead(nil)
				got, err := get(t.Context(), client, req)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes, %v; want the %d asked for", len(got), err, len(want))
				}
				if key, _, opened := store.asked(); opened != [2]int64{int64(c.off), int64(len(want))} || key != "job/"+f.GetKey() {
					t.Errorf("the store was asked for %v of %s, want %d bytes from %d", opened, key, len(want), c.off)
				}
				for _, left := range []int{1, len(want)} {
					short := int64(len(want) - left)
					store.setRead(func(r io.Reader) io.Reader { return io.LimitReader(r, short) })
					if got, err := get(t.Context(), client, req); err == nil {
						t.Errorf("%d of %d bytes came without an error, want one: the store returned %d bytes too few", len(got), len(want), left)
					}
					store.setRead(func(r io.Reader) io.Reader { return io.MultiReader(io.LimitReader(r, short), brokenReader{broken}) })
					if got, err := get(t.Context(), client, req); err == nil {
						t.Errorf("%d of %d bytes came without an error, want one: the store broke off", len(got), len(want))
					}
				}
			})
		}
	}
}

type brokenReader struct{ err error }

func (r brokenReader) Read([]byte) (int, error) { return 0, r.err }
