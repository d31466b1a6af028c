package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var errUnknownOutcome = errors.New("retention has deleted its records")

// outcome reads from the log of a partition whether an ended transaction was committed.
func (s *Sink) outcome(ctx context.Context, t transaction) (committed bool, err error) {
	meta, err := s.topic.admin.Metadata(ctx, t.Topic)
	if err != nil {
		return false, err
	}
	detail, ok := meta.Topics[t.Topic]
	if !ok || detail.Err != nil {
		return false, errors.Join(errUnknownOutcome, detail.Err)
	}
	leader := detail.Partitions[t.Partition].Leader
	err = repeat(ctx, func() (done bool, err error) {
		committed, done, err = s.look(ctx, leader, detail.ID, t)
		return done, err
	})
	return committed, err
}

// look fetches the first record of the transaction as a reader with isolation.level=read_committed does. The answer also names the aborted
// transactions of its range. done is false as long as an older transaction is open, because then readers see nothing.
func (s *Sink) look(ctx context.Context, leader int32, id kadm.TopicID, t transaction) (committed, done bool, err error) {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.IsolationLevel = 100, 0, 1<<20, 1
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition, part.FetchOffset, part.PartitionMaxBytes = t.Partition, t.Offset, 1<<10
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.TopicID, topic.Partitions = t.Topic, id, append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	resp, err := s.control.Broker(int(leader)).RetriableRequest(ctx, req)
	if err != nil {
		return false, false, err
	}
	fetched := resp.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(fetched.ErrorCode); err != nil {
		return false, false, err
	}
	if len(fetched.Topics) != 1 || len(fetched.Topics[0].Partitions) != 1 {
		return false, false, fmt.Errorf("the broker answered for %d topics, not one", len(fetched.Topics))
	}
	p := fetched.Topics[0].Partitions[0]
	switch err := kerr.ErrorForCode(p.ErrorCode); {
	case errors.Is(err, kerr.OffsetOutOfRange):
		return false, true, errUnknownOutcome
	case err != nil:
		return false, false, err
	case p.LastStableOffset <= t.Offset:
		return false, false, nil
	}
	for _, a := range p.AbortedTransactions {
		if a.ProducerID == t.ProducerID && a.FirstOffset == t.Offset {
			return false, true, nil
		}
	}
	var batch kmsg.RecordBatch
	if err := batch.ReadFrom(p.RecordBatches); len(p.RecordBatches) < 61 || batch.ProducerID != t.ProducerID || batch.FirstOffset > t.Offset {
		return false, true, errors.Join(errUnknownOutcome, err)
	}
	return true, true, nil
}
