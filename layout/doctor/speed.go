package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

const (
	// measureTime bounds each measurement; operations that run at its end still count.
	measureTime = 700 * time.Millisecond
	smallObject = 16 << 10
	pieceSize   = 1 << 20
	// slowCommit is the time of one Publish that users notice: a commit takes several such requests in a row.
	slowCommit = 500 * time.Millisecond
)

// speed measures what checkpoints do most: small and large objects, in and out.
func (e *exam) speed(ctx context.Context) {
	small, large, largeSize := 100, 8, 16<<20
	if e.o.Quick {
		small, large, largeSize = 20, 2, 4<<20
	}
	data := pattern(smallObject)
	names := func(kind string) func(i int) string {
		return func(i int) string { return fmt.Sprintf("%s-%03d", kind, i) }
	}
	entry, one, big := names("entry"), names("small"), names("large")
	piece := pattern(pieceSize)
	pieces := slices.Repeat([][]byte{piece}, largeSize/pieceSize)
	whole := slices.Concat(pieces...)
	largeOpts := known(whole)
	var before error
	measure := func(operation string, size, count, atOnce int, do func(i int) error) int {
		if before != nil || ctx.Err() != nil {
			return 0
		}
		e.say("measuring: " + operation)
		var n int
		if n, before = e.measure(ctx, operation, size, count, atOnce, do); before != nil && ctx.Err() == nil {
			e.trouble("speed", fmt.Errorf("%s: %w", operation, before), "Run doctor again.")
		}
		return n
	}
	measure("publish", smallObject, small, 1, func(i int) error { return e.publish(e.key(entry(i)), data) })
	n := measure("create", smallObject, small, 1, func(i int) error { return e.create(ctx, e.key(one(i)), known(data), data) })
	if n > 0 {
		at := func(i int) string { return e.prefix + one(i%n) }
		measure("stat", 0, small, 1, func(i int) error { _, err := e.store.Stat(e.ops, at(i)); return err })
		measure("read", smallObject, small, 1, func(i int) error { _, err := e.read(at(i), 0, smallObject); return err })
	}
	measure("list", 0, small/5, 1, func(int) error { _, err := list(e.ops, e.store, e.prefix); return err })
	measure("create", smallObject, 2*small, 16, func(i int) error { return e.create(ctx, e.key(one(small+i)), known(data), data) })
	n = measure("create", largeSize, large, 4, func(i int) error { return e.create(ctx, e.key(big(i)), largeOpts, pieces...) })
	if n > 0 {
		measure("read", largeSize, large, 4, func(i int) error { _, err := e.read(e.prefix+big(i%n), 0, int64(largeSize)); return err })
	}
	measure("delete", 0, small/2, 1, func(i int) error { return e.delete(e.prefix + one(i)) })
	e.judgeSpeed(before)
}

func (e *exam) judgeSpeed(failed error) {
	if failed != nil || len(e.report.GetMeasurements()) == 0 {
		return
	}
	publish := e.report.GetMeasurements()[0]
	p50 := publish.GetP50().AsDuration()
	seen := fmt.Sprintf("a journal entry takes %v", p50.Round(10*time.Microsecond))
	if p50 > slowCommit {
		e.add("speed", ckptdv1.Result_RESULT_WARNING, seen,
			"Checkpoints take at least three times that: choose a store nearer to the daemon, or a longer interval.")
		return
	}
	e.ok("speed", seen)
}

// measure calls do for i from 0 to count-1, atOnce at a time, for measureTime at most, and adds a measurement. It
// returns the number of calls that were made.
func (e *exam) measure(ctx context.Context, operation string, size, count, atOnce int, do func(i int) error) (int, error) {
	var (
		mu   sync.Mutex
		took []time.Duration
		next atomic.Int64
	)
	all, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	for range atOnce {
		all.Go(func() error {
			for ctx.Err() == nil && (time.Since(start) < measureTime || next.Load() == 0) {
				i := int(next.Add(1)) - 1
				if i >= count {
					return nil
				}
				began := time.Now()
				err := do(i)
				mu.Lock()
				took = append(took, time.Since(began))
				mu.Unlock()
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	failed := all.Wait()
	total := time.Since(start)
	if failed != nil || len(took) == 0 {
		return 0, failed
	}
	slices.Sort(took)
	m := &ckptdv1.Measurement{
		Operation: operation, ObjectBytes: uint64(size), Count: uint32(len(took)), AtOnce: uint32(atOnce),
		P50: durationpb.New(took[len(took)/2]), P99: durationpb.New(took[len(took)*99/100]),
	}
	if size > 0 {
		m.BytesPerSecond = float64(size) * float64(len(took)) / total.Seconds()
	}
	e.report.Measurements = append(e.report.Measurements, m)
	return len(took), nil
}

// onlyRead runs the checks that do not write: the listing, and reading one of the objects that are there.
func (e *exam) onlyRead(ctx context.Context) {
	const small, looked = 16 << 20, 1000
	e.say("reading what is there")
	var sample storage.Info
	n := 0
	for info, err := range e.store.List(e.ops, "") {
		if err != nil {
			e.trouble("list", err, e.permission("list"))
			return
		}
		if n++; info.Size <= small && (sample.Key == "" || info.Size > sample.Size) {
			sample = info
		}
		if n >= looked || ctx.Err() != nil {
			break
		}
	}
	e.ok("list", plural(n, "object")+" looked at")
	if sample.Key == "" {
		e.add("read", ckptdv1.Result_RESULT_NOT_EXAMINED, "no small object is there to be read", "")
		return
	}
	e.readSample(sample)
}

// readSample examines an object that was listed.
func (e *exam) readSample(sample storage.Info) {
	if info, err := e.store.Stat(e.ops, sample.Key); err != nil {
		e.sampleTrouble("stat", err)
	} else if info.Size != sample.Size {
		e.sampleWrong("stat", fmt.Sprintf("a list says %d bytes, stat says %d", sample.Size, info.Size))
	} else {
		e.ok("stat", "")
	}
	whole, err := e.read(sample.Key, 0, -1)
	if err == nil {
		var part []byte
		half := int64(len(whole) / 2)
		if part, err = e.read(sample.Key, half, int64(len(whole))-half); err == nil && string(part) != string(whole[half:]) {
			e.sampleWrong("range", "a range of an object is not what the whole holds there")
			return
		}
	}
	if err != nil {
		e.sampleTrouble("read", err)
		return
	}
	e.ok("read", fmt.Sprintf("%d bytes, whole and in part", len(whole)))
}

// sampleTrouble adds a finding for the error of an object that another program made. It may have been deleted
// meanwhile. A foreign object may also be a link, a pipe, or readable only by its owner.
func (e *exam) sampleTrouble(check string, err error) {
	if e.foreign || errors.Is(err, storage.ErrNotFound) {
		e.add(check, ckptdv1.Result_RESULT_NOT_EXAMINED, err.Error(), "")
		return
	}
	e.trouble(check, err, e.permission(check))
}

// sampleWrong adds a finding that no fit store causes for ckptd's objects, which never change. Foreign objects may
// change, or be links.
func (e *exam) sampleWrong(check, seen string) {
	if e.foreign {
		e.add(check, ckptdv1.Result_RESULT_NOT_EXAMINED, seen+": it changes, or is a link", "")
		return
	}
	e.add(check, ckptdv1.Result_RESULT_UNFIT, seen, Advice)
}
