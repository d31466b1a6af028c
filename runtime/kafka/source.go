package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ckptd/ckptd/runtime/state"
)

// Source implements state.Source, and the optional interfaces of its package.
type Source struct {
	o        SourceOptions
	subtask  Subtask
	settings sourceSettings
	// control sends requests; fetcher reads. fetcher is nil until Next is called, and without partitions.
	control, fetcher *kgo.Client
	topic            topic
	id               string // of the topic
	// reading is the state: the partitions, with the offsets of their next records.
	reading reading
	// open is the number of partitions that a bounded source still reads.
	open int
	// placed: the partitions are known, from the start or from Seek; started: they are being read.
	placed, started bool
	batch           kgo.FetchesRecordIter
	records         atomic.Uint64
	failed          error
	closed          bool

	ctx       context.Context // of all requests; Interrupt and Close end it
	interrupt context.CancelCauseFunc
	wg        sync.WaitGroup
	// found are the new partitions, with their first offsets. endDiscovery ends the search for them.
	found        chan map[int32]int64
	endDiscovery func()
	group        groupOffsets
}

var (
	_ state.Source      = (*Source)(nil)
	_ state.Committed   = (*Source)(nil)
	_ state.Interrupter = (*Source)(nil)
)

var errInterrupted = errors.New("the attempt has ended")

// OpenSource connects to the brokers. Without a restored checkpoint it fixes where each partition begins.
func OpenSource(ctx context.Context, o SourceOptions, subtask Subtask) (*Source, error) {
	settings, err := o.client()
	if err != nil {
		return nil, err
	}
	if subtask.Parallelism < 1 || subtask.Index < 0 || subtask.Index >= subtask.Parallelism {
		return nil, fmt.Errorf("kafka: source of topic %q: subtask %d of %d", o.Topic, subtask.Index, subtask.Parallelism)
	}
	client, err := kgo.NewClient(settings.opts...)
	if err != nil {
		return nil, fmt.Errorf("kafka: source of topic %q: %w", o.Topic, err)
	}
	s := &Source{o: o, subtask: subtask, settings: settings, control: client, found: make(chan map[int32]int64)}
	s.topic = topic{admin: kadm.NewClient(client), name: o.Topic, servers: o.BootstrapServers}
	s.ctx, s.interrupt = context.WithCancelCause(context.WithoutCancel(ctx))
	s.group = groupOffsets{topic: s.topic, group: o.Group, idle: make(chan struct{}, 1)}
	stop := context.AfterFunc(ctx, func() { s.interrupt(context.Cause(ctx)) })
	defer stop()
	if err := s.begin(); err != nil {
		return nil, errors.Join(fmt.Errorf("kafka: source of topic %q: %w", o.Topic, err), s.Close())
	}
	return s, nil
}

// limited bounds requests that somebody waits for.
func (s *Source) limited() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.ctx, s.settings.api)
}

func (s *Source) begin() error {
	ctx, cancel := s.limited()
	defer cancel()
	own, id, err := s.topic.partitions(ctx, s.subtask.Index, s.subtask.Parallelism)
	if err != nil {
		return err
	}
	s.id = id
	if s.subtask.Restored != 0 {
		return nil // Seek follows
	}
	from, err := s.topic.beginnings(ctx, s.o, own)
	if err != nil {
		return err
	}
	var ends map[int32]int64
	if s.o.Bounded {
		list := s.topic.admin.ListEndOffsets
		if s.settings.committed {
			list = s.topic.admin.ListCommittedOffsets
		}
		if ends, err = s.topic.offsets(ctx, list); err != nil {
			return err
		}
	}
	s.reading = reading{}
	for _, n := range own {
		at, ok := from[n]
		if !ok {
			return fmt.Errorf("the brokers name no offset for partition %d", n)
		}
		s.reading[n] = &partitionOffset{Partition: n, Next: at, End: -1}
		if s.o.Bounded {
			s.reading[n].End = ends[n]
		}
	}
	s.placed = true
	return nil
}

