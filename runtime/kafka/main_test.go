package kafka

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/ckptd/ckptd/runtime/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// brokers are what a test reads from and writes to: kfake, or the real thing.
type brokers struct {
	address string
	client  *kgo.Client
	admin   *kadm.Client
	fake    *kfake.Cluster // nil for real brokers
}

// use returns the brokers at an address.
func use(t testing.TB, address string, opts ...kgo.Opt) *brokers {
	t.Helper()
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(seeds(address)...), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	check(t, err)
	t.Cleanup(client.Close)
	return &brokers{address: address, client: client, admin: kadm.NewClient(client)}
}

// fake starts brokers in this process.
func fake(t testing.TB, opts ...kfake.Opt) *brokers {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(2)}, opts...)...)
	check(t, err)
	t.Cleanup(c.Close)
	b := use(t, strings.Join(c.ListenAddrs(), ","))
	b.fake = c
	return b
}

var topics atomic.Int32

// topic creates a topic.
func (b *brokers) topic(t testing.TB, partitions int32) string {
	t.Helper()
	name := fmt.Sprintf("topic-%d", topics.Add(1))
	answer, err := b.admin.CreateTopic(t.Context(), partitions, 1, nil, name)
	check(t, err)
	check(t, answer.Err)
	return name
}

// send writes records key=value to a partition.
func (b *brokers) send(t testing.TB, topic string, partition int32, keys ...string) {
	t.Helper()
	for _, k := range keys {
		var err error
		eventually(t, "a record to be written", func() bool {
			err = b.client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Partition: partition, Key: []byte(k), Value: []byte("1")}).FirstErr()
			unknown := err != nil && strings.Contains(err.Error(), "invalid record partitioning") // the partition is new
			if unknown {
				b.client.ForceMetadataRefresh()
			}
			return !unknown
		})
		check(t, err)
	}
}

// visible returns the keys that a reader of committed records sees, once the brokers are done with what was committed.
func (b *brokers) visible(t testing.TB, topic string) (keys []string) {
	t.Helper()
	b.quiet(t)
	end := b.offsets(t, topic, b.admin.ListCommittedOffsets)
	start := b.offsets(t, topic, b.admin.ListStartOffsets)
	from := map[int32]kgo.Offset{}
	for n, at := range end {
		if at > start[n] {
			from[n] = kgo.NewOffset().At(start[n])
		}
	}
	if len(from) == 0 {
		return nil
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(seeds(b.address)...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(20*time.Millisecond))
	check(t, err)
	defer reader.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for len(from) > 0 {
		fetches := reader.PollFetches(ctx)
		check(t, fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				keys = append(keys, string(r.Key))
			}
			if r.Offset+1 >= end[r.Partition] {
				delete(from, r.Partition)
			}
		})
	}
	slices.Sort(keys)
	return keys
}

func (b *brokers) offsets(t testing.TB, topic string, list func(context.Context, ...string) (kadm.ListedOffsets, error)) map[int32]int64 {
	t.Helper()
	listed, err := list(t.Context(), topic)
	check(t, err)
	check(t, listed.Error())
	all := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) { all[o.Partition] = o.Offset })
	return all
}

// transactions returns the state of each transactional id that begins with a prefix.
func (b *brokers) transactions(t testing.TB, prefix string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		listed, err := b.admin.ListTransactions(t.Context(), nil, nil)
		if err != nil && time.Now().Before(end) {
			continue
		}
		check(t, err)
		for id, one := range listed {
			if strings.HasPrefix(id, prefix) {
				all[id] = one.State
			}
		}
		return all
	}
}

// quiet waits until no broker is about to write the end of a transaction.
func (b *brokers) quiet(t testing.TB) {
	t.Helper()
	eventually(t, "transactions that end", func() bool {
		for _, state := range b.transactions(t, "ckptd/") {
			if strings.HasPrefix(state, "Prepare") {
				return false
			}
		}
		return true
	})
}

// unfinished counts the open transactions of a job.
func (b *brokers) unfinished(t testing.TB, job string) (n int) {
	t.Helper()
	b.quiet(t)
	for _, state := range b.transactions(t, "ckptd/"+job+"/") {
		if state == "Ongoing" {
			n++
		}
	}
	return n
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// source opens a source that is closed with the test.
func source(t testing.TB, o SourceOptions, subtask Subtask) *Source {
	t.Helper()
	subtask.Parallelism = max(subtask.Parallelism, 1)
	s, err := OpenSource(t.Context(), o, subtask)
	check(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// next reads one record; "" is the end.
func next(t testing.TB, s *Source) string {
	t.Helper()
	var rec state.Record
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		switch ready, err := s.Next(&rec); {
		case err != nil:
			t.Fatal(err)
		case ready == state.Ready:
			return string(rec.Key)
		case ready == state.End:
			return ""
		}
	}
	t.Fatal("no record comes")
	return ""
}

// failure reads until the source fails.
func failure(t testing.TB, s *Source) error {
	t.Helper()
	var rec state.Record
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		if _, err := s.Next(&rec); err != nil {
			return err
		}
	}
	t.Fatal("the source does not fail")
	return nil
}

func seeds(address string) []string { return strings.Split(address, ",") }
