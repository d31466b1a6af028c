package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

const (
	// grace is what an operation under way is given to end when the examination is interrupted: a mutation that is cut off may still
	// happen after everything has been removed.
	grace = 3 * time.Second
	// cleanTime is how long removing everything may take.
	cleanTime = 15 * time.Second
	// settlePause is what a store, or a neighbour, is given before the doctor looks again.
	settlePause = 300 * time.Millisecond
	// staleAge is how much older, by the store's clock, an examination is that has surely ended.
	staleAge = 10 * time.Minute
)

// An exam is one examination.
type exam struct {
	store  storage.Store
	facts  storage.Facts
	o      *Options
	report *ckptdv1.DoctorReport
	// optional are the checks without which a verdict is possible.
	optional map[string]bool
	// prefix is where this examination writes.
	prefix string
	// ops is the context of operations: it ends a little after the caller's.
	ops   context.Context
	close func()

	mu sync.Mutex
	// keys that were, or may have been, created; doubt: the outcome of one is not known.
	keys  map[string]bool
	doubt bool
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
	if noAnswer(err) {
		result = ckptdv1.Result_RESULT_NOT_EXAMINED
		advice = "See that the store answers, then run doctor again."
	} else if check == "open" && !errors.Is(err, storage.ErrUnfit) {
		result = ckptdv1.Result_RESULT_NOT_EXAMINED
	}
	e.add(check, result, err.Error(), advice)
}

// noAnswer tells errors that say nothing about the store from its own words.
func noAnswer(err error) bool {
	// Not net.Error: the system's own errors (a read-only file system) are of that interface, too.
	var network *net.OpError
	return errors.Is(err, storage.ErrUnknown) || errors.Is(err, storage.ErrThrottled) || errors.Is(err, context.Canceled) ||
		errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network)
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
		e.mu.Lock()
		e.doubt = true
		e.mu.Unlock()
	}
	return err
}

func (e *exam) publish(key string, data []byte) error {
	return e.noted(e.store.Publish(e.ops, key, data))
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

// cleanUp removes everything that the examination made, whatever has happened, and says if it could not.
func (e *exam) cleanUp() {
	e.say("removing what was written")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.ops), cleanTime)
	defer cancel()
	const passes = 4
	var err error
	var left []string
	for pass := range passes {
		if pass > 0 {
			sleep(ctx, settlePause)
		}
		err = e.removeAll(ctx)
		var listErr error
		left, listErr = list(ctx, e.store, e.prefix)
		if err = errors.Join(err, listErr); err == nil && len(left) == 0 && (!e.doubt || pass > 0) {
			return
		}
	}
	seen := fmt.Sprintf("%s below %s", plural(len(left), "object"), e.prefix)
	if err != nil {
		seen += ": " + err.Error()
	}
	e.add("left behind", ckptdv1.Result_RESULT_WARNING, seen, "Delete them by hand; the next start of a daemon does so, too, if it may.")
}

func (e *exam) removeAll(ctx context.Context) error {
	const batch = 1000
	left, err := list(ctx, e.store, e.prefix)
	e.mu.Lock()
	for _, key := range left {
		e.keys[key] = true
	}
	var keys []string
	for key := range e.keys {
		keys = append(keys, key)
	}
	e.mu.Unlock()
	for len(keys) > 0 {
		n := min(batch, len(keys))
		err = errors.Join(err, firstOf(e.store.Delete(ctx, keys[:n])))
		keys = keys[n:]
	}
	_, abortErr := e.store.AbortUnfinished(ctx, e.prefix, func(string) bool { return true })
	return errors.Join(err, abortErr)
}

// firstOf is the first error of several that mostly say the same.
func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func list(ctx context.Context, s storage.Store, prefix string) (keys []string, err error) {
	for info, err := range s.List(ctx, prefix) {
		if err != nil {
			return keys, err
		}
		keys = append(keys, info.Key)
	}
	return keys, nil
}

// removeStale removes what examinations and starts left that were killed long ago, by the store's own clock. Younger ones may be at work.
func (e *exam) removeStale() {
	now, err := e.store.Stat(e.ops, e.prefix+canary)
	if err != nil {
		return
	}
	newest := map[string]time.Time{}
	objects := map[string][]string{}
	for info, err := range e.store.List(e.ops, layout.ProbePrefix) {
		if err != nil {
			return
		}
		nonce, _, folder := strings.Cut(strings.TrimPrefix(info.Key, layout.ProbePrefix), "/")
		if !folder || layout.ValidateNonce(nonce) != nil {
			continue
		}
		objects[nonce] = append(objects[nonce], info.Key)
		if info.ModTime.After(newest[nonce]) {
			newest[nonce] = info.ModTime
		}
	}
	for nonce, at := range newest {
		if now.ModTime.Sub(at) > staleAge {
			// The next start tries again.
			_ = firstOf(e.store.Delete(e.ops, objects[nonce]))
		}
	}
}
