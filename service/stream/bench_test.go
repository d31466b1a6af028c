package stream_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/file"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/proto/data"
)

const (
	benchStreams = 4
	benchSize    = 64 << 20
)

// The budgets (ratios of medians within one run):
//
//	PutState over TCP         at least 0.9 of a raw PUT, 0.5 of a direct write
//	PutState over Unix socket at least 0.6 of a direct write
//	GetState                  at least 0.85 of http.ServeContent
//
// If the disk is noisy, CPU seconds per GiB decide, of sender and daemon together: direct 1.0, raw PUT 1.7. Run with
//
//	go test -run '^$' -bench . -benchtime 7x ./service/stream
//
// Each iteration is one round of all variants in random order, with 4 streams of 64 MiB.

// BenchmarkPutDiscard drops the bytes on arrival, so it measures the transport alone.
func BenchmarkPutDiscard(b *testing.B) {
	benchPut(b, discardStore{}, func() (io.WriteCloser, error) { return nopWriteCloser{io.Discard}, nil })
}

// BenchmarkPutFile makes the bytes durable in files.
func BenchmarkPutFile(b *testing.B) {
	dir := b.TempDir()
	opened, err := file.Open(b.Context(), filepath.Join(dir, "store"), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer opened.Close()
	benchPut(b, freshStore{opened.Store}, func() (io.WriteCloser, error) {
		f, err := os.CreateTemp(dir, "plain")
		return &syncedFile{f}, err
	})
}

func benchPut(b *testing.B, store storage.Store, create func() (io.WriteCloser, error)) {
	sources := benchSources(b)
	mux := func() (string, http.Handler) { return "/", rawPut(create) }
	variants := map[string]func(src string) error{
		"direct": func(src string) error { return direct(src, create) },
	}
	for _, network := range []string{"tcp", "unix"} {
		raw := serve(b, network, mux)
		variants["raw-"+network] = func(src string) error { return raw.rawSend(src) }
		s := serve(b, network, newService(b, store, authorizer{}, nil).Handler)
		chunk := data.ChunkTCP
		if network == "unix" {
			chunk = data.ChunkUnix
		}
		variants["ckptd-"+network] = func(src string) error { return s.benchSend(b.Context(), src, chunk) }
	}
	r := interleave(b, sources, variants)
	r.report(b, "ckptd-tcp", "raw-tcp", "direct")
	r.report(b, "ckptd-unix", "raw-unix", "direct")
}

// BenchmarkGet restores files and compares with a plain file server. The same reader checks the sums in both.
func BenchmarkGet(b *testing.B) {
	dir := b.TempDir()
	opened, err := file.Open(b.Context(), dir, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer opened.Close()
	service := newService(b, opened.Store, authorizer{}, nil)
	handles := map[string]*ckptdv1.FileHandle{}
	sources := benchSources(b)
	variants := map[string]func(src string) error{}
	for _, network := range []string{"tcp", "unix"} {
		s := serve(b, network, service.Handler)
		if network == "tcp" {
			for _, src := range sources {
				handles[src] = must(s.benchPut(b.Context(), src, data.ChunkTCP))
			}
		}
		raw := serve(b, network, func() (string, http.Handler) {
			return "/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, filepath.Join(dir, r.URL.Path)) })
		})
		variants["raw-"+network] = func(src string) error { return raw.rawGet("/job/" + handles[src].GetKey()) }
		variants["ckptd-"+network] = func(src string) error { return s.benchGet(b.Context(), handles[src]) }
	}
	r := interleave(b, sources, variants)
	r.report(b, "ckptd-tcp", "raw-tcp")
	r.report(b, "ckptd-unix", "raw-unix")
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func benchSources(b *testing.B) []string {
	var paths []string
	for i := range benchStreams {
		path := filepath.Join(b.TempDir(), fmt.Sprint("source", i))
		if err := os.WriteFile(path, randomBytes(uint64(i), benchSize), 0o600); err != nil {
			b.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

// rounds are the seconds and CPU seconds that each variant took in each round.
type rounds struct{ wall, cpu map[string][]float64 }

func interleave(b *testing.B, sources []string, variants map[string]func(string) error) rounds {
	r := rounds{wall: map[string][]float64{}, cpu: map[string][]float64{}}
	var names []string
	for name := range variants {
		names = append(names, name)
	}
	slices.Sort(names)
	b.SetBytes(int64(len(sources)*benchSize) * int64(len(names)))
	for b.Loop() {
		rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		for _, name := range names {
			cpu, start := cpuSeconds(), time.Now()
			var g errgroup.Group
			for _, src := range sources {
				g.Go(func() error { return variants[name](src) })
			}
			if err := g.Wait(); err != nil {
				b.Fatalf("%s: %v", name, err)
			}
			r.wall[name] = append(r.wall[name], time.Since(start).Seconds())
			r.cpu[name] = append(r.cpu[name], cpuSeconds()-cpu)
		}
	}
	return r
}

// report reports a variant's figures, and the median over the rounds of its speed relative to others.
func (r rounds) report(b *testing.B, name string, others ...string) {
	gib := float64(benchStreams*benchSize) / (1 << 30)
	show := func(v string) {
		b.ReportMetric(gib/median(r.wall[v]), v+"-GiB/s")
		b.ReportMetric(median(r.cpu[v])/gib, v+"-cpu-s/GiB")
	}
	show(name)
	for _, o := range others {
		show(o)
		var ratios []float64
		for i := range r.wall[name] {
			ratios = append(ratios, r.wall[o][i]/r.wall[name][i])
		}
		b.ReportMetric(median(ratios), name+"/"+o)
	}
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// direct does what a process does that writes its own files: read, sum, write, sync.
func direct(src string, create func() (io.WriteCloser, error)) error {
	f, err := os.Open(src)
	if err != nil {
		return err
	}
	defer f.Close()
	w, err := create()
	if err != nil {
		return err
	}
	return sumCopy(w, f)
}

// sumCopy copies in pieces of 1 MiB, computes the sum, and closes the destination.
func sumCopy(w io.WriteCloser, r io.Reader) error {
	buf := make([]byte, 1<<20)
	var sum uint32
	for {
		n, err := io.ReadFull(r, buf)
		sum = data.CRC32C(sum, buf[:n])
		if _, werr := w.Write(buf[:n]); werr != nil {
			return werr
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return w.Close()
		}
		if err != nil {
			return err
		}
	}
}

// rawPut is the simplest server that does the same: read, sum, write, sync.
func rawPut(create func() (io.WriteCloser, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := create()
		if err == nil {
			err = sumCopy(f, r.Body)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
}

// rawSend computes the sum first, as the SDK does, and sends the file as a body of known length (sendfile).
func (s server) rawSend(src string) error {
	f, err := os.Open(src)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := sumCopy(nopWriteCloser{io.Discard}, f); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPut, s.base+"/", f)
	if err != nil {
		return err
	}
	req.ContentLength = benchSize
	return drainResponse(s.http.Do(req))
}

func drainResponse(res *http.Response, err error) error {
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", res.Status)
	}
	return sumCopy(nopWriteCloser{io.Discard}, res.Body)
}

func (s server) rawGet(path string) error { return drainResponse(s.http.Get(s.base + path)) }

// benchSend computes the sum and then sends the file, as the SDK does.
func (s server) benchSend(ctx context.Context, src string, chunk int) error {
	_, err := s.benchPut(ctx, src, chunk)
	return err
}

func (s server) benchPut(ctx context.Context, src string, chunk int) (*ckptdv1.FileHandle, error) {
	f, err := os.Open(src)
	if err != nil {
		return nil, err
	}
	var sums data.Sums
	if _, err := io.CopyBuffer(&sums, struct{ io.Reader }{f}, make([]byte, 1<<20)); err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	h := header(nil)
	h.Length, h.Crc32C = proto.Uint64(sums.Length()), proto.Uint32(sums.CRC32C())
	return s.sendOurs(ctx, h, f, chunk)
}

func (s server) benchGet(ctx context.Context, f *ckptdv1.FileHandle) error {
	var sums data.Sums
	in := data.In{Direction: data.Get, Write: func(p []byte) error { _, err := sums.Write(p); return err }}
	c := ckptdv1connect.NewStateServiceClient(data.Doer{Client: s.http}, s.base, data.ClientOptions())
	st, err := c.GetState(data.WithSink(ctx, &in), &ckptdv1.GetStateRequest{JobId: "job", File: f})
	if err != nil {
		return err
	}
	defer st.Close()
	conn, err := st.Conn()
	if err != nil {
		return err
	}
	for err == nil {
		err = conn.Receive(&in)
	}
	if sums.CRC32C() != f.GetCrc32C() {
		return fmt.Errorf("wrong sum after %d bytes: %w", sums.Length(), err)
	}
	return nil
}

type nopWriteCloser struct{ io.Writer }

func (nopWriteCloser) Close() error { return nil }

// syncedFile is a file that Close makes durable. Close then deletes it, so that the disk does not fill.
type syncedFile struct{ *os.File }

func (f *syncedFile) Close() error {
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.File.Close(); err != nil {
		return err
	}
	return os.Remove(f.Name())
}

// discardStore accepts all writes and keeps nothing.
type discardStore struct{ storage.Store }

func (discardStore) Create(context.Context, string, storage.CreateOptions) (storage.Writer, error) {
	return discardWriter{}, nil
}

type discardWriter struct{}

func (discardWriter) Write(p []byte) (int, error) { return len(p), nil }
func (discardWriter) Commit() error               { return nil }
func (discardWriter) Abort()                      {}

// freshStore deletes committed files, so that the disk does not fill.
type freshStore struct{ storage.Store }

func (s freshStore) Create(ctx context.Context, key string, o storage.CreateOptions) (storage.Writer, error) {
	w, err := s.Store.Create(ctx, key, o)
	return &freshWriter{Writer: w, delete: func() error {
		if errs := s.Delete(ctx, []string{key}); len(errs) > 0 {
			return errs[0]
		}
		return nil
	}}, err
}

type freshWriter struct {
	storage.Writer
	delete func() error
}

func (w *freshWriter) Commit() error {
	if err := w.Writer.Commit(); err != nil {
		return err
	}
	return w.delete()
}
