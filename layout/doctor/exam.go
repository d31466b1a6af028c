package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

const (
	// grace is what an operation under way is given to end when the examination is interrupted: a mutation that is cut off may still
	// happen after everything has been removed.
	grace = 3 * time.Second
	// settlePause is what a store, or a neighbour, is given before the doctor looks again.
	settlePause = 300 * time.Millisecond
	// patience is how often a single operation is tried that has no answer, askPause what lies between, as a daemon would.
	patience, askPause = 4, 200 * time.Millisecond
)

// An exam is one examination.
type exam struct {
	store  storage.Store
	facts  storage.Facts
	o      *Options
	report *ckptdv1.DoctorReport
	// foreign: what lies there is not ckptd's.
	foreign bool
	// optional are the checks without which a verdict is possible.
	optional map[string]bool
	// holds: nothing that is written now can be removed again.
	holds bool
	// prefix is where this examination writes.
	prefix string
	// ops is the context of operations: it ends a little after the caller's.
	ops   context.Context
	close func()

	mu sync.Mutex
	// keys that were, or may have been, created; doubts: how many requests may still be carried out.
	keys   map[string]bool
	doubts int
	// marked: the canary was written; gone: it was removed since.
	marked, gone bool
}

func newExam(ctx context.Context, opened storage.Opened, o *Options) *exam {
	e := &exam{
		store: opened.Store, facts: opened.Facts, o: o, report: newReport(opened.Facts.Location, opened.Facts.Kind),
		optional: map[string]bool{}, prefix: layout.ProbePrefix + layout.NewNonce() + "/", keys: map[string]bool{},
	}
	e.ops, e.close = late(ctx)
	return e
}

// late gives a context that ends a grace after ctx.
func late(ctx context.Context) (context.Context, func()) {
	ops, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(grace):
			cancel()
		case <-ops.Done():
		}
	})
	return ops, func() { stop(); cancel() }
}

// say tells what is being done.
func (e *exam) say(what string) {
	if e.o.Progress != nil {
		e.o.Progress(what)
	}
}

func (e *exam) add(check string, r ckptdv1.Result, seen, advice string) {
	e.report.Findings = append(e.report.Findings, &ckptdv1.Finding{Check: check, Result: r, Seen: seen, Advice: advice})
}

func (e *exam) ok(check, seen string) { e.add(check, ckptdv1.Result_RESULT_OK, seen, "") }

// trouble adds what an operation's error means: that the store refuses (then it is unfit), or that it did not answer.
func (e *exam) trouble(check string, err error, advice string) {
	result := ckptdv1.Result_RESULT_UNFIT
	if lacks := lacking(err); lacks != "" {
		result, advice = ckptdv1.Result_RESULT_NOT_EXAMINED, lacks
	} else if noAnswer(err) {
		result = ckptdv1.Result_RESULT_NOT_EXAMINED
		advice = "See that the store answers, then run doctor again."
	} else if check == "open" && !errors.Is(err, storage.ErrUnfit) {
		result = ckptdv1.Result_RESULT_NOT_EXAMINED
	}
	if result == ckptdv1.Result_RESULT_UNFIT {
		e.unfit(check, err.Error(), advice)
		return
	}
	e.add(check, result, err.Error(), advice)
}

// unfit adds what no fit store does, unless a neighbour has removed the examination's objects, which looks the same. Every such verdict
// about what was written goes this way.
func (e *exam) unfit(check, seen, advice string) {
	if e.disturbed() {
		e.add(check, ckptdv1.Result_RESULT_NOT_EXAMINED, "disturbed: something else removes what the doctor writes ("+seen+")",
			"Run doctor again when no daemon is being started over the same root.")
		return
	}
	e.add(check, ckptdv1.Result_RESULT_UNFIT, seen, advice)
}

// disturbed tells whether the canary was removed. Once it was, nothing that looks wrong says anything about the store.
func (e *exam) disturbed() bool {
	if !e.marked || e.gone {
		return e.gone
	}
	sleep(e.ops, settlePause)
	if _, err := e.store.Stat(e.ops, e.prefix+canary); errors.Is(err, storage.ErrNotFound) {
		// A store that does not show what is there says that the key is taken.
		e.gone = !errors.Is(e.store.Publish(e.ops, e.prefix+canary, e.canaryText()), storage.ErrExists)
	}
	return e.gone
}

