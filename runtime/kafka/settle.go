package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// pollPause is the pause between two looks at a broker that is not done yet.
const pollPause = 20 * time.Millisecond

// repeat calls f until it is done, ctx ends, or f fails for good.
func repeat(ctx context.Context, f func() (done bool, err error)) error {
	for {
		done, err := f()
		if done || err != nil && !kerr.IsRetriable(err) && !errors.Is(err, kerr.ConcurrentTransactions) {
			return err
		}
		select {
		case <-time.After(pollPause):
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// checkTimeout compares the transaction timeout with the brokers' limit. A user who may not read the brokers' settings hears of a
// timeout that is too long at the first record.
func (s *Sink) checkTimeout(ctx context.Context) error {
	const key = "transaction.max.timeout.ms"
	brokers, err := s.topic.admin.ListBrokers(ctx)
	if err != nil {
		return s.topic.advice(err)
	}
	if len(brokers) == 0 {
		return nil
	}
	settings, err := s.topic.admin.DescribeBrokerConfigs(ctx, brokers[0].NodeID)
	if err != nil {
		return nil
	}
	for _, broker := range settings {
		for _, c := range broker.Configs {
			if c.Key != key || c.Value == nil {
				continue
			}
			if limit, err := strconv.ParseInt(*c.Value, 10, 64); err == nil && s.settings.timeout.Milliseconds() > limit {
				return fmt.Errorf("property transaction.timeout.ms is %d; the brokers allow at most %d (%s): lower it, or raise theirs", s.settings.timeout.Milliseconds(), limit, key)
			}
		}
	}
	return nil
}

// settle commits a transaction that the restored state names. If a broker says that somebody has ended it, settle finds out how; over is then true,
// and its transactional id may hold another transaction.
func (s *Sink) settle(ctx context.Context, t transaction) (over bool, err error) {
	err = repeat(ctx, func() (bool, error) {
		req := kmsg.NewPtrEndTxnRequest()
		req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = t.ID, t.ProducerID, t.Epoch, true
		resp, err := req.RequestWith(ctx, s.control)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		return err == nil, err
	})
	if err == nil || !fenced(err) && !errors.Is(err, kerr.InvalidTxnState) {
		return false, s.topic.advice(err)
	}
	committed, outcomeErr := s.outcome(ctx, t)
	switch {
	case outcomeErr == nil && committed, s.o.LostTransactions == "ignore":
		return true, nil
	case outcomeErr != nil:
		return true, fmt.Errorf("somebody has ended it, and the log does not show whether it was committed (%w); set lost-transactions to ignore to go on: %w", outcomeErr, err)
	}
	return true, fmt.Errorf("it was aborted before this restore, by its timeout (transaction.timeout.ms) or by a person, so its records are lost; restore another checkpoint, or set "+
		"lost-transactions to ignore to go on without them: %w", err)
}

// abortLeftovers aborts what lower attempts of this subtask have left, except the transactions that the restored state names. It fences their producers.
func (s *Sink) abortLeftovers(ctx context.Context, named []transaction) error {
	var old []string
	err := repeat(ctx, func() (done bool, err error) {
		old, err = s.leftovers(ctx, named)
		return err == nil, err
	})
	if err != nil {
		return fmt.Errorf("list transactions: %w", s.topic.advice(err))
	}
	for _, id := range old {
		err := repeat(ctx, func() (bool, error) {
			req := kmsg.NewPtrInitProducerIDRequest()
			req.TransactionalID, req.TransactionTimeoutMillis = &id, int32(s.settings.timeout.Milliseconds())
			req.ProducerID, req.ProducerEpoch = -1, -1
			resp, err := req.RequestWith(ctx, s.control)
			if err == nil {
				err = kerr.ErrorForCode(resp.ErrorCode)
			}
			return err == nil, err
		})
		if err != nil {
			return fmt.Errorf("abort transaction %s of a lower attempt: %w", id, s.topic.advice(err))
		}
	}
	return nil
}

// leftovers returns the transactional ids of lower attempts that need an abort or a fence.
//
// An id has the state Empty as long as its producer has no transaction. A producer of the newest lower attempt may be about to begin one. The
// producers of attempts before it were fenced: an attempt that has ids has finished its Restore.
func (s *Sink) leftovers(ctx context.Context, named []transaction) (ids []string, err error) {
	states, err := s.list(ctx)
	if err != nil {
		return nil, err
	}
	newest := uint64(0)
	for id := range states {
		if attempt, ours := s.name.attemptOf(id); ours && attempt < s.name.attempt {
			newest = max(newest, attempt)
		}
	}
	for id, state := range states {
		attempt, ours := s.name.attemptOf(id)
		isNamed := slices.ContainsFunc(named, func(n transaction) bool { return n.ID == id })
		if ours && attempt <= newest && !isNamed && (attempt == newest || state != "Empty" && state != "Dead") {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// list returns the transactional ids of this subtask, and their states.
func (s *Sink) list(ctx context.Context) (map[string]string, error) {
	req := kmsg.NewPtrListTransactionsRequest()
	pattern := s.name.pattern()
	req.TransactionalIDPattern = &pattern // brokers before 4.1 ignore it
	states := map[string]string{}
	for _, shard := range s.control.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return nil, shard.Err
		}
		resp := shard.Resp.(*kmsg.ListTransactionsResponse)
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			return nil, err
		}
		for _, t := range resp.TransactionStates {
			states[t.TransactionalID] = t.TransactionState
		}
	}
	return states, nil
}
