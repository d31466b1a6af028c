package layout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/layout/storage"
)

// Probe is what the probe of the store saw. Two creators competed for each key. Both had seen that the key was free;
// exactly one won, and both then read what the winner wrote. A list that began later showed all keys, and the keys
// could be deleted.
type Probe struct {
	// Rounds is the number of races. Decided counts the races with a known winner: one creator was told that it won and
	// the other that it lost, or both learned the winner by reading. A lost reply leaves a race undecided.
	Rounds, Decided int
	Took            time.Duration
	// Removed is the number of objects that killed starts and examinations had left.
	Removed int
	// Kept says why it is not known whether the store deletes objects; nil: the store does.
	Kept error
}

// String formats the probe for the start-up line.
func (p *Probe) String() string {
	text := fmt.Sprintf("publish probed: %d of %d races with one winner, in %v", p.Decided, p.Rounds, p.Took.Round(time.Millisecond))
	if p.Removed > 0 {
		text += fmt.Sprintf(", removed what killed ones left: %d", p.Removed)
	}
	if p.Kept != nil {
		text += fmt.Sprintf("; WARNING: it is not known whether the store deletes anything: %v", p.Kept)
	}
	return text
}

const (
	probeRounds   = 32
	probeParallel = 4
	// probeTries bounds how often a probe begins again because another process removed its objects.
	probeTries = 5
	// probeSize is about the size of a large journal entry, so that a store that shows parts has the time to do so.
	probeSize = 16 << 10
	// probePause is the time that another process gets to finish a removal.
	probePause  = 200 * time.Millisecond
	probeCanary = "canary"
	// opTries is how often an operation is tried that had no answer, or did not do what it reported.
	opTries = 3
)

// The promises that an unfit store breaks. They are in the chain beside ErrUnfit, for advice.
var (
	// ErrDeleteRefused: the store refuses to delete.
	ErrDeleteRefused = errors.New("the store refuses to delete")
	// ErrDeleteIgnored: the store says that it deleted objects that are still there.
	ErrDeleteIgnored = errors.New("the store ignores deletes")
	// ErrStale: the store shows an earlier state, or a part of an object.
	ErrStale = errors.New("the store does not show what is there")
)

// A brokenPromise is an ErrUnfit with one of the errors above in its chain. Its text does not repeat that error.
type brokenPromise struct{ promise, err error }

func (b *brokenPromise) Error() string   { return b.err.Error() }
func (b *brokenPromise) Unwrap() []error { return []error{b.promise, b.err} }

func broke(promise error, format string, args ...any) error {
	return &brokenPromise{promise, fmt.Errorf("%w: %w", ErrUnfit, fmt.Errorf(format, args...))}
}

// errDisturbed: the probe's canary is gone, so nothing that the probe saw says anything about the store.
var errDisturbed = errors.New("disturbed by another process that opened the root")

// removeStale removes the probes and proofs of earlier starts and commands, and their unfinished uploads. A process that is
// probing at this moment notices the removal and probes again. Proofs of calls that may still be under way stay.
func removeStale(ctx context.Context, s storage.Store, fresh bool) (removed int, err error) {
	if removed, err = removeProbes(ctx, s); isOpen(err) && ctx.Err() == nil {
		removed = 0 // the probe's own objects show whether this store deletes
	} else if err != nil {
		return removed, err
	}
	everything := func(string) bool { return true } // ProveRoot tries again
	if _, err := s.AbortUnfinished(ctx, ProbePrefix, everything); err != nil {
		return removed, err
	}
	if !fresh {
		return removed, nil
	}
	_, err = s.AbortUnfinished(ctx, "", func(key string) bool { return key == RootMarkerKey })
	return removed, err
}

// removeProbes removes what lies below ProbePrefix, but for the proofs of ProveRoot that are younger than proofAge. The
// store's clock decides, so a proof is written for that if others are there.
func removeProbes(ctx context.Context, s storage.Store) (int, error) {
	var stale []string
	proofs := map[string]time.Time{}
	for info, err := range s.List(ctx, ProbePrefix) {
		switch {
		case err != nil:
			return 0, err
		case isProof(info.Key):
			proofs[info.Key] = info.ModTime
		default:
			stale = append(stale, info.Key)
		}
	}
	if len(proofs) > 0 {
		now, err := StoreTime(ctx, s) // if it is not known, the proofs stay
		for key, at := range proofs {
			if err == nil && now.Sub(at) > proofAge {
				stale = append(stale, key)
			}
		}
	}
	return removeKeys(ctx, s, stale)
}

