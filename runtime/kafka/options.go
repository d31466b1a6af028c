package kafka

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Where a source begins that restores nothing.
const (
	StartEarliest  = "earliest"
	StartLatest    = "latest"
	StartCommitted = "committed"
	StartTimestamp = "timestamp"
)

// How a sink delivers.
const (
	ExactlyOnce = "exactly-once"
	AtLeastOnce = "at-least-once"
)

// Subtask says which parallel instance a source or sink is.
type Subtask struct {
	// Job and Operator name the operator, the same in every attempt.
	Job, Operator string
	// 0 <= Index < Parallelism.
	Index, Parallelism int
	// Restored is the checkpoint that the attempt restores; 0 if there is none. A source then waits for Seek.
	Restored uint64
}

// SourceOptions say what a source reads. Topic and BootstrapServers are required.
type SourceOptions struct {
	Topic string `yaml:"topic"`
	// BootstrapServers are host:port, with commas between them.
	BootstrapServers string `yaml:"bootstrap-servers"`
	// Group receives the offsets of complete checkpoints. The source reads them only at its start, for StartCommitted.
	Group string `yaml:"group"`
	// Start is StartEarliest (the default), StartLatest, StartCommitted or StartTimestamp.
	Start string `yaml:"start"`
	// StartTime is the time of StartTimestamp: the source begins at the first record of each partition that is not older.
	StartTime time.Time `yaml:"start-time"`
	// Bounded ends the source at the end that each partition has when the job begins.
	Bounded bool `yaml:"bounded"`
	// OffsetReset says what to do if the next record was deleted, or if the group has no offset: "none" (the default) fails; "earliest" and
	// "latest" skip records.
	OffsetReset string     `yaml:"offset-reset"`
	Properties  Properties `yaml:"properties"`
}

// SinkOptions say where a sink writes. Topic and BootstrapServers are required.
type SinkOptions struct {
	Topic string `yaml:"topic"`
	// BootstrapServers are host:port, with commas between them.
	BootstrapServers string `yaml:"bootstrap-servers"`
	// Mode is ExactlyOnce (the default) or AtLeastOnce.
	Mode string `yaml:"mode"`
	// Partitions creates the topic with so many partitions if it does not exist. 0, the default, creates nothing.
	Partitions int `yaml:"partitions"`
	// LostTransactions says what a restore does if a transaction of its checkpoint was aborted: "fail" (the default) or "ignore".
	LostTransactions string     `yaml:"lost-transactions"`
	Properties       Properties `yaml:"properties"`
	// CheckpointInterval, if known, must be shorter than the property transaction.timeout.ms.
	CheckpointInterval time.Duration `yaml:"-"`
}

// Defaults of properties. Those without a name here are franz-go's.
const (
	defaultAPITimeout         = time.Minute
	defaultTransactionTimeout = 15 * time.Minute // the most that a broker allows without a change of its settings
	defaultDeliveryTimeout    = 2 * time.Minute
	defaultDiscovery          = 5 * time.Minute
	defaultFetchBytes         = 16 << 20
	defaultPartitionBytes     = 1 << 20
	defaultBufferMemory       = 32 << 20
)

// Validate returns an error that names the option, its value and what is allowed.
func (o SourceOptions) Validate() error {
	_, err := o.client()
	return err
}

// Validate returns an error that names the option, its value and what is allowed.
func (o SinkOptions) Validate() error {
	_, err := o.client()
	return err
}

// oneOf returns an error unless value is one of allowed; the first is the default.
func oneOf(option, value string, allowed ...string) error {
	if value == "" || slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("kafka: option %s is %q; want %s", option, value, strings.Join(allowed, ", "))
}

// base are the options that both ends share.
func base(topic, servers string, p Properties) ([]kgo.Opt, error) {
	if topic == "" {
		return nil, errors.New("option topic is missing; name the topic")
	}
	if servers == "" {
		return nil, errors.New("option bootstrap-servers is missing; list brokers as host:port")
	}
	seeds := strings.Split(servers, ",")
	for i, s := range seeds {
		seeds[i] = strings.TrimSpace(s)
		if host, port, err := net.SplitHostPort(seeds[i]); err != nil || host == "" || port == "" {
			return nil, fmt.Errorf("option bootstrap-servers: %q is not host:port", seeds[i])
		}
	}
	opts, err := p.security()
	if err != nil {
		return nil, err
	}
	api, err1 := p.millis("default.api.timeout.ms", 100, defaultAPITimeout)
	age, err2 := p.millis("metadata.max.age.ms", 100, time.Minute)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return append(opts, kgo.SeedBrokers(seeds...), kgo.ClientID(cmp.Or(p["client.id"], "ckptd")), kgo.DisableClientMetrics(), kgo.RetryTimeout(api),
		kgo.MetadataMaxAge(age), kgo.MetadataMinAge(min(age, 250*time.Millisecond))), nil
}

// sourceSettings is what a source needs of its options.
type sourceSettings struct {
	opts      []kgo.Opt
	api       time.Duration
	discovery time.Duration
	committed bool // isolation.level=read_committed
}

