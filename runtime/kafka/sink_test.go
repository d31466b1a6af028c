package kafka

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/ckptd/ckptd/runtime/state"
)

func begin(t testing.TB, o SinkOptions, job string, attempt, restored uint64, saved []byte) *Sink {
	t.Helper()
	s, err := NewSink(o, Subtask{Job: job, Operator: "sink", Parallelism: 1})
	check(t, err)
	t.Cleanup(func() { s.Close() })
	check(t, s.Restore(attempt, restored, saved))
	return s
}

func write(t testing.TB, s *Sink, keys ...string) {
	t.Helper()
	for _, k := range keys {
		check(t, s.Write(state.Record{Key: []byte(k), Value: []byte("1")}))
	}
}

func preCommit(t testing.TB, s *Sink, n uint64) []byte {
	t.Helper()
	saved, err := s.PreCommit(n)
	check(t, err)
	return saved
}

// abort plays a person, or the transaction's timeout.
func (b *brokers) abort(t testing.TB, id string) {
	t.Helper()
	eventually(t, "the abort", func() bool {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = &id, 60000, -1, -1
		resp, err := req.RequestWith(t.Context(), b.client)
		check(t, err)
		return resp.ErrorCode == 0
	})
}

func TestLostTransaction(t *testing.T) {
	t.Run("newer brokers", func(t *testing.T) { testLostTransaction(t, fake(t)) })
	t.Run("older brokers", func(t *testing.T) { testLostTransaction(t, fake(t, kfake.MaxVersions(kversion.V3_6_0()))) })
}

// SN-6: a transaction of the restored checkpoint that was aborted is an error, because its records are lost; by option it is none.
func testLostTransaction(t *testing.T, b *brokers) {
	_, o, job := output(t, b, ExactlyOnce)
	s := begin(t, o, job, 1, 0, nil)
	write(t, s, "a")
	check2(t, s, 1)
	write(t, s, "b", "c")
	saved := preCommit(t, s, 2)
	id := s.pending[0].ID
	b.abort(t, id)
	fails, err := NewSink(o, Subtask{Job: job, Operator: "sink"})
	check(t, err)
	defer fails.Close()
	refused(t, fails.Restore(2, 2, saved), id, "checkpoint 2", "2 records", "aborted", "transaction.timeout.ms", "lost-transactions")
	if err := s.Commit(2); err == nil {
		t.Error("the commit of an aborted transaction says nothing")
	}
	o.LostTransactions = "ignore"
	s = begin(t, o, job, 3, 2, saved)
	write(t, s, "d")
	check2(t, s, 3)
	same(t, "visible", b.visible(t, o.Topic), "a", "d")
}

// check2 pre-commits and commits.
func check2(t testing.TB, s *Sink, n uint64) {
	t.Helper()
	preCommit(t, s, n)
	check(t, s.Commit(n))
}

// A transaction that was committed, and whose transactional id was used again, is no error: the log knows it.
func TestOutcomeFromTheLog(t *testing.T) {
	b := fake(t)
	_, o, job := output(t, b, ExactlyOnce)
	s := begin(t, o, job, 1, 0, nil)
	write(t, s, "a")
	saved := preCommit(t, s, 1)
	id := s.pending[0].ID
	check(t, s.Commit(1))
	b.abort(t, id)
	b.abort(t, id)
	begin(t, o, job, 2, 1, saved)
	same(t, "visible", b.visible(t, o.Topic), "a")
	for n := range int32(2) {
		if end := b.offsets(t, o.Topic, b.admin.ListEndOffsets)[n]; end > 0 {
			b.deletePartition(t, o.Topic, n, end)
		}
	}
	fails, err := NewSink(o, Subtask{Job: job, Operator: "sink"})
	check(t, err)
	defer fails.Close()
	refused(t, fails.Restore(3, 1, saved), "does not show", "retention", "lost-transactions")
}

// A transactional id that the newest checkpoint can name is not used again, so that its restore need not read the log.
func TestNewestCheckpointNeedsNoLog(t *testing.T) {
	b := fake(t)
	_, o, job := output(t, b, ExactlyOnce)
	s := begin(t, o, job, 1, 0, nil)
	write(t, s, "a")
	preCommit(t, s, 1)
	write(t, s, "b")
	saved := preCommit(t, s, 2)
	check(t, s.Commit(1))
	for n := range uint64(2) {
		write(t, s, "c")
		preCommit(t, s, n+3)
	}
	for n, end := range b.offsets(t, o.Topic, b.admin.ListEndOffsets) {
		b.deletePartition(t, o.Topic, n, end)
	}
	begin(t, o, job, 2, 2, saved)
}

