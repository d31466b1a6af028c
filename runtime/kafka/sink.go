package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ckptd/ckptd/runtime/state"
)

// Sink implements state.Sink and state.Interrupter.
type Sink struct {
	o        SinkOptions
	settings sinkSettings
	name     transactionalID // of the next producer
	control  *kgo.Client
	topic    topic

	restored, closed bool
	// open is the producer that Write uses; nil before the first record after a barrier.
	open *producer
	// pending are the producers of pre-committed transactions, ascending by checkpoint.
	pending []*producer
	// idle are the producers whose transactions are committed.
	idle []*producer
	// last is the newest pre-committed checkpoint.
	last uint64

	ctx       context.Context // of all requests but the last ones; Interrupt ends it
	interrupt context.CancelCauseFunc
}

var (
	_ state.Sink        = (*Sink)(nil)
	_ state.Interrupter = (*Sink)(nil)
)

// NewSink returns a sink. It asks no broker until Restore.
func NewSink(o SinkOptions, subtask Subtask) (*Sink, error) {
	settings, err := o.client()
	if err != nil {
		return nil, err
	}
	if subtask.Job == "" || subtask.Operator == "" {
		return nil, fmt.Errorf("kafka: sink of topic %q: job %q and operator %q; both need a name, because they are in the names of transactions", o.Topic, subtask.Job, subtask.Operator)
	}
	control, err := kgo.NewClient(settings.control...)
	if err != nil {
		return nil, fmt.Errorf("kafka: sink of topic %q: %w", o.Topic, err)
	}
	s := &Sink{o: o, settings: settings, control: control, name: transactionalID{job: subtask.Job, operator: subtask.Operator, subtask: subtask.Index}}
	s.topic = topic{admin: kadm.NewClient(control), name: o.Topic, servers: o.BootstrapServers}
	s.ctx, s.interrupt = context.WithCancelCause(context.Background())
	return s, nil
}

// Restore implements state.Sink.
func (s *Sink) Restore(attempt, restored uint64, saved []byte) error {
	if s.restored || s.closed {
		return errors.New("kafka: restore: this sink was restored or closed before")
	}
	all, err := decodeState(saved, restored)
	if err == nil {
		s.name.attempt = attempt
		err = s.begin(all)
	}
	if err != nil {
		return fmt.Errorf("kafka: sink of topic %q: restore checkpoint %d in attempt %d: %w", s.o.Topic, restored, attempt, err)
	}
	s.restored, s.last = true, restored
	return nil
}

// begin checks the topic and settles the transactions of lower attempts.
func (s *Sink) begin(named []transaction) error {
	ctx, cancel := context.WithTimeout(s.ctx, s.settings.api)
	defer cancel()
	_, _, err := s.topic.partitions(ctx, 0, 1)
	if s.o.Partitions > 0 && errors.Is(err, kerr.UnknownTopicOrPartition) {
		err = s.topic.create(ctx, s.o.Partitions)
	}
	if err != nil {
		return err
	}
	if s.settings.exactly {
		if err := s.checkTimeout(ctx); err != nil {
			return err
		}
	}
	var ours []transaction
	for _, t := range named {
		over, err := s.settle(ctx, t)
		if err != nil {
			return fmt.Errorf("%v: %w", t, err)
		}
		if !over {
			ours = append(ours, t)
		}
	}
	if !s.settings.exactly && len(named) == 0 {
		return nil
	}
	return s.abortLeftovers(ctx, ours)
}

// Write implements state.Sink.
func (s *Sink) Write(rec state.Record) error {
	if err := s.usable(); err != nil {
		return fmt.Errorf("kafka: write: %w", err)
	}
	if s.open == nil {
		if err := s.next(); err != nil {
			return fmt.Errorf("kafka: write to topic %q: %w", s.o.Topic, err)
		}
	}
	if err := s.open.write(s.ctx, rec); err != nil {
		return fmt.Errorf("kafka: write to topic %q: %w", s.o.Topic, s.writeAdvice(err))
	}
	return nil
}

// next begins a transaction, with a producer whose last transaction no newer checkpoint can name, or with a new one.
func (s *Sink) next() (err error) {
	var p *producer
	if len(s.idle) > 0 && s.idle[0].free == 0 {
		p, s.idle = s.idle[0], s.idle[1:]
	} else {
		p = &producer{topic: s.o.Topic}
		if s.settings.exactly {
			p.id = s.name.String()
			s.name.number++
		}
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.settings.api)
	defer cancel()
	if err := p.begin(ctx, s.settings); err != nil {
		p.close()
		return s.writeAdvice(err)
	}
	s.open = p
	return nil
}

