package kafka

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ckptd/ckptd/runtime/state"
)

// all reads to the end, in any order.
func all(t testing.TB, s *Source) (keys []string) {
	t.Helper()
	for k := next(t, s); k != ""; k = next(t, s) {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func same(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func TestStart(t *testing.T) {
	b := fake(t)
	topic := b.topic(t, 2)
	at := time.Now().Truncate(time.Millisecond).Add(-time.Hour)
	for i := range 4 {
		r := &kgo.Record{Topic: topic, Partition: int32(i % 2), Key: fmt.Append(nil, i), Timestamp: at.Add(time.Duration(i) * time.Minute)}
		check(t, b.client.ProduceSync(t.Context(), r).FirstErr())
	}
	var offsets kadm.Offsets
	offsets.AddOffset(topic, 0, 1, -1)
	check(t, b.admin.CommitAllOffsets(t.Context(), "group", offsets))
	for name, c := range map[string]struct {
		o    SourceOptions
		want []string
	}{
		"nothing said":                  {SourceOptions{}, []string{"0", "1", "2", "3"}},
		"earliest":                      {SourceOptions{Start: StartEarliest}, []string{"0", "1", "2", "3"}},
		"latest":                        {SourceOptions{Start: StartLatest}, nil},
		"timestamp":                     {SourceOptions{Start: StartTimestamp, StartTime: at.Add(2 * time.Minute)}, []string{"2", "3"}},
		"after all":                     {SourceOptions{Start: StartTimestamp, StartTime: at.Add(time.Hour)}, nil},
		"committed, otherwise earliest": {SourceOptions{Start: StartCommitted, Group: "group", OffsetReset: "earliest"}, []string{"1", "2", "3"}},
		"committed, otherwise latest":   {SourceOptions{Start: StartCommitted, Group: "group", OffsetReset: "latest"}, []string{"2"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.o.Topic, c.o.BootstrapServers, c.o.Bounded = topic, b.address, true
			same(t, name, all(t, source(t, c.o, Subtask{})), c.want...)
		})
	}
	o := SourceOptions{Topic: topic, BootstrapServers: b.address, Start: StartCommitted, Group: "group"}
	_, err := OpenSource(t.Context(), o, Subtask{Parallelism: 1})
	refused(t, err, "partition 1", "offset-reset")
}

// refused checks that an error has these words.
func refused(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one with %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error lacks %q: %v", w, err)
		}
	}
}

// Each partition has one reader, and a partition that is new gets one while the job runs.
func TestPartitions(t *testing.T) {
	b := fake(t)
	topic := b.topic(t, 3)
	o := SourceOptions{Topic: topic, BootstrapServers: b.address, Properties: Properties{"partition.discovery.interval.ms": "10"}}
	readers := []*Source{source(t, o, Subtask{Index: 0, Parallelism: 2}), source(t, o, Subtask{Index: 1, Parallelism: 2})}
	for n := range int32(3) {
		b.send(t, topic, n, fmt.Sprint("old-", n))
	}
	same(t, "reader 1", []string{next(t, readers[1])}, "old-1")
	first := []string{next(t, readers[0]), next(t, readers[0])}
	slices.Sort(first)
	same(t, "reader 0", first, "old-0", "old-2")

	saved := readers[1].Position()
	_, err := b.admin.UpdatePartitions(t.Context(), 4, topic)
	check(t, err)
	b.send(t, topic, 3, "new-3") // before the reader knows
	same(t, "reader 1", []string{next(t, readers[1])}, "new-3")
	if p := string(readers[1].Position()); !strings.Contains(p, `"partition":3,"next":1`) {
		t.Errorf("the position lacks the new partition: %s", p)
	}
	o.Start = StartLatest // it does not apply to a partition that is new since the checkpoint
	again := source(t, o, Subtask{Index: 1, Parallelism: 2, Restored: 1})
	check(t, again.Seek(saved))
	same(t, "restored", []string{next(t, again)}, "new-3")
	refused(t, source(t, o, Subtask{Index: 0, Parallelism: 2, Restored: 1}).Seek(saved), "subtask 1 of 2", "parallelism")
}

// A subtask without a partition waits for one.
func TestNoPartition(t *testing.T) {
	b := fake(t)
	topic := b.topic(t, 1)
	o := SourceOptions{Topic: topic, BootstrapServers: b.address, Properties: Properties{"partition.discovery.interval.ms": "10"}}
	s := source(t, o, Subtask{Index: 1, Parallelism: 2})
	var rec state.Record
	if r, err := s.Next(&rec); r != state.NotNow || err != nil {
		t.Fatalf("Next says %v, %v", r, err)
	}
	_, err := b.admin.UpdatePartitions(t.Context(), 2, topic)
	check(t, err)
	b.send(t, topic, 1, "a")
	same(t, "reader", []string{next(t, s)}, "a")
	o.Bounded = true
	if r, err := source(t, o, Subtask{Index: 2, Parallelism: 3}).Next(&rec); r != state.End || err != nil {
		t.Errorf("a bounded source without a partition says %v, %v", r, err)
	}
}

// The group gets the offsets of complete checkpoints, and a restore does not ask it.
func TestGroup(t *testing.T) {
	b := fake(t)
	topic := b.topic(t, 1)
	b.send(t, topic, 0, "a", "b", "c")
	o := SourceOptions{Topic: topic, BootstrapServers: b.address, Group: "group"}
	s := source(t, o, Subtask{})
	next(t, s)
	first := s.Position()
	next(t, s)
	check(t, s.Committed(1, first))
	check(t, s.Committed(2, s.Position()))
	check(t, s.Close()) // it waits for the last one
	got, err := b.admin.FetchOffsets(t.Context(), "group")
	check(t, err)
	if at, ok := got.Lookup(topic, 0); !ok || at.At != 2 {
		t.Errorf("the group has offset %d, want 2", at.At)
	}
	again := source(t, o, Subtask{Restored: 1})
	if _, err := again.Next(&state.Record{}); err == nil {
		t.Error("a source that restores reads before Seek")
	}
	check(t, again.Seek(first))
	same(t, "restored", []string{next(t, again), next(t, again)}, "b", "c")
}

// A bounded source ends where the topic ended when the job began, also after a restart.
func TestBounded(t *testing.T) {
	b := fake(t)
	topic := b.topic(t, 1)
	b.send(t, topic, 0, "a", "b")
	o := SourceOptions{Topic: topic, BootstrapServers: b.address, Bounded: true}
	s := source(t, o, Subtask{})
	next(t, s)
	saved := s.Position()
	b.send(t, topic, 0, "later")
	same(t, "the rest", all(t, s), "b")
	again := source(t, o, Subtask{Restored: 1})
	check(t, again.Seek(saved))
	same(t, "restored", all(t, again), "b")
}

// An aborted record is not read, and one that is not committed yet is not read either.
func TestIsolation(t *testing.T) {
	b := fake(t)
	topic := b.topic(t, 1)
	writer, err := kgo.NewClient(kgo.SeedBrokers(seeds(b.address)...), kgo.TransactionalID("writer"), kgo.DefaultProduceTopic(topic))
	check(t, err)
	defer writer.Close()
	for _, c := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit} {
		check(t, writer.BeginTransaction())
		check(t, writer.ProduceSync(t.Context(), kgo.StringRecord(fmt.Sprint(bool(c)))).FirstErr())
		check(t, writer.EndTransaction(t.Context(), c))
	}
	check(t, writer.BeginTransaction())
	check(t, writer.ProduceSync(t.Context(), kgo.StringRecord("open")).FirstErr())
	for level, want := range map[string]int{"": 1, "read_committed": 1, "read_uncommitted": 3} {
		o := SourceOptions{Topic: topic, BootstrapServers: b.address, Bounded: true, Properties: Properties{"isolation.level": level}}
		if level == "" {
			o.Properties = nil
		}
		s := source(t, o, Subtask{})
		n := 0
		for r := state.NotNow; r != state.End; {
			var rec state.Record
			r, err = s.Next(&rec)
			check(t, err)
			if r == state.Ready {
				n++
			}
		}
		if n != want {
			t.Errorf("%s: %d records, want %d", level, n, want)
		}
	}
}

