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
	"syscall"
	"time"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

const (
	// grace is the time that running operations get to end when the examination is interrupted. A mutation that is
	// cut off may still happen after the clean-up.
	grace = 3 * time.Second
	// recheckPause is the time that a store, or another process, gets before the doctor looks again.
	recheckPause = 300 * time.Millisecond
	// maxTries is how often an operation without an answer is tried, tryPause the pause between two tries, as in the
	// daemon.
	maxTries, tryPause = 4, 200 * time.Millisecond
)

// An exam is one examination.
type exam struct {
	store  storage.Store
	facts  storage.Facts
	o      *Options
	report *ckptdv1.DoctorReport
	// foreign: the prefix holds content that is not ckptd's.
	foreign bool
	// optional are the checks that a verdict does not need.
	optional map[string]bool
	// holds: what is written now cannot be removed again.
	holds bool
	// prefix is the folder that this examination writes to.
	prefix string
	// ops is the context of operations; it ends a little after the caller's context.
	ops   context.Context
	close func()

	mu sync.Mutex
	// keys were created, or may have been; unknowns counts the requests that may still be carried out.
	keys     map[string]bool
	unknowns int
	// marked: the canary was written; gone: the canary was removed later.
	marked, gone bool
}

func newExam(ctx context.Context, opened storage.Opened, o *Options) *exam {
	e := &exam{
		store: opened.Store, facts: opened.Facts, o: o, report: newReport(opened.Facts.Location, opened.Facts.Kind),
		optional: map[string]bool{}, prefix: layout.ProbePrefix + layout.NewNonce() + "/", keys: map[string]bool{},
	}
	e.ops, e.close = withGrace(ctx)
	return e
}

// withGrace returns a context that ends a grace after ctx.
func withGrace(ctx context.Context) (context.Context, func()) {
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

// say reports progress.
func (e *exam) say(what string) {
	if e.o.Progress != nil {
		e.o.Progress(what)
	}
}

func (e *exam) add(check string, r ckptdv1.Result, seen, advice string) {
	e.report.Findings = append(e.report.Findings, &ckptdv1.Finding{Check: check, Result: r, Seen: seen, Advice: advice})
}

func (e *exam) ok(check, seen string) { e.add(check, ckptdv1.Result_RESULT_OK, seen, "") }

// trouble adds a finding for an operation's error: the store refused (then it is unfit), or it did not answer.
func (e *exam) trouble(check string, err error, advice string) {
	result := ckptdv1.Result_RESULT_UNFIT
	if errors.Is(err, syscall.EROFS) {
		advice = mountToWrite
	} else if what := exhausted(err); what != "" {
		result, advice = ckptdv1.Result_RESULT_NOT_EXAMINED, what
	} else if noAnswer(err) {
		result = ckptdv1.Result_RESULT_NOT_EXAMINED
		advice = runAgain
	} else if check == "open" && !errors.Is(err, storage.ErrUnfit) {
		result = ckptdv1.Result_RESULT_NOT_EXAMINED
	}
	if result == ckptdv1.Result_RESULT_UNFIT {
		e.unfit(check, err.Error(), advice)
		return
	}
	e.add(check, result, err.Error(), advice)
}

// unfit adds a finding that no fit store causes. Another process that removes the examination's objects causes the
// same, so unfit first looks for the canary. Every such finding about written objects is added by unfit.
func (e *exam) unfit(check, seen, advice string) {
	if e.disturbed() {
		e.add(check, ckptdv1.Result_RESULT_NOT_EXAMINED, "disturbed: something else removes what the doctor writes ("+seen+")",
			"Run doctor again when no daemon is being started over the same root.")
		return
	}
	e.add(check, ckptdv1.Result_RESULT_UNFIT, seen, advice)
}

// disturbed reports whether the canary was removed. Then nothing that looks wrong says anything about the store.
func (e *exam) disturbed() bool {
	if !e.marked || e.gone {
		return e.gone
	}
	sleep(e.ops, recheckPause)
	if _, err := e.store.Stat(e.ops, e.prefix+canary); errors.Is(err, storage.ErrNotFound) {
		// A store that hides what is there refuses to publish the canary again, because its key is taken.
		e.gone = !errors.Is(e.store.Publish(e.ops, e.prefix+canary, e.canaryText()), storage.ErrExists)
	}
	return e.gone
}

// noAnswer reports whether an error says nothing about the store.
func noAnswer(err error) bool {
	// Not net.Error: the system's own errors (a read-only file system) implement this interface, too.
	var network *net.OpError
	return errors.Is(err, storage.ErrUnknown) || errors.Is(err, storage.ErrPaused) || errors.Is(err, storage.ErrThrottled) || errors.Is(err, context.Canceled) ||
		errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network)
}

