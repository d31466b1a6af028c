package runtime_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ckptd/ckptd/runtime"
	"github.com/ckptd/ckptd/runtime/state"
)

// curious is a source that wants to know of complete checkpoints.
type curious struct {
	generator
	mu    sync.Mutex
	taken [][]byte // what Position returned
	heard map[uint64][]byte
}

func (c *curious) Position() []byte {
	p := c.generator.Position()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.taken = append(c.taken, p)
	return p
}

func (c *curious) Committed(checkpoint uint64, position []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard[checkpoint] = position
	return errors.New("the group is away") // it fails nothing
}

// A source hears of each complete checkpoint, with the position of its barrier; of an aborted one it hears nothing.
func TestSourceHearsOfCompleteCheckpoints(t *testing.T) {
	t.Parallel()
	c := endless()
	c.parallelism = 1
	job := c.job()
	source := &curious{generator: generator{records: 1 << 40, users: 3}, heard: map[uint64][]byte{}}
	job.Tasks[0].Operators[0].Source = func(runtime.Subtask) (state.Source, error) { return source, nil }
	d := newDaemon(t, job.Plan())
	var log lockedLog
	l := runtime.StartLocal(context.Background(), runtime.LocalOptions{JobID: "job", Job: job, Attach: d.attach, Dir: t.TempDir(),
		Log: slog.New(slog.NewTextHandler(&log, nil))})
	defer l.Stop()
	d.await("all run", d.allRunningLocked)
	for range 3 {
		d.checkpoint()
	}
	poll(t, "the source hears of three checkpoints", func() bool {
		source.mu.Lock()
		defer source.mu.Unlock()
		return len(source.heard) == 3
	})
	source.mu.Lock()
	defer source.mu.Unlock()
	for i := range source.taken[:3] {
		if got := source.heard[uint64(i)+1]; !bytes.Equal(got, source.taken[i]) {
			t.Errorf("checkpoint %d: the source hears of position %x, want %x", i+1, got, source.taken[i])
		}
	}
	if !strings.Contains(log.String(), "the group is away") {
		t.Errorf("no line of the log has the source's error:\n%s", log.String())
	}
}

// stuck is a sink whose Write waits for a server that does not answer.
type stuck struct {
	state.Sink
	waits       atomic.Int32
	interrupted chan struct{}
	once        sync.Once
}

func (s *stuck) Write(state.Record) error {
	s.waits.Add(1)
	<-s.interrupted
	return errors.New("interrupted")
}
func (s *stuck) Interrupt()                               { s.once.Do(func() { close(s.interrupted) }) }
func (s *stuck) Restore(uint64, uint64, []byte) error     { return nil }
func (s *stuck) Commit(uint64) error                      { return nil }
func (s *stuck) PreCommit(uint64) (state []byte, _ error) { return nil, nil }
func (s *stuck) Close() error                             { return nil }

// The end of an attempt interrupts a sink that waits.
func TestEndOfTheAttemptInterrupts(t *testing.T) {
	t.Parallel()
	c := endless()
	c.parallelism = 1
	job := c.job()
	sink := &stuck{interrupted: make(chan struct{})}
	last := &job.Tasks[len(job.Tasks)-1].Operators
	(*last)[len(*last)-1].Sink = func(runtime.Subtask) (state.Sink, error) { return sink, nil }
	d := newDaemon(t, job.Plan())
	l := runtime.StartLocal(context.Background(), runtime.LocalOptions{JobID: "job", Job: job, Attach: d.attach, Dir: t.TempDir()})
	defer l.Stop()
	poll(t, "the sink waits", func() bool { return sink.waits.Load() > 0 })
	l.Stop() // it would wait for ever
}