// Seek implements state.Source. It may be called at any time.
func (s *Source) Seek(saved []byte) error {
	if err := s.seek(saved); err != nil {
		return fmt.Errorf("kafka: seek in topic %q: %w", s.o.Topic, err)
	}
	return nil
}

func (s *Source) seek(saved []byte) error {
	p, err := decodePosition(saved)
	if err != nil {
		return err
	}
	if err := p.fits(s.place()); err != nil {
		return err
	}
	ctx, cancel := s.limited()
	defer cancel()
	own, _, err := s.topic.partitions(ctx, s.subtask.Index, s.subtask.Parallelism)
	if err != nil {
		return err
	}
	first, err := s.topic.offsets(ctx, s.topic.admin.ListStartOffsets)
	if err != nil {
		return err
	}
	to, bounded := reading{}, false
	for _, one := range p.Partitions {
		bounded = bounded || one.End >= 0
		if _, ok := first[one.Partition]; !ok {
			return fmt.Errorf("partition %d no longer exists; begin without the checkpoint", one.Partition)
		}
		if one.Next < first[one.Partition] && one.Next != one.End {
			if one.Next, err = s.lost(ctx, one, first[one.Partition]); err != nil {
				return err
			}
		}
		to[one.Partition] = &one
	}
	for _, n := range own {
		if to[n] == nil && !bounded { // it was created after the checkpoint
			to[n] = &partitionOffset{Partition: n, Next: first[n], End: -1}
		}
	}
	s.stopFetching()
	s.reading, s.placed = to, true
	s.records.Store(p.Records)
	return nil
}

// lost returns where to continue when the next record was deleted, or an error that says what to do.
func (s *Source) lost(ctx context.Context, one partitionOffset, first int64) (int64, error) {
	switch s.o.OffsetReset {
	case "earliest":
		return first, nil
	case "latest":
		ends, err := s.topic.offsets(ctx, s.topic.admin.ListEndOffsets)
		return ends[one.Partition], err
	}
	return 0, fmt.Errorf("partition %d: the next record has offset %d, and the log now begins at %d: retention deleted records before they were read; "+
		"raise retention.ms of the topic, and set offset-reset to earliest (or latest) to go on without these records", one.Partition, one.Next, first)
}

// place is the position without partitions.
func (s *Source) place() position {
	return position{Topic: s.o.Topic, TopicID: s.id, Index: s.subtask.Index, Parallelism: s.subtask.Parallelism}
}

// Position implements state.Source.
func (s *Source) Position() []byte {
	p := s.place()
	p.Partitions, p.Records = s.reading.sorted(), s.records.Load()
	return p.encode()
}

// Progress implements state.Source.
func (s *Source) Progress() state.Progress { return state.Progress{Records: s.records.Load()} }

// Committed implements state.Committed: the group gets the offsets, in the background.
func (s *Source) Committed(checkpoint uint64, saved []byte) error {
	if s.o.Group == "" || s.closed {
		return nil
	}
	p, err := decodePosition(saved)
	if err == nil {
		err = s.group.commit(s.ctx, &s.wg, s.settings.api, p.Partitions)
	}
	if err != nil {
		return fmt.Errorf("kafka: commit offsets of checkpoint %d or before to group %q: %w", checkpoint, s.o.Group, err)
	}
	return nil
}

// Interrupt implements state.Interrupter.
func (s *Source) Interrupt() { s.interrupt(errInterrupted) }

// Close implements state.Source.
func (s *Source) Close() error {
	if !s.closed {
		s.closed = true
		s.group.finish(s.ctx)
		s.interrupt(errInterrupted)
		s.wg.Wait()
		s.control.Close()
		if s.fetcher != nil {
			s.fetcher.Close()
		}
	}
	return nil
}