func (o SourceOptions) client() (s sourceSettings, err error) {
	if err := errors.Join(
		oneOf("start", o.Start, StartEarliest, StartLatest, StartCommitted, StartTimestamp),
		oneOf("offset-reset", o.OffsetReset, "none", "earliest", "latest")); err != nil {
		return s, err
	}
	p := o.Properties
	s.opts, err = base(o.Topic, o.BootstrapServers, p)
	switch {
	case err != nil:
	case o.Start == StartCommitted && o.Group == "":
		err = errors.New("option start is committed; name the group whose offsets it means")
	case (o.Start == StartTimestamp) == o.StartTime.IsZero():
		err = errors.New("options start: timestamp and start-time need each other; set both, or neither")
	default:
		err = p.refuse(sourceOnly)
	}
	if err != nil {
		return s, fmt.Errorf("kafka: source of topic %q: %w", o.Topic, err)
	}
	isolation, err1 := p.choice("isolation.level", "read_committed", "read_uncommitted")
	fetch, err2 := p.integer("fetch.max.bytes", 1024, 1<<30, defaultFetchBytes)
	partition, err3 := p.integer("max.partition.fetch.bytes", 1024, 1<<30, defaultPartitionBytes)
	least, err4 := p.integer("fetch.min.bytes", 1, 1<<30, 1)
	wait, err5 := p.millis("fetch.max.wait.ms", 1, 500*time.Millisecond)
	var err6, err7 error
	s.discovery, err6 = p.millis("partition.discovery.interval.ms", 0, defaultDiscovery)
	s.api, err7 = p.millis("default.api.timeout.ms", 100, defaultAPITimeout)
	if err := errors.Join(err1, err2, err3, err4, err5, err6, err7); err != nil {
		return s, fmt.Errorf("kafka: source of topic %q: %w", o.Topic, err)
	}
	s.committed = isolation == "read_committed"
	level := kgo.ReadUncommitted()
	if s.committed {
		level = kgo.ReadCommitted()
	}
	s.opts = append(s.opts, kgo.FetchIsolationLevel(level), kgo.FetchMaxBytes(int32(fetch)), kgo.FetchMaxPartitionBytes(int32(min(partition, fetch))),
		kgo.BrokerMaxReadBytes(int32(min(2*fetch+1<<20, 1<<31-1))), kgo.FetchMinBytes(int32(least)), kgo.FetchMaxWait(wait), kgo.KeepControlRecords())
	return s, nil
}

// sinkSettings is what a sink needs of its options.
type sinkSettings struct {
	// control is for requests; produce is for records.
	control, produce     []kgo.Opt
	api, timeout, linger time.Duration
	exactly              bool
}

func (o SinkOptions) client() (s sinkSettings, err error) {
	if err := errors.Join(oneOf("mode", o.Mode, ExactlyOnce, AtLeastOnce), oneOf("lost-transactions", o.LostTransactions, "fail", "ignore")); err != nil {
		return s, err
	}
	if o.Partitions < 0 || o.Partitions > math.MaxInt32 {
		return s, fmt.Errorf("kafka: sink of topic %q: option partitions is %d; want 1 or more, or 0 to create no topic", o.Topic, o.Partitions)
	}
	p := o.Properties
	s.exactly = o.Mode != AtLeastOnce
	s.control, err = base(o.Topic, o.BootstrapServers, p)
	if err == nil {
		err = p.refuse(sinkOnly)
	}
	if err == nil {
		err = s.producer(p)
	}
	if err == nil && s.exactly && o.CheckpointInterval >= s.timeout {
		err = fmt.Errorf("property transaction.timeout.ms is %d, and checkpoints begin every %v: the broker would abort transactions before they commit; raise it, up to the "+
			"broker's transaction.max.timeout.ms", s.timeout.Milliseconds(), o.CheckpointInterval)
	}
	if err != nil {
		return s, fmt.Errorf("kafka: sink of topic %q: %w", o.Topic, err)
	}
	return s, nil
}

func (s *sinkSettings) producer(p Properties) error {
	var err1, err2, err3 error
	s.timeout, err1 = p.millis("transaction.timeout.ms", 1000, defaultTransactionTimeout)
	s.api, err2 = p.millis("default.api.timeout.ms", 100, defaultAPITimeout)
	s.linger, err3 = p.millis("linger.ms", 0, 5*time.Millisecond)
	delivery, err4 := p.millis("delivery.timeout.ms", 1000, defaultDeliveryTimeout)
	request, err5 := p.integer("max.request.size", 1024, 1<<30, 1_000_012)
	memory, err6 := p.integer("buffer.memory", 1<<20, 1<<34, defaultBufferMemory)
	kind, err7 := p.choice("compression.type", "none", "gzip", "snappy", "lz4", "zstd")
	if err := errors.Join(err1, err2, err3, err4, err5, err6, err7); err != nil {
		return err
	}
	codec := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}[kind]
	s.produce = []kgo.Opt{kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordDeliveryTimeout(delivery), kgo.ProducerLinger(s.linger),
		kgo.ProducerBatchMaxBytes(int32(request)), kgo.MaxBufferedBytes(int(memory)), kgo.MaxBufferedRecords(1 << 20), kgo.ProducerBatchCompression(codec)}
	return nil
}