func removePrefix(ctx context.Context, s storage.Store, prefix string) (removed int, err error) {
	listed, err := listKeys(ctx, s, prefix)
	if err != nil {
		return 0, err
	}
	return removeKeys(ctx, s, slices.Collect(maps.Keys(listed)))
}

func removeKeys(ctx context.Context, s storage.Store, keys []string) (removed int, err error) {
	if len(keys) == 0 {
		return 0, nil
	}
	slices.Sort(keys)
	for i, err := range s.Delete(ctx, keys) {
		if err != nil {
			return len(keys), notDeleted(ctx, s, keys[i], err)
		}
	}
	return len(keys), nil
}

// notDeleted adds ErrDeleteRefused to the error of a delete if the store refused it and the object is still there.
func notDeleted(ctx context.Context, s storage.Store, key string, err error) error {
	if isOpen(err) || ctx.Err() != nil {
		return err
	}
	if _, statErr := s.Stat(ctx, key); statErr != nil {
		return err
	}
	return broke(ErrDeleteRefused, "what was written cannot be deleted again: %w", err)
}

// isOpen reports whether an error leaves open what a mutation did.
func isOpen(err error) bool {
	return errors.Is(err, storage.ErrUnknown) || errors.Is(err, storage.ErrThrottled)
}

// removeProbe removes a probe and checks that it is gone; this is also the probe of deletes. The error is ErrUnfit if
// the store certainly does not delete. Any other error leaves the question open, and the next start removes what is
// left.
func removeProbe(ctx context.Context, s storage.Store, prefix string) error {
	var err error
	ignored := 0
	for range opTries {
		_, err = removePrefix(ctx, s, prefix)
		if errors.Is(err, ErrUnfit) {
			return err
		}
		left, listErr := listKeys(ctx, s, prefix)
		switch {
		case listErr != nil:
			err = errors.Join(err, listErr)
		case len(left) == 0:
			return nil
		case err == nil:
			ignored++
			err = broke(ErrDeleteIgnored, "%d objects are still there after they were deleted, as the store said", len(left))
		}
		if sleep(ctx, probePause) != nil {
			break
		}
	}
	if errors.Is(err, ErrUnfit) && ignored < 2 {
		return fmt.Errorf("%w: once, objects were still there after they were deleted", storage.ErrUnknown)
	}
	return err
}

func listKeys(ctx context.Context, s storage.Store, prefix string) (keys map[string]bool, err error) {
	keys = map[string]bool{}
	for info, err := range s.List(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		keys[info.Key] = true
	}
	return keys, nil
}