// Several attempts can restore a checkpoint, though retention has deleted its records.
func TestRestoreAgainNeedsNoLog(t *testing.T) {
	b := fake(t)
	_, o, job := output(t, b, ExactlyOnce)
	s := begin(t, o, job, 1, 0, nil)
	write(t, s, "a")
	saved := preCommit(t, s, 1)
	begin(t, o, job, 2, 1, saved)
	for n, end := range b.offsets(t, o.Topic, b.admin.ListEndOffsets) {
		b.deletePartition(t, o.Topic, n, end)
	}
	begin(t, o, job, 3, 1, saved)
}

// A zombie begins a transaction after the next attempt has looked for leftovers. The attempt after that one aborts it.
func TestLateZombie(t *testing.T) {
	b := fake(t, kfake.MaxVersions(kversion.V3_6_0()))
	_, o, job := output(t, b, ExactlyOnce)
	zombie := begin(t, o, job, 1, 0, nil)
	s := begin(t, o, job, 2, 0, nil)
	write(t, s, "a")
	saved := preCommit(t, s, 1)
	write(t, zombie, "zombie")
	preCommit(t, zombie, 1)
	begin(t, o, job, 3, 1, saved)
	same(t, "visible", b.visible(t, o.Topic), "a")
	if n := b.unfinished(t, job); n != 0 {
		t.Errorf("%d transactions are left over, want none", n)
	}
}

// The transactional id of an older checkpoint holds an open transaction now. A restore of that checkpoint must not commit it, but abort it.
func TestReusedID(t *testing.T) {
	b := fake(t, kfake.MaxVersions(kversion.V3_6_0()))
	_, o, job := output(t, b, ExactlyOnce)
	s := begin(t, o, job, 1, 0, nil)
	write(t, s, "a")
	saved := preCommit(t, s, 1)
	id := s.pending[0].ID
	check(t, s.Commit(1))
	want := []string{"a"}
	for n := uint64(2); ; n++ {
		write(t, s, "b")
		if s.open.id == id {
			check(t, s.open.flush(t.Context()))
			break
		}
		want = append(want, "b")
		check2(t, s, n)
	}
	begin(t, o, job, 2, 1, saved)
	if n := b.unfinished(t, job); n != 0 {
		t.Errorf("%d transactions are left over, want none", n)
	}
	same(t, "visible", b.visible(t, o.Topic), want...)
}

// The broker commits, and its answer is lost.
func TestLostAnswer(t *testing.T) {
	for name, version := range map[string]*kversion.Versions{"newer brokers": kversion.Stable(), "older brokers": kversion.V3_6_0()} {
		t.Run(name, func(t *testing.T) {
			b := fake(t, kfake.MaxVersions(version))
			_, o, job := output(t, b, ExactlyOnce)
			s := begin(t, o, job, 1, 0, nil)
			write(t, s, "a")
			preCommit(t, s, 1)
			asked := 0
			b.fake.ControlKey(int16(kmsg.EndTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
				b.fake.KeepControl()
				asked++
				if asked == 1 { // the connection ends before the broker does anything
					return nil, errors.New("cut"), true
				}
				return nil, nil, false
			})
			check(t, s.Commit(1))
			write(t, s, "b")
			check2(t, s, 2)
			same(t, "visible", b.visible(t, o.Topic), "a", "b")
			if asked < 3 {
				t.Errorf("the brokers were asked %d times, want 3 and more", asked)
			}
		})
	}
}

// A transaction timeout that the brokers do not allow, or that checkpoints outlast, is an error that says so.
func TestTransactionTimeout(t *testing.T) {
	b := fake(t)
	o := SinkOptions{Topic: b.topic(t, 1), BootstrapServers: b.address, Properties: Properties{"transaction.timeout.ms": "3600000"}}
	s, err := NewSink(o, Subtask{Job: "j", Operator: "o"})
	check(t, err)
	defer s.Close()
	err = s.Restore(1, 0, nil)
	if err == nil { // the brokers did not tell their limit
		err = s.Write(state.Record{Key: []byte("a")})
	}
	refused(t, err, "transaction.timeout.ms", "3600000", "transaction.max.timeout.ms")
	o.Properties["transaction.timeout.ms"], o.CheckpointInterval = "60000", time.Minute
	refused(t, o.Validate(), "transaction.timeout.ms", "60000", "1m0s")
}