// mountToWrite is the advice for a read-only file system. No permission of a user would help there.
const mountToWrite = "Mount it for writing; if the kernel made it read-only after a disk error, see the kernel's log first."

// runAgain is the advice for errors that say nothing about the store.
const runAgain = "See that the store answers, then run doctor again."

// shortages are what can run out although the store is fit, with the advice.
func shortages() map[syscall.Errno]string {
	const files = "Raise the limit of open files (ulimit -n), then run doctor again."
	return map[syscall.Errno]string{
		syscall.ENOSPC: "Make space there, or remove files if no inodes are left, then run doctor again.",
		syscall.EDQUOT: "Raise the quota of ckptd's user there, or remove something, then run doctor again.",
		syscall.EMFILE: files,
		syscall.ENFILE: files,
	}
}

// exhausted returns what to do about an error that says that space, quota or open files have run out; "" for any
// other error. The store itself may be fit.
func exhausted(err error) string {
	for errno, advice := range shortages() {
		if errors.Is(err, errno) {
			return advice
		}
	}
	return ""
}

// exhaustedThere is exhausted for the text of an error in another process.
func exhaustedThere(text string) string {
	for errno, advice := range shortages() {
		if strings.Contains(text, errno.Error()) {
			return advice
		}
	}
	return ""
}

// permission returns the advice for an operation that was refused.
func (e *exam) permission(operation string) string {
	if e.o.Permission != nil {
		if name := e.o.Permission(operation); name != "" {
			return "Give ckptd's user " + name + "."
		}
	}
	return "Give ckptd's user the permission to " + operation + "."
}

// key returns a key below the examination's prefix, and records it for the clean-up.
func (e *exam) key(name string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.keys[e.prefix+name] = true
	return e.prefix + name
}

// note counts a mutation's error if the outcome is unknown, and returns the error.
func (e *exam) note(err error) error {
	if errors.Is(err, storage.ErrUnknown) {
		e.noteUnknown()
	}
	return err
}

// noteUnknown counts a mutation whose outcome is not known.
func (e *exam) noteUnknown() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.unknowns++
}

// publish tries a few times. An existing object with our bytes is ours: a request was carried out twice, or its reply
// was lost.
func (e *exam) publish(key string, data []byte) error {
	return e.retry(func() error {
		err := e.note(e.store.Publish(e.ops, key, data))
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

// retry repeats an operation that may have failed only for a moment.
func (e *exam) retry(do func() error) error {
	for try := 1; ; try++ {
		err := do()
		if err == nil || try == maxTries || !noAnswer(err) || e.ops.Err() != nil {
			return err
		}
		sleep(e.ops, tryPause)
	}
}

// createAnew creates an object and returns its key. Each try uses a new name, because no name may be used twice.
func (e *exam) createAnew(ctx context.Context, name string, opts storage.CreateOptions, pieces ...[]byte) (key string, err error) {
	try := 0
	err = e.retry(func() error {
		key = e.key(fmt.Sprintf("%s-%d", name, try))
		try++
		return e.create(ctx, key, opts, pieces...)
	})
	return key, err
}

// create writes an object in pieces, and gives up when ctx ends.
func (e *exam) create(ctx context.Context, key string, opts storage.CreateOptions, pieces ...[]byte) error {
	w, err := e.store.Create(e.ops, key, opts)
	if err != nil {
		return e.note(err)
	}
	defer w.Abort()
	for _, p := range pieces {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := w.Write(p); err != nil {
			return e.note(err)
		}
	}
	return e.note(w.Commit())
}

// read reads a range and returns all its bytes.
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

// delete deletes one object.
func (e *exam) delete(key string) error { return errors.Join(e.store.Delete(e.ops, []string{key})...) }

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
