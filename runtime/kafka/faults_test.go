package kafka

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/runtime/state"
)

// A copy is a job of one task: it reads a topic and writes another. Its checkpoints are kept in memory.
type copyJob struct {
	t          testing.TB
	from       SourceOptions
	to         SinkOptions
	job        string
	attempt    uint64
	checkpoint uint64 // the newest complete one
	position   []byte
	pending    []byte
	every      int // records between checkpoints
	// step is called for each record; an error is a crash of the worker.
	step func() error
	// zombies are the sinks of crashed attempts that wake later.
	zombies []*Sink
}

// run runs attempts until the input ends and its last checkpoint is complete.
func (c *copyJob) run() {
	for end := time.Now().Add(4 * time.Minute); time.Now().Before(end); {
		c.attempt++
		if err := c.try(); err == nil {
			return
		} else {
			c.t.Logf("attempt %d: %.200v", c.attempt, err)
			time.Sleep(20 * time.Millisecond) // as a job does before it restarts
		}
	}
	c.t.Fatal("the copy has not ended")
}

func (c *copyJob) try() error {
	source, err := OpenSource(c.t.Context(), c.from, Subtask{Parallelism: 1, Restored: c.checkpoint})
	if err != nil {
		return err
	}
	defer source.Close()
	if c.checkpoint > 0 {
		if err := source.Seek(c.position); err != nil {
			return err
		}
	}
	sink, err := NewSink(c.to, Subtask{Job: c.job, Operator: "copy"})
	if err != nil {
		return err
	}
	if err := sink.Restore(c.attempt, c.checkpoint, c.pending); err != nil {
		sink.Close()
		return err
	}
	if err := c.copy(source, sink); err != nil {
		c.zombies = append(c.zombies, sink)
		return err
	}
	return sink.Close()
}

func (c *copyJob) copy(source *Source, sink *Sink) error {
	// Other instances of the zombies' sinks are at work now. Each call may fail.
	for _, z := range c.zombies {
		if z.open != nil && rand.IntN(2) == 0 {
			z.Write(state.Record{Key: []byte("zombie")})
		}
		z.Interrupt()
		z.Close()
	}
	c.zombies = nil
	var rec state.Record
	for n := 0; ; {
		ready, err := source.Next(&rec)
		switch {
		case err != nil:
			return err
		case ready == state.NotNow:
			continue
		case ready == state.Ready:
			if err := sink.Write(rec); err != nil {
				return err
			}
			if n++; n%c.every != 0 {
				continue
			}
		}
		position, id := source.Position(), c.checkpoint+1
		pending, err := sink.PreCommit(id)
		if err != nil {
			return err
		}
		if err := c.step(); err != nil { // before the checkpoint is complete
			return err
		}
		c.checkpoint, c.position, c.pending = id, position, pending
		if err := c.step(); err != nil { // before its commit
			return err
		}
		if err := sink.Commit(id); err != nil {
			return err
		}
		if ready == state.End {
			return nil
		}
	}
}

// exact checks that each record of the input is visible once.
func (c *copyJob) exact(b *brokers, records int) {
	c.t.Helper()
	var want []string
	for i := range records {
		want = append(want, strconv.Itoa(i))
	}
	got := b.visible(c.t, c.to.Topic)
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		c.t.Errorf("%d records are visible, want %d, each once", len(got), len(want))
	}
	if n := b.unfinished(c.t, c.job); b.fake == nil && n != 0 {
		c.t.Errorf("%d transactions are left over, want none", n)
	}
}

// newCopy fills the input.
func newCopy(t testing.TB, b *brokers, records int, p Properties) *copyJob {
	from, to := b.topic(t, 3), b.topic(t, 2)
	var all []*kgo.Record
	for i := range records {
		all = append(all, &kgo.Record{Topic: from, Partition: int32(i % 3), Key: []byte(strconv.Itoa(i))})
	}
	check(t, b.client.ProduceSync(t.Context(), all...).FirstErr())
	return &copyJob{t: t, job: fmt.Sprintf("job-%d", jobs.Add(1)), every: 40, step: func() error { return nil },
		from: SourceOptions{Topic: from, BootstrapServers: b.address, Bounded: true},
		to:   SinkOptions{Topic: to, BootstrapServers: b.address, Properties: p}}
}

// Workers crash at every step around a checkpoint, and some wake as zombies: every record is visible once.
func TestExactlyOnce(t *testing.T) {
	for seed := range seeds3() {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(seed), 16))
			b := fake(t)
			c := newCopy(t, b, 1500, Properties{"linger.ms": "0"})
			c.step = func() error {
				if r.IntN(6) == 0 {
					return fmt.Errorf("a crash")
				}
				return nil
			}
			c.run()
			// Each zombie may hold a transaction open; the next attempt of the job ends it.
			begin(t, c.to, c.job, c.attempt+1, c.checkpoint, c.pending)
			c.exact(b, 1500)
		})
	}
}

// seeds3 is the number of seeds: 3 in the fast suite, 10 in the full one, 100 at night.
func seeds3() int {
	switch {
	case os.Getenv("CKPTD_NIGHTLY") != "":
		return 100
	case os.Getenv("CKPTD_TEST_FULL") != "":
		return 10
	}
	return 3
}

// A real broker is killed, suspended and cut off while a job copies: every record is visible once, and no transaction is left over.
func TestRealFaults(t *testing.T) {
	if os.Getenv("CKPTD_TEST_FULL") == "" {
		t.Skip("a real broker takes ten seconds; CKPTD_TEST_FULL=1 runs it")
	}
	k, proxy := servers.StartKafkaBehindProxy(t, nil)
	b := use(t, proxy.Address)
	const records = 6000
	c := newCopy(t, b, records, Properties{"linger.ms": "0", "delivery.timeout.ms": "4000", "default.api.timeout.ms": "8000"})
	var next, steps int
	faults := []func(){
		func() { k.Kill(); check(t, k.Start()) },
		func() { check(t, k.Pause(true)); time.Sleep(6 * time.Second); check(t, k.Pause(false)) }, // longer than the delivery timeout
		func() { proxy.Enable(t, false); proxy.Enable(t, true) },
		func() {
			id := proxy.Add(t, servers.Toxic{Type: "limit_data", Stream: "downstream", Attributes: map[string]any{"bytes": 2000}})
			time.Sleep(300 * time.Millisecond)
			proxy.Remove(t, id)
		},
	}
	var faulty sync.WaitGroup
	defer faulty.Wait()
	c.step = func() error {
		if steps++; steps%50 == 0 {
			faulty.Wait()
			fault := faults[next%len(faults)]
			next++
			faulty.Go(fault)
		}
		if steps%37 == 0 {
			return fmt.Errorf("a crash")
		}
		return nil
	}
	c.run()
	faulty.Wait()
	if next < len(faults) {
		t.Errorf("%d faults, want %d", next, len(faults))
	}
	begin(t, c.to, c.job, c.attempt+1, c.checkpoint, c.pending)
	c.exact(b, records)
}
