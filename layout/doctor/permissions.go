package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// canary is the first object of an examination. As long as it exists, no other process has removed the examination's
// objects.
const canary = "canary"

// unfinishedSize is large enough that stores with multipart uploads begin one.
const unfinishedSize = 9 << 20

// permissions tries every operation once. It reports whether the examination can go on.
func (e *exam) permissions(ctx context.Context) bool {
	e.say("trying each operation")
	text := e.canaryText()
	before := time.Now()
	if err := e.publish(e.key(canary), text); err != nil {
		e.refused("publish", err)
		e.skip("stat", "read", "range", "list", "create", "delete", "abort unfinished", "publish races")
		return false
	}
	after := time.Now()
	e.marked = true
	e.ok("publish", "")
	created := ""
	steps := []struct {
		name string
		try  func() error
	}{
		{"stat", func() error { return e.tryStat(before, after, int64(len(text))) }},
		{"read", func() error { return e.tryRead(0, -1, text) }},
		{"range", func() error { return e.tryRead(6, 6, text[6:12]) }},
		{"list", e.tryList},
		{"create", func() (err error) {
			created, err = e.createAnew(ctx, "created", storage.CreateOptions{}, text)
			return err
		}},
		{"delete", func() error { return e.tryDelete(created) }},
		{"abort unfinished", func() error { return e.tryAbort(ctx) }},
	}
	// Whether unfinished uploads can be aborted says nothing about the other operations.
	good := true
	stands := func(step string) bool { return step == "abort unfinished" && good }
	for _, step := range steps {
		if ctx.Err() != nil {
			return false
		}
		switch err := e.retry(step.try); {
		case err == nil:
			e.ok(step.name, "")
		case errors.Is(err, errForgets):
			good = stands(step.name)
			e.add(step.name, ckptdv1.Result_RESULT_UNFIT, err.Error(), StaleAdvice)
		case errors.Is(err, errKeeps):
			good = stands(step.name)
			e.unfit(step.name, err.Error(), DeleteAdvice)
		case errors.Is(err, errWrong):
			good = stands(step.name)
			e.unfit(step.name, err.Error(), Advice)
		default:
			good = stands(step.name)
			e.refused(step.name, err)
		}
	}
	return good
}

// refused adds a finding for an operation that a store refuses, or does not have.
func (e *exam) refused(operation string, err error) {
	if errors.Is(err, storage.ErrUnfit) {
		e.trouble(operation, err, Advice)
		return
	}
	e.trouble(operation, err, e.permission(operation))
}

// skip adds findings for checks that depend on a failed one.
func (e *exam) skip(checks ...string) {
	for _, check := range checks {
		e.add(check, ckptdv1.Result_RESULT_NOT_EXAMINED, "", "")
	}
}

// errWrong is in the chain when a store gave a wrong answer.
var errWrong = errors.New("the store answers wrongly")

// Beside errWrong, errForgets says that no written object is found, errKeeps that no deleted object disappears.
var (
	errForgets = errors.New("whatever is written")
	errKeeps   = errors.New("the store said so")
)

// canaryText is the content of the canary; no other examination writes the same.
func (e *exam) canaryText() []byte {
	return []byte("ckptd doctor was here; whoever finds this may delete it: " + e.prefix + "\n")
}

// notFound tells a store that forgets written objects from another process that removes them: no process removes
// several at once so fast.
func (e *exam) notFound(err error) error {
	for i := range maxTries {
		key := e.key(fmt.Sprintf("again-%d", i))
		if publishErr := e.publish(key, []byte(key)); publishErr != nil {
			return publishErr
		}
		if _, statErr := e.store.Stat(e.ops, key); !errors.Is(statErr, storage.ErrNotFound) {
			return wrong("an object is not found right after it was written: %w", err)
		}
	}
	return wrong("an object is not found right after it was written, %w: %w", errForgets, err)
}

func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errWrong, fmt.Errorf(format, args...))
}

func (e *exam) tryStat(before, after time.Time, size int64) error {
	info, err := e.store.Stat(e.ops, e.prefix+canary)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return e.notFound(err)
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
	if err == nil && !slices.Contains(keys, e.prefix+canary) {
		err = wrong("a list that began after a write does not show the object")
	}
	for _, key := range keys {
		e.mu.Lock()
		ours := e.keys[key]
		e.mu.Unlock()
		if err == nil && !ours {
			err = wrong("a list shows %q, which was never written", key)
		}
	}
	return err
}

// tryDelete deletes an object and checks that it is gone, twice. A store is certainly wrong only if it keeps the
// object each time.
func (e *exam) tryDelete(key string) error {
	for try := 1; ; try++ {
		told := e.delete(key)
		if told != nil && !noAnswer(told) {
			return told
		}
		_, err := e.store.Stat(e.ops, key)
		switch {
		case told == nil && errors.Is(err, storage.ErrNotFound):
			return e.delete(key) // a second delete: an absent object is no error
		case errors.Is(err, storage.ErrNotFound):
			return nil // the object is gone, whatever the store answered
		case told != nil:
			return told
		case err != nil:
			return err
		case try == 2:
			return wrong("an object is there after it was deleted, twice: %w", errKeeps)
		}
		sleep(e.ops, recheckPause)
	}
}

// tryAbort begins an object, never finishes it, and aborts it as another process would.
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