// noAnswer tells errors that say nothing about the store from its own words.
func noAnswer(err error) bool {
	// Not net.Error: the system's own errors (a read-only file system) are of that interface, too.
	var network *net.OpError
	return errors.Is(err, storage.ErrUnknown) || errors.Is(err, storage.ErrThrottled) || errors.Is(err, context.Canceled) ||
		errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network)
}

// lacking tells an error that says that something has run out, here or there, and what to do; "" for all others. A store is as fit as
// any when there is some again.
func lacking(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return "Make space there, then run doctor again."
	case errors.Is(err, syscall.EDQUOT):
		return "Raise the quota of ckptd's user there, or remove something, then run doctor again."
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "Raise the limit of open files (ulimit -n), then run doctor again."
	}
	return ""
}

// permission advises on an operation that was refused.
func (e *exam) permission(operation string) string {
	if e.o.Permission != nil {
		if name := e.o.Permission(operation); name != "" {
			return "Give ckptd's user " + name + "."
		}
	}
	return "Give ckptd's user the permission to " + operation + "."
}

// key gives a name below the examination's prefix, to be removed at the end.
func (e *exam) key(name string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.keys[e.prefix+name] = true
	return e.prefix + name
}

// noted looks at a mutation's error for doubt, and returns it.
func (e *exam) noted(err error) error {
	if errors.Is(err, storage.ErrUnknown) {
		e.doubt()
	}
	return err
}

// doubt notes a mutation whose outcome is not known.
func (e *exam) doubt() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.doubts++
}

// publish tries a few times. An object that has our bytes is ours: a request was carried out twice, or its reply was lost.
func (e *exam) publish(key string, data []byte) error {
	return e.patient(func() error {
		err := e.noted(e.store.Publish(e.ops, key, data))
		if !errors.Is(err, storage.ErrExists) {
			return err
		}
		got, readErr := e.read(key, 0, -1)
		switch {
		case readErr == nil && bytes.Equal(got, data):
			return nil
		case readErr != nil && noAnswer(readErr):
			return readErr
		}
		return err
	})
}

// patient repeats what may have failed for a moment only.
func (e *exam) patient(do func() error) error {
	for try := 1; ; try++ {
		err := do()
		if err == nil || try == patience || !noAnswer(err) || e.ops.Err() != nil {
			return err
		}
		sleep(e.ops, askPause)
	}
}

// createAnew creates an object, under another name where a try had no answer: no name is used twice. It tells which it was.
func (e *exam) createAnew(ctx context.Context, name string, opts storage.CreateOptions, pieces ...[]byte) (key string, err error) {
	try := 0
	err = e.patient(func() error {
		key = e.key(fmt.Sprintf("%s-%d", name, try))
		try++
		return e.create(ctx, key, opts, pieces...)
	})
	return key, err
}

// create writes an object in pieces and gives up when ctx ends.
func (e *exam) create(ctx context.Context, key string, opts storage.CreateOptions, pieces ...[]byte) error {
	w, err := e.store.Create(e.ops, key, opts)
	if err != nil {
		return e.noted(err)
	}
	defer w.Abort()
	for _, p := range pieces {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := w.Write(p); err != nil {
			return e.noted(err)
		}
	}
	return e.noted(w.Commit())
}

// read reads a range whole.
func (e *exam) read(key string, offset, length int64) ([]byte, error) {
	return readRange(e.ops, e.store, key, offset, length)
}

func readRange(ctx context.Context, s storage.Store, key string, offset, length int64) ([]byte, error) {
	r, err := s.Open(ctx, key, offset, length)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if length > 0 {
		b.Grow(int(length) + bytes.MinRead)
	}
	_, err = io.Copy(&b, r)
	return b.Bytes(), errors.Join(err, r.Close())
}

// delete one object.
func (e *exam) delete(key string) error { return errors.Join(e.store.Delete(e.ops, []string{key})...) }

// sleep waits, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
