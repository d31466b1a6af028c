package service_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service"
)

// failingReads is a store on which the failAt-th read fails. A list shows one object before it fails, and a body has
// one byte.
type failingReads struct {
	storage.Store
	mu     sync.Mutex
	n      int
	failAt int
	what   string // the read that failed
}

var errChosen = errors.New("the chosen read fails")

// mustFail counts a read and reports whether it must fail. The list of the root is not counted: a daemon does not start
// without it.
func (s *failingReads) mustFail(op, key string) bool {
	if key == "" {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n++; s.n != s.failAt {
		return false
	}
	s.what = op + " " + key
	return true
}

func (s *failingReads) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if s.mustFail("open", key) {
		return nil, &storage.Error{Op: "open", Key: key, Err: errChosen}
	}
	r, err := s.Store.Open(ctx, key, offset, length)
	if err == nil && s.mustFail("read", key) {
		return struct {
			io.Reader
			io.Closer
		}{io.MultiReader(io.LimitReader(r, 1), failingReader{}), r}, nil
	}
	return r, err
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errChosen }

func (s *failingReads) Stat(ctx context.Context, key string) (storage.Info, error) {
	if s.mustFail("stat", key) {
		return storage.Info{}, &storage.Error{Op: "stat", Key: key, Err: errChosen}
	}
	return s.Store.Stat(ctx, key)
}

func (s *failingReads) List(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		if s.mustFail("list", prefix) {
			yield(storage.Info{}, errChosen)
			return
		}
		late := s.mustFail("list after an element", prefix)
		for info, err := range s.Store.List(ctx, prefix) {
			if !yield(info, err) {
				return
			}
			if late {
				yield(storage.Info{}, errChosen)
				return
			}
		}
	}
}

func (s *failingReads) AbortUnfinished(ctx context.Context, prefix string, dead func(string) bool) (int, error) {
	if s.mustFail("abort unfinished", prefix) {
		return 0, errChosen
	}
	return s.Store.AbortUnfinished(ctx, prefix, dead)
}

// Create counts as a read. When it fails, no file is begun.
func (s *failingReads) Create(ctx context.Context, key string, opts storage.CreateOptions) (storage.Writer, error) {
	if s.mustFail("create", key) {
		return nil, &storage.Error{Op: "create", Key: key, Err: errChosen}
	}
	return s.Store.Create(ctx, key, opts)
}

// shellLife plays a short life of a job. It attaches, begins an attempt, and completes checkpoints that subsume each
// other and reuse files. The daemon is killed, and another one attaches. It sweeps, takes an upload that no checkpoint
// names, cancels the job and releases it.
type shellLife struct {
	*failure
	under storage.Opened
	way   storage.Opened
	d     *daemon
	w     *worker
	// text holds the bytes of each uploaded file, by name. complete is the newest checkpoint that the worker was told
	// of.
	text     map[string]string
	complete uint64
}

// again repeats a call that the store made fail, as the SDK does.
func (l *shellLife) again(what string, call func() error) {
	l.Helper()
	err := call()
	for tries := 0; err != nil && tries < 20; tries++ {
		time.Sleep(100 * time.Millisecond)
		err = call()
	}
	if err != nil {
		l.Fatalf("%s: %v", what, err)
	}
}

// start starts a daemon and attaches the job.
func (l *shellLife) start() {
	l.d = startDaemonWith(l, l.way, inMemory, service.Options{Log: slog.New(slog.DiscardHandler)})
	cfg := defaultConfig(0)
	cfg.TolerableFailedCheckpoints, cfg.NumRetained = 100, 2
	l.again("attach", func() error {
		_, err := l.d.engineService().AttachJob(l.Context(), &ckptdv1.AttachJobRequest{JobId: "j", Plan: onePlan(), Config: cfg})
		return err
	})
}

// upload stores a file under a new name.
func (l *shellLife) upload(scope ckptdv1.Scope, id uint64, name string) *ckptdv1.SnapshotHandle {
	var f *ckptdv1.FileHandle
	l.again("put", func() (err error) {
		f, err = l.w.putAt(l.d, scope, id, name+" of "+fmt.Sprint(id))
		return err
	})
	l.text[f.GetKey()] = name + " of " + fmt.Sprint(id)
	return uploaded("i", fmt.Sprint(name, id), f)
}

// checkpoint takes checkpoints until one is complete. A complete checkpoint must be whole on storage.
func (l *shellLife) checkpoint(before string) (file string) {
	for range 5 {
		answer := make(chan error, 1)
		go func() { answer <- l.d.trigger(l.Context(), "j") }()
		id := l.w.triggered()
		file = fmt.Sprint("s", id)
		handles := []*ckptdv1.SnapshotHandle{l.upload(shared, id, "s"), l.upload(exclusive, id, "x"), inline("n", fmt.Sprint(id))}
		if before != "" {
			res, err := l.d.engineService().BeginSnapshot(l.Context(), &ckptdv1.BeginSnapshotRequest{
				JobId: "j", Epoch: l.w.epoch, Attempt: l.w.attempt, CheckpointId: id, Subtasks: l.w.subtasks,
				Files: []*ckptdv1.LocalFile{{InstanceNonce: "i", Name: before, Size: uint64(len("s of " + before[1:]))}},
			})
			if err != nil {
				l.Fatal("begin:", err)
			}
			if n := res.GetKnown()[0]; n != 0 {
				handles = append(handles, known("", n))
			}
		}
		l.w.mustAck(id, handles...)
		if err := <-answer; err != nil {
			if _, ok := head(l, l.under, "j").Checkpoint(id); ok {
				l.Fatalf("checkpoint %d is retained, but its caller got %v; want success", id, err)
			}
			continue
		}
		l.complete = id
		l.wantWhole()
		return file
	}
	l.Fatal("no checkpoint is complete, want one")
	return ""
}

