package s3_test

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout/storage"
	driver "github.com/ckptd/ckptd/layout/storage/s3"
)

// leastRounds is the number of rounds that a median needs. Rounds of downloads are short and differ by half among
// themselves: the page cache's pages of files that were just removed are not always free for the next files.
func leastRounds(up bool) int {
	if up {
		return 3
	}
	return 5
}

// mover names a program that moves objects.
type mover string

const (
	byDriver  mover = "driver"
	byManager mover = "manager"
	// byEqual is the manager restricted to what the driver does: bodies are not signed, and sums of downloads are not
	// checked (our readers check them above the driver).
	byEqual mover = "equal"
	byS5cmd mover = "s5cmd"
)

// BenchmarkTransfer copies files to objects, and objects to files, with three programs over the same server: the
// driver, the SDK's transfer manager, and s5cmd. They take turns within one run.
//
// Each program does its round in a process of its own. The measured time is the process's time from start to end; its
// CPU time and its peak of memory are read too. A file and its sum are known before the round. Downloads are not
// synced, and are removed at once. Large downloads come in ranges, with the driver as with the manager. The medians of
// the rounds are reported, and
//
//	manager/driver  their times: at least 0.9
//	s5cmd/driver    at least 1.0
//	equal/driver    with the manager told to do no more than the driver does
func BenchmarkTransfer(b *testing.B) {
	for _, kind := range []string{servers.Versitygw, servers.MinIO} {
		b.Run(kind, func(b *testing.B) {
			server := servers.StartS3(b, kind, false)
			for _, c := range []struct{ size, atOnce, objects int }{
				{4 << 10, 1, 128}, {4 << 10, 16, 512}, {1 << 20, 4, 64}, {16 << 20, 2, 8}, {96 << 20, 1, 2},
			} {
				for _, way := range []string{"up", "down"} {
					b.Run(fmt.Sprintf("KiB=%d/at-once=%d/%s", c.size>>10, c.atOnce, way), func(b *testing.B) {
						transfer(b, server, work{Size: int64(c.size), AtOnce: c.atOnce, Objects: c.objects, Up: way == "up"})
					})
				}
			}
		})
	}
}

// work is what one process does in a round. It is passed in the environment.
type work struct {
	Mover           mover
	URL, Endpoint   string // of the store and its server
	Up              bool
	File            string // what goes up
	Dir             string // where downloads go
	Prefix          string // of the keys, in the store
	Size            int64
	CRC32C          uint32
	AtOnce, Objects int
}

// workVariable, in the environment, makes this program a mover instead of a test.
const workVariable = "CKPTD_BENCH_WORK"

// cost is what a round took.
type cost struct {
	wall, cpu time.Duration
	peak      int64 // bytes
}

