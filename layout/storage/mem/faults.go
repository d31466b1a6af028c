package mem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"sync"

	"github.com/ckptd/ckptd/layout/storage"
)

// ErrInjected is in the chain of every error that Faults made up.
var ErrInjected = errors.New("injected fault")

// Op names a kind of mutation.
type Op string

// The kinds of mutation. Create itself changes nothing; its Commit does.
const (
	OpCommit  Op = "commit"
	OpPublish Op = "publish"
	OpDelete  Op = "delete"
)

// Mutation describes a mutation to the function that decides its outcome. A Delete of many keys is one Mutation per
// key.
type Mutation struct {
	// N counts the mutations through this Faults from 1.
	N   int
	Op  Op
	Key string
}

// Outcome says how a mutation ends. The zero value is Done.
type Outcome struct {
	kind  outcomeKind
	after int // for kindLater: the mutation lands before the after-th next mutation
}

type outcomeKind uint8

const (
	kindDone outcomeKind = iota
	kindFailed
	kindDoneButError
	kindLater
)

// Done: the mutation happens, and is reported as the store below reports it.
func Done() Outcome { return Outcome{} }

// Failed: the mutation does not happen, and is reported as not done.
func Failed() Outcome { return Outcome{kind: kindFailed} }

// DoneButError: the mutation happens, and is reported as unknown.
func DoneButError() Outcome { return Outcome{kind: kindDoneButError} }

// Later: the mutation is reported as unknown now. It happens k mutations later (k >= 1) or when Land is called,
// whichever comes first.
func Later(k int) Outcome { return Outcome{kind: kindLater, after: max(k, 1)} }

// String names the outcome.
func (o Outcome) String() string {
	switch o.kind {
	case kindFailed:
		return "failed"
	case kindDoneButError:
		return "done but error"
	case kindLater:
		return fmt.Sprintf("error, lands %d later", o.after)
	}
	return "done"
}

// Faults is one process's access to a store, in which a function decides how each mutation ends. To play several
// processes over one root, tests use several Faults over one Store. All methods are safe for concurrent use.
type Faults struct {
	inner storage.Store

	mu      sync.Mutex
	decide  func(Mutation) Outcome
	count   int
	pending []landing
	frozen  bool
}

var _ storage.Store = (*Faults)(nil)

// A landing is a mutation that was reported as unknown and has not happened yet.
type landing struct {
	at int // mutation count before which it lands
	do func()
}

// NewFaults puts faults over inner. decide is called for every mutation, one call at a time. If it is nil, every
// mutation is Done.
func NewFaults(inner storage.Store, decide func(Mutation) Outcome) *Faults {
	return &Faults{inner: inner, decide: decide}
}

// Rates gives the probability of each fault; every other mutation is Done.
type Rates struct {
	Failed, DoneButError, Later float64
	// MaxLater is the largest k of Later; 0 means 5.
	MaxLater int
}

// Seeded decides at random: the same seed and the same sequence of mutations give the same outcomes.
func Seeded(seed uint64, rates Rates) func(Mutation) Outcome {
	rng := rand.New(rand.NewPCG(seed, 0))
	most := rates.MaxLater
	if most <= 0 {
		most = 5
	}
	return func(Mutation) Outcome {
		dice, k := rng.Float64(), 1+rng.IntN(most)
		switch {
		case dice < rates.Failed:
			return Failed()
		case dice < rates.Failed+rates.DoneButError:
			return DoneButError()
		case dice < rates.Failed+rates.DoneButError+rates.Later:
			return Later(k)
		}
		return Done()
	}
}

// SetDecide replaces the function that decides. With nil, every mutation is Done from now on.
func (f *Faults) SetDecide(decide func(Mutation) Outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.decide = decide
}

// Freeze plays the death of the process: from now on no call reaches the store, and mutations are reported as
// unknown. Mutations that wait to land still land when Land is called, because the network outlives the sender.
func (f *Faults) Freeze() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frozen = true
}

// Thaw ends Freeze.
func (f *Faults) Thaw() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frozen = false
}

// Land lets every waiting mutation happen now, in the order of issue, and returns their number.
func (f *Faults) Land() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.pending)
	for _, l := range f.pending {
		l.do()
	}
	f.pending = nil
	return n
}

// Pending returns the number of mutations that wait to land.
func (f *Faults) Pending() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.pending)
}

// Count returns the number of mutations so far.
func (f *Faults) Count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count
}

// Create implements storage.Store.
func (f *Faults) Create(ctx context.Context, key string, opts storage.CreateOptions) (storage.Writer, error) {
	if err := f.reachable("create", key); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, &storage.Error{Op: "create", Key: key, Err: err}
	}
	// The bytes must be able to land after the caller's context has ended. Its cancellation counts until Commit.
	inner, err := f.inner.Create(context.WithoutCancel(ctx), key, opts)
	if err != nil {
		return nil, err
	}
	return &faultyWriter{faults: f, ctx: ctx, key: key, inner: inner}, nil
}