// wantWhole checks that the newest complete checkpoint is in the journal, and that all retained checkpoints are whole,
// byte for byte.
func (l *shellLife) wantWhole() {
	e := head(l, l.under, "j")
	if e.Newest() != l.complete {
		l.Fatalf("the journal's newest checkpoint is %d, want %d, which was announced", e.Newest(), l.complete)
	}
	for _, c := range e.Retained {
		metadata := read(l, l.under.Store, layout.MetadataKey("j", c.ID))
		if uint64(len(metadata)) != c.Size || crcOf(metadata) != c.CRC {
			l.Errorf("_metadata of checkpoint %d has %d bytes, sum %08x; the journal says %d, %08x", c.ID, len(metadata), crcOf(metadata), c.Size, c.CRC)
		}
		t := tableOf(l, metadata)
		if h := t.header; h.Checkpoint != c.ID || h.JobID != "j" || h.Nonce != c.Nonce.String() {
			l.Errorf("_metadata of checkpoint %d says it is %+v", c.ID, h)
		}
		for _, f := range t.files {
			if got, want := read(l, l.under.Store, "j/"+f.Key), l.text[f.Key]; got != want || f.CRC32C != crcOf(want) || want == "" {
				l.Errorf("%s of checkpoint %d holds %q, want %q", f.Key, c.ID, got, want)
			}
		}
		if inline := t.pieces["count[0]"][2].inline; inline != fmt.Sprint(c.ID) {
			l.Errorf("checkpoint %d holds %q inline, want its number", c.ID, inline)
		}
	}
}

// live plays the life. land lets delayed mutations happen.
func (l *shellLife) live(land func() int) {
	l.start()
	l.w = l.d.register(l, "j", "w", 0, subtask("count"))
	l.w.begin()
	file := l.checkpoint("")
	file = l.checkpoint(file)
	file = l.checkpoint(file) // the first one goes
	time.Sleep(10 * time.Second)
	l.d.kill()
	land()
	attempt := l.w.attempt
	l.start()
	l.w = l.d.register(l, "j", "w", attempt, subtask("count"))
	l.w.report(ckptdv1.ReportRequest_KIND_RUNNING, nil)
	l.checkpoint(file)
	l.upload(shared, l.w.open(), "nobody's")
	land()
	canceled := &ckptdv1.CancelJobResponse{}
	l.again("cancel", func() (err error) {
		canceled, err = l.d.jobService().CancelJob(l.Context(), &ckptdv1.CancelJobRequest{JobId: "j", RequestId: "c"})
		return err
	})
	if !head(l, l.under, "j").Status.Terminal() || len(canceled.GetRetained()) != 2 {
		l.Errorf("canceled with %v retained; the journal says %v", canceled.GetRetained(), head(l, l.under, "j").Status)
	}
	l.w.ended()
	time.Sleep(time.Minute)
	land()
	l.d.waitReleased(l)
	if e := atRest(l, l.under, "j"); !e.Owner.IsZero() {
		l.Errorf("the job still has an owner, want it released")
	}
	l.wantWhole()
}

// playLife plays a life. decide chooses the outcome of each mutation, and the failAt-th read fails. It returns what
// went wrong, and the numbers of mutations and reads.
func playLife(t *testing.T, decide func(mem.Mutation) mem.Outcome, failAt int) (mutations, reads int, what string, err error) {
	quiet := &failure{TB: t, ctx: t.Context()}
	l := &shellLife{failure: quiet, under: newRoot(), text: map[string]string{}}
	var faults *mem.Faults
	l.way, faults = faulty(l.under, decide)
	failing := &failingReads{Store: faults, failAt: failAt}
	l.way.Store = failing
	func() {
		defer func() {
			if r := recover(); r != nil && r != quiet { //nolint:errorlint // our own sentinel
				panic(r)
			}
		}()
		l.live(faults.Land)
	}()
	faults.SetDecide(nil)
	failing.mu.Lock()
	defer failing.mu.Unlock()
	return faults.Count(), failing.n, failing.what, quiet.err
}

// One call of the store fails in the life of a job, whichever call and however it fails. Still all checkpoints
// announced as complete are whole, nothing else is left on storage, and no failure is reported as a success.
func TestEveryCallOfTheStoreWithEveryOutcome(t *testing.T) {
	t.Parallel()
	var mutations, reads int
	synctest.Test(t, func(t *testing.T) {
		var err error
		if mutations, reads, _, err = playLife(t, nil, 0); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("%d mutations, %d reads", mutations, reads)
	step := 1
	if testing.Short() || raceDetector {
		step = 5
	}
	for _, outcome := range []mem.Outcome{mem.Failed(), mem.DoneButError(), mem.Later(1), mem.Later(4), mem.Later(1000)} {
		for i := 1; i <= mutations; i += step {
			synctest.Test(t, func(t *testing.T) {
				var what mem.Mutation
				_, _, _, err := playLife(t, func(m mem.Mutation) mem.Outcome {
					if m.N != i {
						return mem.Done()
					}
					what = m
					return outcome
				}, 0)
				if err != nil {
					t.Errorf("mutation %d, %s %s: %v: %v", i, what.Op, what.Key, outcome, err)
				}
			})
		}
	}
	for i := 1; i <= reads; i += step {
		synctest.Test(t, func(t *testing.T) {
			if _, _, what, err := playLife(t, nil, i); err != nil {
				t.Errorf("read %d, %s, fails: %v", i, what, err)
			}
		})
	}
}
