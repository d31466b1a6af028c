package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// canary is the first object of an examination. While it is there, nobody has removed the examination's objects behind its back.
const canary = "canary"

// unfinishedSize makes stores with multipart uploads begin one.
const unfinishedSize = 9 << 20

// permissions tries every operation once, one by one. It reports whether the examination can go on.
func (e *exam) permissions(ctx context.Context) bool {
	e.say("trying each operation")
	text := []byte("ckptd doctor was here; whoever finds this may delete it\n")
	before := time.Now()
	if err := e.publish(e.key(canary), text); err != nil {
		e.refused("publish", err)
		e.skip("stat", "read", "range", "list", "create", "delete", "abort unfinished", "publish races")
		return false
	}
	after := time.Now()
	e.ok("publish", "")
	steps := []struct {
		name string
		try  func() error
	}{
		{"stat", func() error { return e.tryStat(before, after, int64(len(text))) }},
		{"read", func() error { return e.tryRead(0, -1, text) }},
		{"range", func() error { return e.tryRead(6, 6, text[6:12]) }},
		{"list", e.tryList},
		{"create", func() error { return e.create(ctx, e.key("created"), storage.CreateOptions{}, text) }},
		{"delete", e.tryDelete},
		{"abort unfinished", func() error { return e.tryAbort(ctx) }},
	}
	// Whether unfinished uploads can be given up says nothing about all else.
	good := true
	stands := func(step string) bool { return step == "abort unfinished" && good }
	for _, step := range steps {
		if ctx.Err() != nil {
			return false
		}
		switch err := step.try(); {
		case err == nil:
			e.ok(step.name, "")
		case errors.Is(err, errSeen):
			good = stands(step.name)
			e.add(step.name, ckptdv1.Result_RESULT_UNFIT, err.Error(), Advice)
		default:
			good = stands(step.name)
			e.refused(step.name, err)
		}
	}
	return good
}

// refused notes an operation that a store does not let ckptd do, or does not have.
func (e *exam) refused(operation string, err error) {
	if errors.Is(err, storage.ErrUnfit) {
		e.trouble(operation, err, Advice)
		return
	}
	e.trouble(operation, err, e.permission(operation))
}

// skip notes checks that stand on one that failed.
func (e *exam) skip(checks ...string) {
	for _, check := range checks {
		e.add(check, ckptdv1.Result_RESULT_NOT_EXAMINED, "", "")
	}
}

// errSeen is in the chain where a store answered, and wrongly.
var errSeen = errors.New("the store answers wrongly")

func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errSeen, fmt.Errorf(format, args...))
}

func (e *exam) tryStat(before, after time.Time, size int64) error {
	info, err := e.store.Stat(e.ops, e.prefix+canary)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return wrong("an object is not found right after it was written: %w", err)
	case err != nil:
		return err
	case info.Size != size:
		return wrong("stat says %d bytes of an object of %d", info.Size, size)
	}
	e.clock(info.ModTime, before, after)
	return nil
}

func (e *exam) tryRead(offset, length int64, want []byte) error {
	got, err := e.read(e.prefix+canary, offset, length)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return wrong("an object is not found right after it was written: %w", err)
	case err != nil:
		return err
	case !bytes.Equal(got, want):
		return wrong("%d bytes that are not the %d asked for", len(got), len(want))
	}
	return nil
}

func (e *exam) tryList() error {
	keys, err := list(e.ops, e.store, e.prefix)
	if err == nil && len(keys) != 1 {
		err = wrong("a list shows %d objects where there is 1", len(keys))
	}
	return err
}

func (e *exam) tryDelete() error {
	if err := e.delete(e.prefix + "created"); err != nil {
		return err
	}
	if _, err := e.store.Stat(e.ops, e.prefix+"created"); !errors.Is(err, storage.ErrNotFound) {
		if err == nil {
			err = wrong("an object is there after it was deleted")
		}
		return err
	}
	// A second time: absent is fine.
	return e.delete(e.prefix + "created")
}

// tryAbort begins an object that is never finished, and gives it up as another process would.
func (e *exam) tryAbort(ctx context.Context) error {
	w, err := e.store.Create(e.ops, e.key("unfinished"), storage.CreateOptions{})
	if err != nil {
		return err
	}
	defer w.Abort()
	piece := make([]byte, 1<<20)
	for n := 0; n < unfinishedSize && ctx.Err() == nil; n += len(piece) {
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	_, err = e.store.AbortUnfinished(e.ops, e.prefix, func(string) bool { return true })
	return err
}

// clock compares the store's clock with ours. Stores round to a second.
func (e *exam) clock(at, before, after time.Time) {
	const rounding, much = time.Second, time.Minute
	skew := time.Duration(0)
	switch {
	case at.Before(before.Add(-rounding)):
		skew = at.Sub(before)
	case at.After(after.Add(rounding)):
		skew = at.Sub(after)
	}
	direction := "ahead of"
	if skew < 0 {
		direction = "behind"
	}
	switch seen := fmt.Sprintf("the store's is %v %s ours", skew.Abs().Round(time.Second), direction); {
	case skew == 0:
		e.ok("clock", "as ours, to a second")
	case skew.Abs() < much:
		e.ok("clock", seen)
	default:
		e.add("clock", ckptdv1.Result_RESULT_WARNING, seen,
			"Let both sides follow NTP: commits do not depend on clocks, but times shown are wrong, and S3 refuses requests that are 15 minutes off.")
	}
}