// Publish implements storage.Store.
func (f *Faults) Publish(ctx context.Context, key string, data []byte) error {
	if err := ctx.Err(); err != nil {
		return &storage.Error{Op: string(OpPublish), Key: key, Err: err}
	}
	later := context.WithoutCancel(ctx)
	data = append([]byte(nil), data...) // a late landing must not see later changes to the caller's slice
	return f.mutate(OpPublish, key, func() error { return f.inner.Publish(later, key, data) }, nil)
}

// Open implements storage.Store.
func (f *Faults) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := f.reachable("open", key); err != nil {
		return nil, err
	}
	return f.inner.Open(ctx, key, offset, length)
}

// Stat implements storage.Store.
func (f *Faults) Stat(ctx context.Context, key string) (storage.Info, error) {
	if err := f.reachable("stat", key); err != nil {
		return storage.Info{}, err
	}
	return f.inner.Stat(ctx, key)
}

// List implements storage.Store.
func (f *Faults) List(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
	if err := f.reachable("list", prefix); err != nil {
		return func(yield func(storage.Info, error) bool) { yield(storage.Info{}, err) }
	}
	return f.inner.List(ctx, prefix)
}

// Delete implements storage.Store.
func (f *Faults) Delete(ctx context.Context, keys []string) []error {
	errs := make([]error, len(keys))
	failed := false
	for i, key := range keys {
		if err := ctx.Err(); err != nil {
			errs[i] = &storage.Error{Op: string(OpDelete), Key: key, Err: err}
		} else {
			later := context.WithoutCancel(ctx)
			errs[i] = f.mutate(OpDelete, key, func() error {
				if errs := f.inner.Delete(later, []string{key}); errs != nil {
					return errs[0]
				}
				return nil
			}, nil)
		}
		failed = failed || errs[i] != nil
	}
	if !failed {
		return nil
	}
	return errs
}

// AbortUnfinished implements storage.Store. Of all faults only Freeze affects it.
func (f *Faults) AbortUnfinished(ctx context.Context, prefix string, dead func(key string) bool) (int, error) {
	if err := f.reachable("abort unfinished", prefix); err != nil {
		return 0, err
	}
	return f.inner.AbortUnfinished(ctx, prefix, dead)
}

func (f *Faults) reachable(op, key string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.frozen {
		return &storage.Error{Op: op, Key: key, Err: fmt.Errorf("%w: frozen", ErrInjected)}
	}
	return nil
}

// mutate lets one mutation end as decided. do makes the mutation happen; drop, if not nil, gives it up.
func (f *Faults) mutate(op Op, key string, do func() error, drop func()) error {
	fail := func(cause error) error { return &storage.Error{Op: string(op), Key: key, Err: cause} }
	unknown := fail(fmt.Errorf("%w: %w", storage.ErrUnknown, ErrInjected))
	f.mu.Lock()
	if f.frozen {
		f.mu.Unlock()
		if drop != nil {
			drop()
		}
		return unknown
	}
	f.count++
	f.landLocked()
	outcome := Done()
	if f.decide != nil {
		outcome = f.decide(Mutation{N: f.count, Op: op, Key: key})
	}
	if outcome.kind == kindLater {
		f.pending = append(f.pending, landing{at: f.count + outcome.after, do: func() { _ = do() }})
	}
	f.mu.Unlock()

	switch outcome.kind {
	case kindFailed:
		if drop != nil {
			drop()
		}
		return fail(ErrInjected)
	case kindDoneButError:
		_ = do() // the result is ignored, because the reply is lost
		return unknown
	case kindLater:
		return unknown
	}
	return do()
}

// landLocked lets the mutations happen that are due.
func (f *Faults) landLocked() {
	rest := f.pending[:0]
	for _, l := range f.pending {
		if l.at <= f.count {
			l.do()
		} else {
			rest = append(rest, l)
		}
	}
	f.pending = rest
}

// A faultyWriter passes bytes on at once; its Commit is the mutation.
type faultyWriter struct {
	faults *Faults
	ctx    context.Context // the context of Create; it also ends the writer
	key    string
	inner  storage.Writer
	gone   bool // true once the fate of inner is decided: Abort must not touch it, Commit is an error
}

func (w *faultyWriter) Write(p []byte) (int, error) {
	if err := w.check("write"); err != nil {
		return 0, err
	}
	return w.inner.Write(p)
}

func (w *faultyWriter) Commit() error {
	if err := w.check(string(OpCommit)); err != nil {
		w.Abort()
		return err
	}
	w.gone = true
	return w.faults.mutate(OpCommit, w.key, w.inner.Commit, w.inner.Abort)
}

func (w *faultyWriter) Abort() {
	if !w.gone {
		w.gone = true
		w.inner.Abort()
	}
}

func (w *faultyWriter) check(op string) error {
	if w.gone {
		return &storage.Error{Op: op, Key: w.key, Err: errDone}
	}
	if err := w.ctx.Err(); err != nil {
		return &storage.Error{Op: op, Key: w.key, Err: err}
	}
	return w.faults.reachable(op, w.key)
}