// probePublish finds out whether the store keeps the promises that everything else depends on.
func probePublish(ctx context.Context, s storage.Store) (Probe, error) {
	start := time.Now()
	var err error
	for range probeTries {
		prefix := ProbePrefix + NewNonce() + "/"
		var p Probe
		p, err = probeOnce(ctx, s, prefix)
		if err != nil {
			_, _ = removePrefix(ctx, s, prefix) // the next start removes what is left
		} else if p.Kept = removeProbe(ctx, s, prefix); errors.Is(p.Kept, ErrUnfit) || ctx.Err() != nil {
			err = p.Kept
		}
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
	if err := publishCanary(ctx, s, prefix+probeCanary); err != nil {
		return Probe{}, err
	}
	// A store may remember this list; the later list must show the new keys all the same.
	if _, err := listKeys(ctx, s, prefix); err != nil {
		return Probe{}, err
	}
	p := Probe{Rounds: probeRounds}
	results := make([]result, probeRounds)
	key := func(i int) string { return fmt.Sprintf("%s%02d", prefix, i) }
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(probeParallel)
	for i := range probeRounds {
		g.Go(func() (err error) {
			results[i], err = race(gctx, s, key(i))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return p, blame(ctx, s, prefix, err)
	}
	listed, err := listKeys(ctx, s, prefix)
	if err != nil {
		return p, err
	}
	for i, r := range results {
		if r.there && !listed[key(i)] {
			return p, blame(ctx, s, prefix, broke(ErrStale, "a list that began after a write does not show the object"))
		}
		if r.decided {
			p.Decided++
		}
	}
	if p.Decided < probeRounds/2 {
		return p, fmt.Errorf("only %d of %d races were decided, the others had no answer: %w", p.Decided, p.Rounds, storage.ErrUnknown)
	}
	return p, nil
}

// publishCanary publishes the object that shows whether another process has removed the probe. No other process
// writes this text. If the key is taken by it, our request was carried out twice, or its reply was lost. If no reply
// comes at all, the races decide.
func publishCanary(ctx context.Context, s storage.Store, key string) error {
	data := []byte(key)
	for range opTries {
		err := s.Publish(ctx, key, data)
		if errors.Is(err, storage.ErrExists) {
			seen, readErr := readAll(ctx, s, key, int64(len(data))+1)
			switch {
			case errors.Is(readErr, storage.ErrNotFound):
				return fmt.Errorf("%w: %w", errDisturbed, err)
			case readErr != nil:
				return readErr
			case bytes.Equal(seen, data):
				return nil
			}
		}
		if !errors.Is(err, storage.ErrUnknown) {
			return err
		}
		if sleepErr := sleep(ctx, probePause); sleepErr != nil {
			return err
		}
	}
	return nil
}

// blame decides whether an error is the store's fault, or comes from another process that removed the probe
// meanwhile.
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

// look checks that the key is free. A store may remember that; later reads must show the object all the same.
func (c *creator) look(ctx context.Context, s storage.Store, key string) {
	_, _ = s.Stat(ctx, key) // only the later reads count
}

func (c *creator) run(ctx context.Context, s storage.Store, key string) {
	c.err = s.Publish(ctx, key, c.data)
	if c.err == nil || errors.Is(c.err, storage.ErrExists) {
		c.seen, c.readErr = readAll(ctx, s, key, probeSize+1)
	}
}

// won and lost report that the creator was told its outcome for certain.
func (c *creator) won() bool  { return c.err == nil }
func (c *creator) lost() bool { return errors.Is(c.err, storage.ErrExists) }

// knows reports that the creator read the object after it was told the outcome.
func (c *creator) knows() bool { return (c.won() || c.lost()) && c.readErr == nil }

// A result of a race. decided: the store decided for one creator. there: the object exists.
type result struct{ decided, there bool }

// race lets two creators publish one key.
func race(ctx context.Context, s storage.Store, key string) (result, error) {
	a := &creator{data: bytes.Repeat([]byte{'a'}, probeSize)}
	b := &creator{data: bytes.Repeat([]byte{'b'}, probeSize)}
	var start, done sync.WaitGroup
	start.Add(2)
	for _, c := range []*creator{a, b} {
		done.Go(func() {
			c.look(ctx, s, key)
			start.Done()
			start.Wait()
			c.run(ctx, s, key)
		})
	}
	done.Wait()
	if a.won() && b.won() {
		return result{}, fmt.Errorf("%w: two concurrent creators of one key, both told that they won", ErrUnfit)
	}
	for _, c := range []*creator{a, b} {
		if err := c.check(a, b); err != nil {
			return result{}, err
		}
	}
	if a.knows() && b.knows() && !bytes.Equal(a.seen, b.seen) {
		return result{}, broke(ErrStale, "an object changed after it was there")
	}
	return result{
		// If a request was carried out twice, the winner is told that it lost. Then the race is decided if both read
		// the same.
		decided: a.won() && b.lost() || a.lost() && b.won() || a.lost() && b.lost() && a.knows() && b.knows(),
		there:   a.won() || a.lost() || b.won() || b.lost(),
	}, nil
}

// check judges one side: it must have read the winner's whole object. A side of unknown outcome read nothing.
func (c *creator) check(a, b *creator) error {
	switch {
	case errors.Is(c.err, storage.ErrUnknown):
		return nil
	case !c.won() && !c.lost():
		return c.err
	case errors.Is(c.readErr, storage.ErrNotFound):
		return broke(ErrStale, "an object that was there is not found right after it was written: %w", c.readErr)
	case c.readErr != nil:
		return c.readErr
	case !bytes.Equal(c.seen, a.data) && !bytes.Equal(c.seen, b.data):
		if len(c.seen) == probeSize {
			return broke(ErrStale, "a reader saw other bytes than were written")
		}
		return broke(ErrStale, "a reader saw a part of an object")
	case a.won() && !bytes.Equal(c.seen, a.data), b.won() && !bytes.Equal(c.seen, b.data):
		return fmt.Errorf("%w: a creator was told that it won, but the object is the other's", ErrUnfit)
	}
	return nil
}
