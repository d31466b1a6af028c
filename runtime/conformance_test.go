package runtime_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/conformance/engines"
	"github.com/ckptd/ckptd/layout/keygroup"
	"github.com/ckptd/ckptd/runtime"
	"github.com/ckptd/ckptd/runtime/exchange"
	"github.com/ckptd/ckptd/runtime/lsm"
	"github.com/ckptd/ckptd/runtime/state"
)

// engineEnv makes the test's binary the program that TestConformance runs, as TestMain decides.
const engineEnv = "CKPTD_TEST_ENGINE"

// TestConformance runs a job of this runtime through the suite for engines, as a process like anybody's.
func TestConformance(t *testing.T) {
	t.Setenv(engineEnv, "1")
	o := &engines.Options{Quick: true}
	if os.Getenv("CKPTD_NIGHTLY") != "" {
		o = &engines.Options{Rounds: 20}
	}
	engines.Run(t, engines.Command(os.Args[0], engines.Daemons, engines.Job, t.TempDir()), o)
}

// engineMain runs a job in one worker until SIGTERM: it counts records by user, in two subtasks with LSM state. Its
// arguments are the daemons' URLs, the job's id and a folder.
func engineMain(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp(args[2], "worker")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c, err := client.New(strings.Split(args[0], ","))
	if err != nil {
		return err
	}
	defer c.Close()
	tree := lsm.New(nil)
	defer tree.Close()
	b := &board{users: 20, taken: map[uint64][]uint64{}, counts: map[*countedBackend]uint64{}}
	job := b.job(tree.Open)
	config := client.DefaultConfig(50 * time.Millisecond)
	config.RestartStrategy = client.RestartStrategy{Type: client.FixedDelay, Attempts: 1_000_000, Delay: 10 * time.Millisecond}
	attached, err := c.AttachJob(ctx, client.JobSpec{ID: args[1], Plan: job.Plan(), Config: config})
	if err != nil {
		return err
	}
	err = runtime.RunWorker(ctx, runtime.WorkerOptions{
		JobID: args[1], Job: job, Coordinator: runtime.NewCoordinator(attached), Network: exchange.NewMemory(), Dir: dir,
		Steps: func(step string) {
			if step == runtime.StepRestored {
				b.sayRestored()
			}
		},
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// board puts the parts of the job's state together and prints them as one word: how many records are counted. Every
// record is counted, so a restored source must stand at that record.
type board struct {
	users int

	mu sync.Mutex
	// taken are the counts of the subtasks in each checkpoint.
	taken map[uint64][]uint64
	// Of the attempt in progress: its number, the checkpoint that it restores, what its subtasks have restored, and its
	// source.
	attempt, restored uint64
	counts            map[*countedBackend]uint64
	source            *generator
}

const (
	counters  = 2
	keyGroups = 16
)

func (b *board) job(open state.Factory) *runtime.Job {
	one := []byte{1}
	return &runtime.Job{Name: "board", Tasks: []runtime.Task{
		{Name: "read", Parallelism: 1, MaxParallelism: keyGroups, Operators: []runtime.Operator{
			{ID: "source", Rate: 2000, Source: func(s runtime.Subtask) (state.Source, error) { return b.begin(s), nil }},
			{ID: "map", Process: func(runtime.Subtask) (runtime.Process, error) {
				return func(rec state.Record, emit runtime.Emit) error { return emit(state.Record{Key: rec.Key, Value: one}) }, nil
			}},
		}},
		{Name: "count", Parallelism: counters, MaxParallelism: keyGroups, Inputs: []string{"read"}, Operators: []runtime.Operator{
			{ID: "sum", Backend: b.open(open), Keyed: func(runtime.Subtask) (runtime.Keyed, error) { return sum(), nil }},
			{ID: "sink", Sink: func(s runtime.Subtask) (state.Sink, error) {
				return tellingSink{&sink{target: newTarget(), subtask: s.Index}}, nil
			}},
		}},
	}}
}

// begin notes which attempt begins, and makes its source.
func (b *board) begin(s runtime.Subtask) state.Source {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.attempt, b.restored = s.Attempt, s.Restored
	b.source = &generator{records: 1 << 40, users: uint64(b.users)}
	return b.source
}

func (b *board) sayRestored() {
	b.mu.Lock()
	defer b.mu.Unlock()
	counted := uint64(0)
	for _, n := range b.counts {
		counted += n
	}
	word := fmt.Sprint(counted)
	if b.source.position != counted {
		word += fmt.Sprintf(" counted of %d", b.source.position)
	}
	fmt.Printf("attempt %d restored checkpoint %d: %s\n", b.attempt, b.restored, word)
}

// open opens a backend that tells the board its count: when it is restored, and in each checkpoint.
func (b *board) open(open state.Factory) state.Factory {
	return func(ctx context.Context, dir string, groups keygroup.Range, restore []state.RestoredFile) (state.Backend, error) {
		inner, err := open(ctx, dir, groups, restore)
		if err != nil {
			return nil, err
		}
		c := &countedBackend{Backend: inner, board: b, groups: groups}
		n, err := c.count()
		b.mu.Lock()
		defer b.mu.Unlock()
		b.counts[c] = n
		return c, err
	}
}

type countedBackend struct {
	state.Backend
	board  *board
	groups keygroup.Range
}

// count reads the counts of all users of this subtask.
func (c *countedBackend) count() (all uint64, err error) {
	for i := range c.board.users {
		key := fmt.Appendf(nil, "user-%d", i)
		group := keygroup.Of(key, keyGroups)
		if !c.groups.Contains(group) {
			continue
		}
		v, err := c.Get(group, key)
		if err != nil {
			return 0, err
		}
		if v != nil {
			all += binary.BigEndian.Uint64(v)
		}
	}
	return all, nil
}

func (c *countedBackend) Close() error {
	c.board.mu.Lock()
	delete(c.board.counts, c)
	c.board.mu.Unlock()
	return c.Backend.Close()
}

func (c *countedBackend) Snapshot(checkpoint uint64) (*state.Snapshot, error) {
	n, err := c.count()
	if err != nil {
		return nil, err
	}
	b := c.board
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken[checkpoint] = append(b.taken[checkpoint], n)
	if parts := b.taken[checkpoint]; len(parts) == counters {
		fmt.Printf("checkpoint %d has %d\n", checkpoint, parts[0]+parts[1])
		delete(b.taken, checkpoint)
	}
	return c.Backend.Snapshot(checkpoint)
}

// tellingSink prints that a checkpoint is complete when it commits it.
type tellingSink struct{ *sink }

func (s tellingSink) Commit(checkpoint uint64) error {
	fmt.Printf("checkpoint %d is complete\n", checkpoint)
	return s.sink.Commit(checkpoint)
}
