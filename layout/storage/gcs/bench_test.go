package gcs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	library "cloud.google.com/go/storage"
	"golang.org/x/sync/errgroup"
	"google.golang.org/api/option"

	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/gcs"
)

// A mover names a program that moves objects.
type mover string

const (
	byDriver mover = "driver"
	// byLibrary is the Writer and the Reader of Google's library, as they are by default.
	byLibrary mover = "library"
)

// BenchmarkGCS copies files to objects, and reads objects, with the driver and with the library's own uploader and reader,
// on one fake-gcs-server. They take turns, each in a process of its own; the time is that of the transfers, CPU and peak of memory
// are the process's. The medians count. The figure library/driver is that of their times: at least 0.95.
func BenchmarkGCS(b *testing.B) {
	server := servers.StartGCS(b)
	for _, c := range []struct{ size, atOnce, objects int }{
		{4 << 10, 1, 128}, {4 << 10, 16, 512}, {1 << 20, 1, 16}, {1 << 20, 16, 48}, {16 << 20, 1, 4}, {96 << 20, 1, 2},
	} {
		for _, way := range []string{"up", "down"} {
			b.Run(fmt.Sprintf("KiB=%d/at-once=%d/%s", c.size>>10, c.atOnce, way), func(b *testing.B) {
				transfer(b, server, work{Size: int64(c.size), AtOnce: c.atOnce, Objects: c.objects, Up: way == "up"})
			})
		}
	}
}

// leastRounds is the number of rounds that a median needs. Downloads are short.
func leastRounds(up bool) int {
	if up {
		return 3
	}
	return 9
}

// work is what one process does in a round. It is passed in the environment.
type work struct {
	Mover           mover
	URL, Endpoint   string // of the store and its server
	Up              bool
	File            string // what goes up
	Prefix          string // of the keys
	Size            int64
	CRC32C          uint32
	AtOnce, Objects int
}

// workVariable, in the environment, makes this program a mover instead of a test.
const workVariable = "CKPTD_BENCH_GCS"

// cost is what a round took: seconds, seconds and bytes.
type cost struct{ wall, cpu, peak float64 }

func transfer(b *testing.B, server *servers.GCS, w work) {
	w.URL, w.Endpoint, w.File = servers.GCSURL(server.Endpoint, "bench", ""), server.Endpoint, filepath.Join(b.TempDir(), "source")
	w.CRC32C = writeSource(b, w.File, w.Size)
	opened := open(b, w.URL)
	defer opened.Close()
	costs, movers := map[mover][]cost{}, []mover{byDriver, byLibrary}
	if !w.Up {
		up := w
		up.Up, up.Mover, up.Prefix = true, byDriver, "down"
		up.start(b)
		defer up.remove(b, opened.Store)
	}
	for range max(leastRounds(w.Up), b.N) {
		slices.Reverse(movers)
		for _, m := range movers {
			w.Mover, w.Prefix = m, "down"
			if w.Up {
				w.Prefix = string(m)
			}
			costs[m] = append(costs[m], w.start(b))
			if w.Up {
				w.remove(b, opened.Store)
			}
		}
	}
	report(b, w, costs)
}

// writeSource needs little memory: the peak of a child is never less than its parent's memory at the child's start.
func writeSource(b *testing.B, path string, size int64) (crc32c uint32) {
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	if _, err := io.CopyN(io.MultiWriter(f, sum), rand.NewChaCha8([32]byte{byte(size >> 10)}), size); err != nil {
		b.Fatal(err)
	}
	return sum.Sum32()
}

// start does the work in a process of its own.
func (w work) start(b *testing.B) (c cost) {
	text, err := json.Marshal(w)
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), workVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	said, err := cmd.Output()
	if err == nil {
		_, err = fmt.Sscan(string(said), &c.wall)
	}
	if err != nil {
		b.Fatalf("%s: %v: %s", w.Mover, err, said)
	}
	c.cpu = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		c.peak = float64(u.Maxrss) / 1024
	}
	return c
}

func (w work) remove(b *testing.B, s storage.Store) {
	var keys []string
	for i := range w.Objects {
		keys = append(keys, w.key(i))
	}
	if err := errors.Join(s.Delete(b.Context(), keys)...); err != nil {
		b.Fatal(err)
	}
}

func (w work) key(i int) string { return fmt.Sprintf("%s/%d", w.Prefix, i) }

func report(b *testing.B, w work, costs map[mover][]cost) {
	mib := float64(w.Size) * float64(w.Objects) / (1 << 20)
	median := func(m mover, of func(cost) float64) float64 {
		var values []float64
		for _, c := range costs[m] {
			values = append(values, of(c))
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	wall := func(m mover) float64 { return median(m, func(c cost) float64 { return c.wall }) }
	for m := range costs {
		b.ReportMetric(mib/wall(m), string(m)+"-MiB/s")
		b.ReportMetric(median(m, func(c cost) float64 { return c.cpu })/mib*1024, string(m)+"-cpu-s/GiB")
		b.ReportMetric(median(m, func(c cost) float64 { return c.peak }), string(m)+"-peak-MiB")
	}
	b.ReportMetric(wall(byLibrary)/wall(byDriver), "library/driver")
	b.ReportMetric(0, "ns/op")
}

// workMain does the work that the environment names, if any, and prints how many seconds it took.
func workMain() bool {
	text := os.Getenv(workVariable)
	if text == "" {
		return false
	}
	var w work
	err := json.Unmarshal([]byte(text), &w)
	if err == nil {
		err = w.do(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

func (w work) do(ctx context.Context) error {
	move, err := w.mover(ctx)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(w.AtOnce)
	began := time.Now()
	for i := range w.Objects {
		g.Go(func() error { return move(ctx, w.key(i)) })
	}
	err = g.Wait()
	fmt.Println(time.Since(began).Seconds())
	return err
}

// mover returns the function that moves one object.
func (w work) mover(ctx context.Context) (func(ctx context.Context, key string) error, error) {
	if w.Mover == byDriver {
		c, err := gcs.Parse(w.URL)
		if err != nil {
			return nil, err
		}
		opened, err := gcs.Open(ctx, c)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context, key string) error {
			if w.Up {
				out, err := opened.Store.Create(ctx, key, storage.CreateOptions{Size: w.Size, HasSize: true, CRC32C: w.CRC32C, HasCRC32C: true})
				if err != nil {
					return err
				}
				defer out.Abort()
				return errors.Join(w.fill(out), out.Commit())
			}
			in, err := opened.Store.Open(ctx, key, 0, -1)
			if err != nil {
				return err
			}
			return errors.Join(w.drain(in), in.Close())
		}, nil
	}
	client, err := library.NewClient(ctx, option.WithEndpoint(w.Endpoint+"/storage/v1/"), option.WithoutAuthentication(), library.WithJSONReads())
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, key string) error {
		object := client.Bucket(servers.Bucket).Object("bench/" + key)
		if w.Up {
			out := object.If(library.Conditions{DoesNotExist: true}).NewWriter(ctx)
			return errors.Join(w.fill(out), out.Close())
		}
		in, err := object.NewReader(ctx)
		if err != nil {
			return err
		}
		return errors.Join(w.drain(in), in.Close())
	}, nil
}

// fill and drain hide the methods with which io.Copy would bypass its buffer.
func (w work) fill(out io.Writer) error {
	f, err := os.Open(w.File)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{f}, make([]byte, 128<<10))
	return err
}

func (w work) drain(in io.Reader) error {
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{in}, make([]byte, 128<<10))
	if err == nil && n != w.Size {
		err = fmt.Errorf("read %d bytes of %d", n, w.Size)
	}
	return err
}
