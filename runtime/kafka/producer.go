package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ckptd/ckptd/runtime/state"
)

// producer writes the records of one transaction after the other; without transactionalID it writes without transactions.
type producer struct {
	client *kgo.Client
	topic  string
	// id is empty without transactions. client is nil before the first transaction, and when a transaction needs a new one.
	id string
	// memory holds the bytes of records, because a record belongs to the maker until Write returns.
	memory []byte
	// free is the last checkpoint whose state can name the last transaction. A complete checkpoint after it frees the producer.
	free uint64

	mu sync.Mutex // guards what follows, for the promises of records
	transaction
	failed error
}

// memoryStep is the size of the pieces that hold the bytes of records.
const memoryStep = 64 << 10

// begin begins a transaction. It asks the broker for the producer id if this producer has none.
func (p *producer) begin(ctx context.Context, s sinkSettings) (err error) {
	if p.client == nil {
		opts := slices.Concat(s.control, s.produce)
		if p.id != "" {
			opts = append(opts, kgo.TransactionalID(p.id), kgo.TransactionTimeout(s.timeout))
		}
		if p.client, err = kgo.NewClient(opts...); err != nil {
			return err
		}
	}
	p.transaction, p.failed = transaction{ID: p.id, Topic: p.topic}, nil
	if p.id == "" {
		return nil
	}
	if p.ProducerID, p.Epoch, err = p.client.ProducerID(ctx); err != nil {
		return err
	}
	return p.client.BeginTransaction()
}

// close ends the client and leaves the transaction as it is.
func (p *producer) close() {
	if p.client != nil {
		p.client.Close()
		p.client = nil
	}
}

// write hands a record to the client. It waits while the client's memory is full.
func (p *producer) write(ctx context.Context, rec state.Record) error {
	r := &kgo.Record{Topic: p.topic}
	need := len(rec.Key) + len(rec.Value)
	if cap(p.memory)-len(p.memory) < need {
		p.memory = make([]byte, 0, max(memoryStep, need))
	}
	r.Key, r.Value = p.keep(rec.Key), p.keep(rec.Value)
	p.client.Produce(ctx, r, p.written)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

// keep copies b into the producer's memory; nil, which Kafka knows too, remains nil.
func (p *producer) keep(b []byte) []byte {
	if b == nil {
		return nil
	}
	at := len(p.memory)
	p.memory = append(p.memory, b...)
	return p.memory[at:len(p.memory):len(p.memory)]
}

// written is called by the client when the brokers have a record, or never will have it.
func (p *producer) written(r *kgo.Record, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err != nil && p.failed == nil:
		p.failed = err
	case err == nil && (p.Records == 0 || r.Partition == p.Partition && r.Offset < p.Offset):
		p.Partition, p.Offset = r.Partition, r.Offset
	}
	if err == nil {
		p.Records++
	}
}

// flush waits until the brokers have all records.
func (p *producer) flush(ctx context.Context) error {
	if err := p.client.Flush(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed != nil || p.Records == 0 {
		return p.failed
	}
	return p.loaded(ctx)
}

// loaded waits until the client has stored the partitions of the topic. The client sends the first records a moment before it stores
// them, and a client without partitions ends a transaction as if it held nothing: it does not commit, and says nothing.
func (p *producer) loaded(ctx context.Context) error {
	return repeat(ctx, func() (bool, error) {
		leader, _, err := p.client.PartitionLeader(p.topic, p.Partition)
		return err == nil && leader >= 0, nil
	})
}

// commit ends the transaction. If the brokers did not give the client a new epoch, the next transaction gets a new client, whose beginning
// makes a new epoch: the two must not be taken for each other.
func (p *producer) commit(ctx context.Context) error {
	if p.client == nil {
		return errors.New("an earlier commit failed")
	}
	if err := p.client.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return err
	}
	if id, epoch, err := p.client.ProducerID(ctx); err != nil || id == p.ProducerID && epoch == p.Epoch {
		p.close()
	}
	return nil
}

// abortWait bounds how long Close waits for the broker.
const abortWait = 3 * time.Second

// discard aborts the open transaction and forgets its records.
func (p *producer) discard() error {
	ctx, cancel := context.WithTimeout(context.Background(), abortWait)
	defer cancel()
	defer p.close()
	if p.id == "" {
		return nil
	}
	err := p.client.AbortBufferedRecords(ctx)
	p.mu.Lock()
	sent := p.Records > 0
	p.mu.Unlock()
	if err == nil && sent {
		err = p.loaded(ctx)
	}
	if err == nil {
		err = p.client.EndTransaction(ctx, kgo.TryAbort)
	}
	if fenced(err) {
		return nil // a later attempt has aborted it
	}
	if err != nil {
		return fmt.Errorf("abort transaction %s: %w", p.id, err)
	}
	return nil
}

// fenced: a newer producer of the transactional id exists, or the broker has aborted the transaction.
func fenced(err error) bool {
	return errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kerr.InvalidProducerEpoch) || errors.Is(err, kerr.InvalidProducerIDMapping)
}
