package layout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/layout/storage"
)

// Probe is what the probe of Publish saw: that of two creators of one key exactly one won, and both read back what it wrote.
type Probe struct {
	// Rounds with two concurrent creators; in Decided of them one was told that it won and the other that it lost. (A lost reply
	// leaves a round undecided.)
	Rounds, Decided int
	Took            time.Duration
}

// String is for people.
func (p *Probe) String() string {
	return fmt.Sprintf("publish probed: %d of %d races with one winner, in %v", p.Decided, p.Rounds, p.Took.Round(time.Millisecond))
}

const (
	probeRounds   = 32
	probeParallel = 4
	// probeTries bounds how often a probe begins again because a neighbour removed it.
	probeTries = 5
	// probeSize is near that of a large journal entry, so that a store that shows parts has the time to do so.
	probeSize = 16 << 10
	// probePause is what a neighbour is given to finish a removal.
	probePause  = 200 * time.Millisecond
	probeCanary = "canary"
)

// errDisturbed: the probe's own canary is gone, so whatever the probe saw says nothing about the store.
var errDisturbed = errors.New("disturbed by another process that opened the root")

// removeStale removes the probes of earlier starts, and what they and a first start left unfinished. A neighbour that starts at this
// moment notices, and probes again.
func removeStale(ctx context.Context, s storage.Store, fresh bool) error {
	if err := removePrefix(ctx, s, ProbePrefix); err != nil {
		return err
	}
	everything := func(string) bool { return true }
	if _, err := s.AbortUnfinished(ctx, ProbePrefix, everything); err != nil {
		return err
	}
	if !fresh {
		return nil
	}
	_, err := s.AbortUnfinished(ctx, "", func(key string) bool { return key == RootMarkerKey })
	return err
}

func removePrefix(ctx context.Context, s storage.Store, prefix string) error {
	var keys []string
	for info, err := range s.List(ctx, prefix) {
		if err != nil {
			return err
		}
		keys = append(keys, info.Key)
	}
	if len(keys) == 0 {
		return nil
	}
	return errors.Join(s.Delete(ctx, keys)...)
}

// probePublish finds out whether the store keeps the one promise that all else stands on.
func probePublish(ctx context.Context, s storage.Store) (Probe, error) {
	start := time.Now()
	var err error
	for range probeTries {
		prefix := ProbePrefix + NewNonce() + "/"
		var p Probe
		p, err = probeOnce(ctx, s, prefix)
		// What cannot be removed now, the next start removes.
		_ = removePrefix(ctx, s, prefix)
		if err == nil {
			p.Took = time.Since(start)
			return p, nil
		}
		if !errors.Is(err, errDisturbed) {
			break
		}
	}
	return Probe{}, fmt.Errorf("probe of the store: %w", err)
}

func probeOnce(ctx context.Context, s storage.Store, prefix string) (Probe, error) {
	if err := s.Publish(ctx, prefix+probeCanary, []byte(probeCanary)); err != nil && !errors.Is(err, storage.ErrUnknown) {
		return Probe{}, err
	}
	p := Probe{Rounds: probeRounds}
	decided := make([]bool, probeRounds)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(probeParallel)
	for i := range probeRounds {
		g.Go(func() (err error) {
			decided[i], err = race(gctx, s, fmt.Sprintf("%s%02d", prefix, i))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return p, blame(ctx, s, prefix, err)
	}
	for _, d := range decided {
		if d {
			p.Decided++
		}
	}
	if p.Decided < probeRounds/2 {
		return p, fmt.Errorf("only %d of %d races were decided, the others had no answer: %w", p.Decided, p.Rounds, storage.ErrUnknown)
	}
	return p, nil
}

// blame tells a store that broke its promise from a neighbour that removed the probe meanwhile.
func blame(ctx context.Context, s storage.Store, prefix string, err error) error {
	if sleepErr := sleep(ctx, probePause); sleepErr != nil {
		return err
	}
	if _, statErr := s.Stat(ctx, prefix+probeCanary); errors.Is(statErr, storage.ErrNotFound) {
		return fmt.Errorf("%w: %w", errDisturbed, err)
	}
	return err
}

// creator is one side of a race: what it wrote, what it was told, and what it read afterwards.
type creator struct {
	data, seen   []byte
	err, readErr error
}

func (c *creator) run(ctx context.Context, s storage.Store, key string) {
	c.err = s.Publish(ctx, key, c.data)
	if c.err == nil || errors.Is(c.err, storage.ErrExists) {
		c.seen, c.readErr = readAll(ctx, s, key, probeSize+1)
	}
}

// won, or lost: it was told so for certain.
func (c *creator) won() bool  { return c.err == nil }
func (c *creator) lost() bool { return errors.Is(c.err, storage.ErrExists) }

// race lets two creators publish one key, and says whether the store decided for one.
func race(ctx context.Context, s storage.Store, key string) (decided bool, err error) {
	a := &creator{data: bytes.Repeat([]byte{'a'}, probeSize)}
	b := &creator{data: bytes.Repeat([]byte{'b'}, probeSize)}
	var start, done sync.WaitGroup
	start.Add(2)
	for _, c := range []*creator{a, b} {
		done.Go(func() {
			start.Done()
			start.Wait()
			c.run(ctx, s, key)
		})
	}
	done.Wait()
	if a.won() && b.won() {
		return false, fmt.Errorf("%w: two concurrent creators of one key, both told that they won", ErrUnfit)
	}
	for _, c := range []*creator{a, b} {
		if err := c.check(a, b); err != nil {
			return false, err
		}
	}
	return a.won() && b.lost() || a.lost() && b.won(), nil
}

// check judges one side: what it read must be the winner's, whole. One that does not know how it ended saw nothing.
func (c *creator) check(a, b *creator) error {
	switch {
	case errors.Is(c.err, storage.ErrUnknown):
		return nil
	case !c.won() && !c.lost():
		return c.err
	case errors.Is(c.readErr, storage.ErrNotFound):
		return fmt.Errorf("%w: an object that was there is not found: %w", ErrUnfit, c.readErr)
	case c.readErr != nil:
		return c.readErr
	case !bytes.Equal(c.seen, a.data) && !bytes.Equal(c.seen, b.data):
		return fmt.Errorf("%w: a reader saw a part of an object", ErrUnfit)
	case a.won() && !bytes.Equal(c.seen, a.data), b.won() && !bytes.Equal(c.seen, b.data):
		return fmt.Errorf("%w: a creator was told that it won, but the object is the other's", ErrUnfit)
	}
	return nil
}