func transfer(b *testing.B, server *servers.S3, w work) {
	w.URL, w.Endpoint, w.File = server.URL("bench", ""), server.Endpoint, filepath.Join(b.TempDir(), "source")
	w.CRC32C = writeSource(b, w.File, w.Size)
	movers := []mover{byDriver, byManager, byEqual}
	s5cmd := servers.S5cmd(b)
	if s5cmd != "" {
		movers = append(movers, byS5cmd)
	}
	costs := map[mover][]cost{}
	round := func() {
		rand.Shuffle(len(movers), func(i, j int) { movers[i], movers[j] = movers[j], movers[i] })
		for _, m := range movers {
			w.Mover, w.Prefix = m, fmt.Sprintf("down/%d", w.Size)
			if w.Up {
				w.Prefix = fmt.Sprintf("%s/%d", m, w.Size)
			}
			costs[m] = append(costs[m], w.start(b, s5cmd))
		}
	}
	if !w.Up {
		up := w
		up.Up, up.Mover, up.Prefix = true, byDriver, fmt.Sprintf("down/%d", w.Size)
		up.start(b, "")
	}
	round() // makes folders and fills caches
	clear(costs)
	rounds := 0
	for b.Loop() {
		round()
		rounds++
	}
	for ; rounds < leastRounds(w.Up); rounds++ {
		round()
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
func (w work) start(b *testing.B, s5cmd string) cost {
	w.Dir = b.TempDir()
	defer os.RemoveAll(w.Dir)
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	if w.Mover == byS5cmd {
		cmd = exec.Command(s5cmd, "--endpoint-url", w.Endpoint, "--numworkers", fmt.Sprint(w.AtOnce), "--log", "error", "run", w.commands(b))
	}
	text, err := json.Marshal(w)
	if err != nil {
		b.Fatal(err)
	}
	cmd.Env = append(os.Environ(), workVariable+"="+string(text), "AWS_REGION=us-east-1")
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	began := time.Now()
	if err := cmd.Run(); err != nil {
		b.Fatalf("%s: %v: %s", w.Mover, err, said.String())
	}
	c := cost{wall: time.Since(began), cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		c.peak = u.Maxrss << 10
	}
	if !w.Up {
		w.check(b)
	}
	return c
}

// commands returns the work as commands for `s5cmd run`.
func (w work) commands(b *testing.B) string {
	var text strings.Builder
	for i := range w.Objects {
		object := fmt.Sprintf("s3://%s/bench/%s", servers.Bucket, w.key(i))
		if w.Up {
			fmt.Fprintf(&text, "cp %s %s\n", w.File, object)
		} else {
			fmt.Fprintf(&text, "cp %s %s\n", object, w.target(i))
		}
	}
	path := filepath.Join(b.TempDir(), "commands")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

// check checks that every object has arrived.
func (w work) check(b *testing.B) {
	for i := range w.Objects {
		info, err := os.Stat(w.target(i))
		if err != nil || info.Size() != w.Size {
			b.Fatalf("%s: object %d of %d bytes: %v, %v", w.Mover, i, w.Size, info, err)
		}
	}
}

func (w work) key(i int) string    { return fmt.Sprintf("%s/%d", w.Prefix, i) }
func (w work) target(i int) string { return filepath.Join(w.Dir, fmt.Sprint(i)) }

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
	wall := func(m mover) float64 { return median(m, func(c cost) float64 { return c.wall.Seconds() }) }
	for m := range costs {
		b.ReportMetric(mib/wall(m), string(m)+"-MiB/s")
		b.ReportMetric(median(m, func(c cost) float64 { return c.cpu.Seconds() })/mib*1024, string(m)+"-cpu-s/GiB")
		b.ReportMetric(median(m, func(c cost) float64 { return float64(c.peak) / (1 << 20) }), string(m)+"-peak-MiB")
		if m != byDriver {
			b.ReportMetric(wall(m)/wall(byDriver), string(m)+"/driver")
		}
	}
	b.ReportMetric(0, "ns/op") // the time of a round with all programs has no meaning
}

// workMain does the work that the environment names, if any.
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
	for i := range w.Objects {
		g.Go(func() error { return move(ctx, i) })
	}
	return g.Wait()
}

// mover returns the function that moves one object.
func (w work) mover(ctx context.Context) (func(ctx context.Context, i int) error, error) {
	if w.Mover == byDriver {
		c, err := driver.Parse(w.URL)
		if err != nil {
			return nil, err
		}
		opened, err := driver.Open(ctx, c)
		if err != nil {
			return nil, err
		}
		if w.Up {
			return func(ctx context.Context, i int) error { return w.create(ctx, opened.Store, i) }, nil
		}
		return func(ctx context.Context, i int) error { return w.read(ctx, opened.Store, i) }, nil
	}
	manager, err := w.newManager(ctx)
	if err != nil {
		return nil, err
	}
	if w.Up {
		return func(ctx context.Context, i int) error { return w.upload(ctx, manager, i) }, nil
	}
	return func(ctx context.Context, i int) error { return w.download(ctx, manager, i) }, nil
}

// buffers are for copies. With the daemon's 512 KiB, a process that has just begun would take half as long again.
var buffers = sync.Pool{New: func() any { return new([128 << 10]byte) }}

func (w work) create(ctx context.Context, s storage.Store, i int) error {
	f, err := os.Open(w.File)
	if err != nil {
		return err
	}
	defer f.Close()
	out, err := s.Create(ctx, w.key(i), storage.CreateOptions{Size: w.Size, HasSize: true, CRC32C: w.CRC32C, HasCRC32C: true})
	if err != nil {
		return err
	}
	defer out.Abort()
	if err := plainCopy(out, f); err != nil {
		return err
	}
	return out.Commit()
}

// ranges is the number of ranges of an object that are read at once: the default of the SDK. A range has at most 8
// MiB, as in the manager.
const ranges = 4

func (w work) read(ctx context.Context, s storage.Store, i int) error {
	each := w.Size
	if w.Size >= ranges<<20 {
		each = min((w.Size+ranges-1)/ranges, 8<<20)
	}
	return w.save(i, func(f *os.File) error {
		var alone sync.Mutex // writers of one file spin in the kernel, each on the time of a reader
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(ranges)
		for at := int64(0); at < w.Size; at += each {
			g.Go(func() error {
				in, err := s.Open(ctx, w.key(i), at, min(each, w.Size-at))
				if err != nil {
					return err
				}
				defer in.Close()
				return plainCopy(&inTurn{io.NewOffsetWriter(f, at), &alone}, in)
			})
		}
		return g.Wait()
	})
}

// inTurn lets only one writer write at a time.
type inTurn struct {
	io.Writer
	alone *sync.Mutex
}

func (w *inTurn) Write(p []byte) (int, error) {
	w.alone.Lock()
	defer w.alone.Unlock()
	return w.Writer.Write(p)
}

// plainCopy hides the methods with which io.Copy would bypass its buffer.
func plainCopy(out io.Writer, in io.Reader) error {
	buf := buffers.Get().(*[128 << 10]byte)
	defer buffers.Put(buf)
	_, err := io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, buf[:])
	return err
}

func (w work) save(i int, fill func(f *os.File) error) error {
	f, err := os.Create(w.target(i))
	if err != nil {
		return err
	}
	defer f.Close()
	return fill(f)
}

func (w work) newManager(ctx context.Context) (*transfermanager.Client, error) {
	loaded, err := config.LoadDefaultConfig(ctx, config.WithRegion("us-east-1"))
	if err != nil {
		return nil, err
	}
	return transfermanager.New(s3.NewFromConfig(loaded, func(o *s3.Options) {
		o.BaseEndpoint, o.UsePathStyle, o.Logger = aws.String(w.Endpoint), true, logging.Nop{}
		if w.Mover == byEqual {
			o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
			o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
		}
	})), nil
}

func (w work) upload(ctx context.Context, manager *transfermanager.Client, i int) error {
	f, err := os.Open(w.File)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = manager.UploadObject(ctx, &transfermanager.UploadObjectInput{
		Bucket: aws.String(servers.Bucket), Key: aws.String("bench/" + w.key(i)), Body: f,
	})
	return err
}

func (w work) download(ctx context.Context, manager *transfermanager.Client, i int) error {
	return w.save(i, func(f *os.File) error {
		_, err := manager.DownloadObject(ctx, &transfermanager.DownloadObjectInput{
			Bucket: aws.String(servers.Bucket), Key: aws.String("bench/" + w.key(i)), WriterAt: f,
		})
		return err
	})
}