// Records that retention deleted before they were read are an error, or are skipped by option.
func TestDeletedRecords(t *testing.T) {
	b := fake(t)
	topic := b.topic(t, 1)
	b.send(t, topic, 0, "a", "b", "c", "d")
	o := SourceOptions{Topic: topic, BootstrapServers: b.address}
	s := source(t, o, Subtask{})
	next(t, s)
	saved, running := s.Position(), source(t, o, Subtask{}) // the second one has not read
	b.deleteBefore(t, topic, 3)
	refused(t, source(t, o, Subtask{Restored: 1}).Seek(saved), "partition 0", "offset 1", "begins at 3", "offset-reset", "retention.ms")
	refused(t, failure(t, running), "partition 0", "offset 0", "begins at 3", "offset-reset")
	for reset, want := range map[string]string{"earliest": "d", "latest": "e"} {
		o.OffsetReset = reset
		s := source(t, o, Subtask{Restored: 1})
		check(t, s.Seek(saved))
		if reset == "latest" {
			b.send(t, topic, 0, "e")
		}
		same(t, reset, []string{next(t, s)}, want)
	}
}

func (b *brokers) deleteBefore(t testing.TB, topic string, offset int64) {
	t.Helper()
	var to kadm.Offsets
	to.AddOffset(topic, 0, offset, -1)
	answer, err := b.admin.DeleteRecords(t.Context(), to)
	check(t, err)
	check(t, answer.Error())
}

// A topic of the same name that was created again is another input.
func TestCreatedAgain(t *testing.T) {
	b := fake(t)
	topic := b.topic(t, 1)
	o := SourceOptions{Topic: topic, BootstrapServers: b.address}
	saved := source(t, o, Subtask{}).Position()
	_, err := b.admin.DeleteTopics(t.Context(), topic)
	check(t, err)
	_, err = OpenSource(t.Context(), o, Subtask{Parallelism: 1})
	refused(t, err, topic, b.address, "does not exist", "create it")
	_, err = b.admin.CreateTopic(t.Context(), 1, 1, nil, topic)
	check(t, err)
	refused(t, source(t, o, Subtask{Restored: 1}).Seek(saved), "created again")
}

func TestNoBroker(t *testing.T) {
	o := SourceOptions{Topic: "t", BootstrapServers: "127.0.0.1:1", Properties: Properties{"default.api.timeout.ms": "300"}}
	_, err := OpenSource(t.Context(), o, Subtask{Parallelism: 1})
	refused(t, err, "127.0.0.1:1", `"t"`)
	sink, err := NewSink(SinkOptions{Topic: "t", BootstrapServers: o.BootstrapServers, Properties: o.Properties}, Subtask{Job: "j", Operator: "o"})
	check(t, err)
	defer sink.Close()
	refused(t, sink.Restore(1, 0, nil), "127.0.0.1:1", `"t"`)
	o.Properties = nil // it would wait for a minute
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = OpenSource(ctx, o, Subtask{Parallelism: 1})
	refused(t, err, `"t"`)
}