// Next implements state.Source.
func (s *Source) Next(rec *state.Record) (state.Readiness, error) {
	if !s.started {
		if err := s.start(); err != nil {
			return state.NotNow, fmt.Errorf("kafka: read topic %q: %w", s.o.Topic, err)
		}
	}
	for {
		for !s.batch.Done() {
			if r := s.batch.Next(); s.take(r) {
				rec.Key, rec.Value = r.Key, r.Value
				return state.Ready, nil
			}
		}
		if s.o.Bounded && s.open == 0 {
			return state.End, nil
		}
		if more, err := s.poll(); err != nil {
			s.failed = fmt.Errorf("kafka: read topic %q: %w", s.o.Topic, err)
			return state.NotNow, s.failed
		} else if !more {
			return state.NotNow, nil
		}
	}
}

// take moves past a record, and reports whether it is one for the stream.
func (s *Source) take(r *kgo.Record) bool {
	p := s.reading[r.Partition]
	if p == nil || r.Offset < p.Next || p.End >= 0 && p.Next >= p.End {
		return false
	}
	within := p.End < 0 || r.Offset < p.End
	if p.Next = r.Offset + 1; !within {
		p.Next = p.End // the last records before the end were deleted, or belong to no reader
	}
	if p.End >= 0 && p.Next >= p.End {
		s.open--
		s.fetcher.PauseFetchPartitions(map[string][]int32{s.o.Topic: {r.Partition}})
	}
	if !within || r.Attrs.IsControl() {
		return false
	}
	s.records.Add(1)
	return true
}

// maxPoll bounds the records of one poll, so that a barrier need not wait for the memory of many.
const maxPoll = 4096

// poll gets the next batch; it waits for less than state.MaxWait.
func (s *Source) poll() (more bool, err error) {
	if s.failed != nil {
		return false, s.failed
	}
	select {
	case added := <-s.found:
		if err := s.add(added); err != nil {
			return false, err
		}
	default:
	}
	fetches := s.fetch()
	if cause := context.Cause(s.ctx); cause != nil {
		return false, cause
	}
	fetches.EachError(func(_ string, n int32, fetchErr error) {
		if err == nil && !errors.Is(fetchErr, context.DeadlineExceeded) {
			err = s.fetchError(n, fetchErr)
		}
	})
	s.batch = *fetches.RecordIter()
	return !s.batch.Done(), err
}

// fetch returns what was read, and waits a little if nothing was.
func (s *Source) fetch() kgo.Fetches {
	const wait = state.MaxWait * time.Millisecond / 2
	if s.fetcher == nil {
		select {
		case <-time.After(wait):
		case <-s.ctx.Done():
		}
		return nil
	}
	var dontWait context.Context // nil: PollRecords returns what is there
	if fetches := s.fetcher.PollRecords(dontWait, maxPoll); len(fetches) > 0 {
		return fetches
	}
	ctx, cancel := context.WithTimeout(s.ctx, wait)
	defer cancel()
	return s.fetcher.PollRecords(ctx, maxPoll)
}

// fetchError says what an error of the client means. nil: nothing was lost.
func (s *Source) fetchError(n int32, err error) error {
	p := s.reading[n]
	lost := errors.Is(err, kerr.OffsetOutOfRange)
	if _, is := errors.AsType[*kgo.ErrDataLoss](err); is {
		lost = true
	}
	if !lost || p == nil {
		return s.topic.advice(err)
	}
	if s.o.OffsetReset != "" && s.o.OffsetReset != "none" {
		return nil // the client continues there
	}
	ctx, cancel := s.limited()
	defer cancel()
	first, listErr := s.topic.offsets(ctx, s.topic.admin.ListStartOffsets)
	if listErr != nil || first[n] <= p.Next {
		return fmt.Errorf("partition %d has lost the record at offset %d: the brokers lost data; set offset-reset to earliest or latest to go on: %w", n, p.Next, err)
	}
	_, err = s.lost(ctx, *p, first[n])
	return err
}