// A sink keeps few producers, however many checkpoints there are.
func TestFewProducers(t *testing.T) {
	for name, version := range map[string]*kversion.Versions{"newer brokers": kversion.Stable(), "older brokers": kversion.V3_6_0()} {
		t.Run(name, func(t *testing.T) {
			b := fake(t, kfake.MaxVersions(version))
			_, o, job := output(t, b, ExactlyOnce)
			s := begin(t, o, job, 1, 0, nil)
			var want []string
			for n := range uint64(30) {
				key := fmt.Sprintf("%02d", n)
				want = append(want, key)
				write(t, s, key)
				check2(t, s, n+1)
			}
			if n := len(b.transactions(t, "ckptd/"+job+"/")); n > 3 {
				t.Errorf("%d transactional ids, want at most 3", n)
			}
			got := b.visible(t, o.Topic)
			if len(got) != len(want) {
				t.Errorf("%d records are visible, want %d", len(got), len(want))
			}
		})
	}
}

// Job and operator are two parts of a name.
func TestNames(t *testing.T) {
	a := transactionalID{job: "a/b", operator: "c", subtask: 1, attempt: 7, number: 2}
	if a.String() != "ckptd/a%2Fb/c/1/7/2" {
		t.Error(a)
	}
	for name, want := range map[string]uint64{"ckptd/a%2Fb/c/1/9/0": 9, "ckptd/a%2Fb/c/1/9": 0, "ckptd/a/b/c/1/9/0": 0, "ckptd/a%2Fb/c/11/9/0": 0, "ckptd/a%2Fb/c/1/9/0/1": 0, "x": 0} {
		if got, ok := a.attemptOf(name); ok != (want > 0) || ok && got != want {
			t.Errorf("%s: attempt %d, %v", name, got, ok)
		}
	}
}

// The leftovers of another subtask, operator or job remain.
func TestOthersRemain(t *testing.T) {
	b := fake(t, kfake.MaxVersions(kversion.V3_6_0()))
	_, o, job := output(t, b, ExactlyOnce)
	for _, other := range []Subtask{{Job: job, Operator: "sink", Index: 1}, {Job: job, Operator: "sink-2"}, {Job: job + "0", Operator: "sink"}} {
		s, err := NewSink(o, other)
		check(t, err)
		defer s.Close()
		check(t, s.Restore(1, 0, nil))
		write(t, s, "x")
		preCommit(t, s, 1)
	}
	begin(t, o, job, 5, 0, nil)
	n := 0
	for _, state := range b.transactions(t, "ckptd/"+job) {
		if state == "Ongoing" {
			n++
		}
	}
	if n != 3 {
		t.Errorf("%d transactions of others are open, want 3", n)
	}
}

// At least once: a broker that refuses records fails the checkpoint.
func TestAtLeastOnceFails(t *testing.T) {
	b := fake(t)
	_, o, job := output(t, b, AtLeastOnce)
	o.Properties["max.request.size"] = "1024"
	s := begin(t, o, job, 1, 0, nil)
	if err := s.Write(state.Record{Value: []byte(strings.Repeat("x", 5000))}); err == nil {
		_, err = s.PreCommit(1)
		refused(t, err, "max.request.size", o.Topic)
	}
}

func (b *brokers) deletePartition(t testing.TB, topic string, partition int32, before int64) {
	t.Helper()
	req := kmsg.NewPtrDeleteRecordsRequest()
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Partition, p.Offset = partition, before
	req.Topics = append(req.Topics, kmsg.DeleteRecordsRequestTopic{Topic: topic, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{p}})
	req.TimeoutMillis = 5000
	for _, shard := range b.client.RequestSharded(t.Context(), req) {
		check(t, shard.Err)
	}
}

// With the option partitions a sink creates a topic that does not exist, and leaves one that exists as it is.
func TestSinkCreatesTopic(t *testing.T) {
	b := fake(t)
	o := SinkOptions{Topic: "new", BootstrapServers: b.address, Partitions: 3}
	for attempt, partitions := range []int{3, 5} {
		o.Partitions = partitions
		s := begin(t, o, "creates", uint64(attempt+1), 0, nil)
		write(t, s, fmt.Sprint("k", attempt))
		preCommit(t, s, uint64(attempt+1))
		check(t, s.Commit(uint64(attempt+1)))
		check(t, s.Close())
	}
	if ends := b.offsets(t, "new", b.admin.ListEndOffsets); len(ends) != 3 {
		t.Errorf("the topic has %d partitions, want 3", len(ends))
	}
	same(t, "records", b.visible(t, "new"), "k0", "k1")
	o.Partitions = -1
	_, err := NewSink(o, Subtask{Job: "j", Operator: "o"})
	refused(t, err, "partitions is -1", "want 1 or more")
}
