package kafka

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// start begins to read.
func (s *Source) start() error {
	switch {
	case s.closed:
		return errors.New("the source is closed")
	case !s.placed:
		return errors.New("the attempt restores a checkpoint; call Seek first")
	}
	from := map[int32]kgo.Offset{}
	known := make([]int32, 0, len(s.reading))
	for n, p := range s.reading {
		known = append(known, n)
		if p.End < 0 || p.Next < p.End {
			from[n] = kgo.NewOffset().At(p.Next)
		}
	}
	if err := s.read(from); err != nil {
		return err
	}
	s.open, s.started = len(from), true
	if !s.o.Bounded && s.settings.discovery > 0 {
		ctx, end := context.WithCancel(s.ctx)
		done := make(chan struct{})
		s.endDiscovery = func() { end(); <-done }
		s.wg.Go(func() { defer close(done); s.discover(ctx, known) })
	}
	return nil
}

// read makes the fetcher read more partitions.
func (s *Source) read(from map[int32]kgo.Offset) (err error) {
	all := map[string]map[int32]kgo.Offset{s.o.Topic: from}
	switch {
	case len(from) == 0:
	case s.fetcher != nil:
		s.fetcher.AddConsumePartitions(all)
	default:
		reset := kgo.NoResetOffset()
		switch s.o.OffsetReset {
		case "earliest":
			reset = kgo.NewOffset().AtStart()
		case "latest":
			reset = kgo.NewOffset().AtEnd()
		}
		s.fetcher, err = kgo.NewClient(slices.Concat(s.settings.opts, []kgo.Opt{kgo.ConsumeResetOffset(reset), kgo.ConsumePartitions(all)})...)
	}
	return err
}

// stopFetching forgets what was fetched; the next Next begins to read again.
func (s *Source) stopFetching() {
	if s.endDiscovery != nil {
		s.endDiscovery()
		s.endDiscovery = nil
	}
	if s.fetcher != nil {
		s.fetcher.Close()
	}
	s.fetcher, s.started, s.failed, s.batch = nil, false, nil, kgo.FetchesRecordIter{}
}

// discover looks for new partitions until ctx ends.
func (s *Source) discover(ctx context.Context, known []int32) {
	tick := time.NewTicker(s.settings.discovery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		added, err := s.unknown(ctx, known)
		if err != nil || len(added) == 0 {
			continue // Next reports errors of the brokers; the next tick asks again
		}
		select {
		case s.found <- added:
		case <-ctx.Done():
			return
		}
		for n := range added {
			known = append(known, n)
		}
	}
}

// unknown returns the partitions that are new, with their first offsets.
func (s *Source) unknown(ctx context.Context, known []int32) (map[int32]int64, error) {
	own, _, err := s.topic.partitions(ctx, s.subtask.Index, s.subtask.Parallelism)
	own = slices.DeleteFunc(own, func(n int32) bool { return slices.Contains(known, n) })
	if err != nil || len(own) == 0 {
		return nil, err
	}
	first, err := s.topic.offsets(ctx, s.topic.admin.ListStartOffsets)
	if err != nil {
		return nil, err
	}
	added := map[int32]int64{}
	for _, n := range own {
		if at, ok := first[n]; ok {
			added[n] = at
		}
	}
	return added, nil
}

// add begins to read new partitions.
func (s *Source) add(added map[int32]int64) error {
	from := map[int32]kgo.Offset{}
	for n, at := range added {
		s.reading[n] = &partitionOffset{Partition: n, Next: at, End: -1}
		from[n] = kgo.NewOffset().At(at)
	}
	return s.read(from)
}
