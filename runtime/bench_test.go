package runtime_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/ckptd/ckptd/runtime"
	"github.com/ckptd/ckptd/runtime/exchange"
	"github.com/ckptd/ckptd/runtime/lsm"
	"github.com/ckptd/ckptd/runtime/state"
	"github.com/ckptd/ckptd/runtime/state/heap"
)

// BenchmarkGraph is the cost of a record through source -> filter -> map -> exchange -> keyed sum -> sink. It runs
// with checkpoints off and at an interval, in one worker and in two over sockets. ns/op is the elapsed time for each
// record read.
func BenchmarkGraph(b *testing.B) {
	engine := lsm.New(nil)
	defer engine.Close()
	for _, c := range []struct {
		name     string
		workers  int
		network  exchange.Network
		interval time.Duration
		backend  state.Factory
		users    int
	}{
		{"one worker", 1, nil, 0, heap.Open, 1000},
		{"one worker, 1s", 1, nil, time.Second, heap.Open, 1000},
		{"two workers, tcp", 2, exchange.TCP{}, 0, heap.Open, 1000},
		{"lsm", 1, nil, 0, engine.Open, 100000},
		{"lsm, 1s", 1, nil, time.Second, engine.Open, 100000},
	} {
		b.Run(c.name, func(b *testing.B) {
			const parallelism = 2
			job := (&clicks{parallelism: parallelism, records: b.N/parallelism + 1, users: c.users, target: newTarget()}).job()
			job.Tasks[1].Operators[0].Backend = c.backend
			written := &discard{}
			job.Tasks[1].Operators[1].Sink = func(runtime.Subtask) (state.Sink, error) { return written, nil }
			d := newDaemon(nil, job.Plan())
			l := runtime.StartLocal(context.Background(), runtime.LocalOptions{
				JobID: "job", Job: job, Workers: c.workers, Attach: d.attach, Dir: b.TempDir(), Network: c.network,
			})
			b.ReportAllocs()
			next := time.Now().Add(c.interval)
			for {
				d.mu.Lock()
				done, change := len(d.ended) == parallelism, d.change
				d.mu.Unlock()
				if done {
					break
				}
				select {
				case <-change:
				case <-time.After(10 * time.Millisecond):
				}
				if c.interval > 0 && time.Now().After(next) {
					d.trigger()
					next = time.Now().Add(c.interval)
				}
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(len(d.complete)), "checkpoints")
			d.cancel()
			if err := l.Wait(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// discard is a sink that keeps nothing.
type discard struct{}

func (*discard) Restore(uint64, uint64, []byte) error { return nil }
func (*discard) Write(state.Record) error             { return nil }
func (*discard) PreCommit(n uint64) ([]byte, error)   { return strconv.AppendUint(nil, n, 10), nil }
func (*discard) Commit(uint64) error                  { return nil }
func (*discard) Abort(uint64)                         {}
func (*discard) Close() error                         { return nil }
