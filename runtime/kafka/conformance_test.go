package kafka

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/ckptd/ckptd/conformance/connectors"
	"github.com/ckptd/ckptd/runtime/state"
)

func TestConnector(t *testing.T) {
	t.Run("source", func(t *testing.T) { testSource(t, fake(t)) })
	// kfake lets a fenced producer begin a transaction before it refuses the records; real brokers do not.
	t.Run("sink", func(t *testing.T) { testSink(t, fake(t), false) })
	// Before Kafka 4.0 the end of a transaction gives the producer no new epoch.
	t.Run("sink, older brokers", func(t *testing.T) { testSink(t, fake(t, kfake.MaxVersions(kversion.V3_6_0())), true) })
	t.Run("sink, at least once", func(t *testing.T) { testAtLeastOnce(t, fake(t)) })
}

// testSource runs the suite: committed and aborted transactions, and two partitions of which one is empty.
func testSource(t *testing.T, b *brokers) {
	topic := b.topic(t, 3)
	writer, err := kgo.NewClient(kgo.SeedBrokers(seeds(b.address)...), kgo.TransactionalID("writer-"+topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	check(t, err)
	defer writer.Close()
	for n := range 12 {
		check(t, writer.BeginTransaction())
		for i := range 3 {
			r := &kgo.Record{Topic: topic, Partition: int32(i % 2), Key: fmt.Appendf(nil, "%d/%d-%d", i%2, n, i), Value: []byte("1")}
			check(t, writer.ProduceSync(t.Context(), r).FirstErr())
		}
		check(t, writer.EndTransaction(t.Context(), n%3 != 2)) // the last one is aborted
	}
	b.quiet(t)
	idle := b.topic(t, 1)
	o := SourceOptions{Topic: topic, BootstrapServers: b.address, Bounded: true}
	connectors.TestSource(t, func(testing.TB) connectors.Input {
		return connectors.Input{
			Open:     func(t testing.TB) state.Source { return source(t, o, Subtask{}) },
			Restored: func(t testing.TB) state.Source { return source(t, o, Subtask{Restored: 1}) },
			Idle: func(t testing.TB) state.Source {
				return source(t, SourceOptions{Topic: idle, BootstrapServers: b.address}, Subtask{})
			},
			Split: func(rec state.Record) string { return string(rec.Key[:1]) },
		}
	})
}

var jobs atomic.Int32

// output is a topic of its own, with a job of its own.
func output(t testing.TB, b *brokers, mode string) (connectors.Output, SinkOptions, string) {
	o := SinkOptions{Topic: b.topic(t, 2), BootstrapServers: b.address, Mode: mode, Properties: Properties{"linger.ms": "0"}}
	job := fmt.Sprintf("job-%d", jobs.Add(1))
	return connectors.Output{
		Open: func(t testing.TB) state.Sink {
			s, err := NewSink(o, Subtask{Job: job, Operator: "sink", Parallelism: 1})
			check(t, err)
			return s
		},
		Visible:    func(t testing.TB) []string { return b.visible(t, o.Topic) },
		Unfinished: func(t testing.TB) int { return b.unfinished(t, job) },
	}, o, job
}

func testSink(t *testing.T, b *brokers, leftovers bool) {
	connectors.TestSink(t, func(t testing.TB) connectors.Output {
		out, _, _ := output(t, b, ExactlyOnce)
		if !leftovers {
			out.Unfinished = nil
		}
		return out
	})
}

func testAtLeastOnce(t *testing.T, b *brokers) {
	connectors.TestAtLeastOnceSink(t, func(t testing.TB) connectors.Output {
		out, _, _ := output(t, b, AtLeastOnce)
		return out
	})
}