// writeAdvice adds to an error what a person can do.
func (s *Sink) writeAdvice(err error) error {
	switch {
	case context.Cause(s.ctx) != nil:
		return context.Cause(s.ctx)
	case errors.Is(err, kerr.InvalidTransactionTimeout):
		return fmt.Errorf("property transaction.timeout.ms is %d, and the brokers' transaction.max.timeout.ms is lower; lower the property or raise theirs: %w",
			s.settings.timeout.Milliseconds(), err)
	case fenced(err):
		return fmt.Errorf("a later attempt has taken over, or the transaction lasted longer than transaction.timeout.ms (%d): %w", s.settings.timeout.Milliseconds(), err)
	case errors.Is(err, kerr.MessageTooLarge):
		return fmt.Errorf("a record is too large; raise the property max.request.size and the topic's max.message.bytes: %w", err)
	case errors.Is(err, kgo.ErrRecordTimeout):
		return fmt.Errorf("the brokers at %s did not take a record within delivery.timeout.ms: %w", s.o.BootstrapServers, err)
	}
	return s.topic.advice(err)
}

// PreCommit implements state.Sink. The state is nil if no transaction waits to be committed.
func (s *Sink) PreCommit(checkpoint uint64) ([]byte, error) {
	if err := s.preCommit(checkpoint); err != nil {
		return nil, fmt.Errorf("kafka: sink of topic %q: pre-commit %d: %w", s.o.Topic, checkpoint, err)
	}
	var all []transaction
	for _, p := range s.pending {
		all = append(all, p.transaction)
	}
	return encodeState(all), nil
}

func (s *Sink) preCommit(checkpoint uint64) error {
	if err := s.usable(); err != nil {
		return err
	}
	if n := len(s.pending); n > 0 && s.pending[n-1].Checkpoint >= checkpoint {
		return fmt.Errorf("the later checkpoint %d was pre-committed before", s.pending[n-1].Checkpoint)
	}
	s.last = max(s.last, checkpoint)
	if s.open == nil {
		return nil
	}
	if err := s.open.flush(s.ctx); err != nil {
		return s.writeAdvice(err)
	}
	if s.settings.exactly {
		s.open.Checkpoint = checkpoint
		s.pending, s.open = append(s.pending, s.open), nil
	}
	return nil
}

// Commit implements state.Sink. After an error, the other transactions are committed all the same.
func (s *Sink) Commit(checkpoint uint64) error {
	if err := s.usable(); err != nil {
		return fmt.Errorf("kafka: commit %d: %w", checkpoint, err)
	}
	for _, p := range s.idle { // they are ascending by free
		if checkpoint > p.free {
			p.free = 0
		}
	}
	var left []*producer
	var errs []error
	ctx, cancel := context.WithTimeout(s.ctx, s.settings.api)
	defer cancel()
	for _, p := range s.pending {
		if p.Checkpoint > checkpoint {
			left = append(left, p)
			continue
		}
		if err := s.commit(ctx, p); err != nil {
			errs, left = append(errs, fmt.Errorf("%v: %w", p.transaction, err)), append(left, p)
			continue
		}
		p.free = s.last
		s.idle = append(s.idle, p)
	}
	s.pending = left
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("kafka: sink of topic %q: commit %d: %w", s.o.Topic, checkpoint, err)
	}
	return nil
}

// commit ends one transaction. The client does not repeat a commit whose answer was lost; a request with the same producer id and epoch does.
func (s *Sink) commit(ctx context.Context, p *producer) error {
	err := p.commit(ctx)
	if err == nil {
		return nil
	}
	p.close()
	if _, settled := s.settle(ctx, p.transaction); settled != nil {
		return fmt.Errorf("%w; after: %w", settled, s.writeAdvice(err))
	}
	return nil
}

// Abort implements state.Sink. It does nothing.
func (s *Sink) Abort(uint64) {}

// Interrupt implements state.Interrupter.
func (s *Sink) Interrupt() { s.interrupt(errInterrupted) }

// Close implements state.Sink.
func (s *Sink) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	s.interrupt(errInterrupted)
	var err error
	if s.open != nil {
		err = s.open.discard()
	}
	for _, p := range slices.Concat(s.pending, s.idle) {
		p.close()
	}
	s.control.Close()
	if err != nil {
		return fmt.Errorf("kafka: close: %w", err)
	}
	return nil
}

func (s *Sink) usable() error {
	switch {
	case s.closed:
		return errors.New("the sink is closed")
	case !s.restored:
		return errors.New("the sink was not restored; call Restore first")
	}
	return nil
}
