package filesink

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/ckptd/ckptd/runtime/state"
)

// world is the outside of a sink: an input that can be read again, and a daemon that knows which checkpoints are
// complete. Its rules are the three facts of the package comment.
type world struct {
	dir     string
	attempt uint64
	nextID  uint64
	// complete is the newest complete checkpoint.
	complete checkpoint
	runs     []*run
}

type checkpoint struct {
	id       uint64
	position int
	saved    []byte
}

// run is one process with its attempt. The attempt may have been replaced without the process knowing.
type run struct {
	attempt  uint64
	sink     *Sink
	position int
	// taken are checkpoints that were pre-committed and are neither complete nor dropped.
	taken []checkpoint
	// told is the newest checkpoint that this attempt was told to be complete, or can still be told.
	told    uint64
	restore func() error
	begun   bool
}

var errCrash = errors.New("crash")

// start begins the next attempt. crashAt counts down the sink's calls. At 0 the process is dead: every call from then
// on fails.
func (w *world) start(crashAt *int) (*run, error) {
	r, err := w.assign(crashAt)
	if err != nil {
		return nil, err
	}
	return r, r.restore()
}

// assign begins the next attempt without its restore: the process may be slow, and may be replaced before it has
// begun.
func (w *world) assign(crashAt *int) (*run, error) {
	w.attempt++
	if w.nextID == 0 {
		w.nextID = 1
	}
	s, err := New(Options{Dir: w.dir, Name: "job-1", Step: func(string, string) error {
		if crashAt == nil {
			return nil
		}
		if *crashAt--; *crashAt < 0 {
			return errCrash
		}
		return nil
	}})
	if err != nil {
		return nil, err
	}
	r := &run{attempt: w.attempt, sink: s, position: w.complete.position, told: w.complete.id}
	from := w.complete
	r.restore = func() error {
		r.begun = true
		return s.Restore(r.attempt, from.id, from.saved)
	}
	w.runs = append(w.runs, r)
	return r, nil
}

func (w *world) current(r *run) bool { return r.attempt == w.attempt }

func (w *world) write(r *run) error {
	err := r.sink.Write(state.Record{Key: fmt.Appendf(nil, "%03d", r.position), Value: []byte("1")})
	if err == nil {
		r.position++
	}
	return err
}

func (w *world) preCommit(r *run) error {
	id := w.nextID
	w.nextID++
	saved, err := r.sink.PreCommit(id)
	if err == nil {
		r.taken = append(r.taken, checkpoint{id, r.position, saved})
	}
	return err
}

// finish completes the newest checkpoint taken; only the current attempt's can be completed.
func (w *world) finish(r *run) {
	if n := len(r.taken); n > 0 && w.current(r) {
		w.complete, r.taken = r.taken[n-1], nil
		r.told = w.complete.id
	}
}

// exact ends the story: a last attempt writes up to limit records, and the output is compared.
func (w *world) exact(t tb, limit int) {
	t.Helper()
	r, err := w.start(nil)
	if err != nil {
		t.Fatalf("last attempt: %v", err)
	}
	for r.position < limit {
		if err := w.write(r); err != nil {
			t.Fatalf("%v", err)
		}
	}
	if err := w.preCommit(r); err != nil {
		t.Fatalf("%v", err)
	}
	w.finish(r)
	if err := errors.Join(r.sink.Commit(r.told), r.sink.Close()); err != nil {
		t.Fatalf("%v", err)
	}
	var got []string
	if err := ReadLines(w.dir, "job-1", func(k, _ []byte) error { got = append(got, string(k)); return nil }); err != nil {
		t.Fatalf("%v", err)
	}
	slices.Sort(got)
	if len(got) != limit {
		t.Fatalf("%d lines, want %d: %v", len(got), limit, got)
	}
	for i, k := range got {
		if k != fmt.Sprintf("%03d", i) {
			t.Fatalf("line %d is %s, want its own number", i, k)
		}
	}
}

type tb interface {
	Helper()
	Fatalf(format string, args ...any)
}

// story is a run that includes an aborted checkpoint. It ends at the first error.
func (w *world) story(r *run) error {
	for range 2 {
		for _, step := range []func(*run) error{
			w.write, w.write, w.preCommit,
			w.write, w.preCommit,
			func(r *run) error { w.finish(r); return r.sink.Commit(r.told) },
			w.write, w.preCommit,
			func(r *run) error { w.finish(r); return nil }, // Complete is lost
		} {
			if err := step(r); err != nil {
				return err
			}
		}
	}
	return r.sink.Close()
}

// TestCrashBeforeEverySystemCall kills the first attempt before its i-th call. It kills the second attempt, which
// recovers, before its j-th.
func TestCrashBeforeEverySystemCall(t *testing.T) {
	end := func(w *world, at int) (reached bool) {
		r, err := w.start(&at)
		if err == nil {
			err = w.story(r)
		}
		if err != nil && !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		return at < 0
	}
	pairs := 0
	for i := 0; ; i++ {
		reached := false
		for j := 0; ; j++ {
			w := &world{dir: t.TempDir()}
			reached = end(w, i)
			again := end(w, j)
			w.exact(t, 30)
			if left := staging(t, w.dir); len(left) != 0 {
				t.Fatalf("crash before calls %d and %d leaves %v, want nothing", i, j, left)
			}
			pairs++
			// The recovery is within the first calls; later calls are like those of the first attempt.
			if !again || j > 12 || i%2 == 1 {
				break
			}
		}
		if !reached {
			break
		}
	}
	t.Logf("%d pairs of crashes", pairs)
}

// TestZombies lets any number of attempts live at once, and act in any order that the facts allow.
func TestZombies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "ckptd-sink-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		w := &world{dir: dir}
		if _, err := w.start(nil); err != nil {
			t.Fatal(err)
		}
		// A call of a replaced attempt may fail, because its files are removed. A call of the current attempt must
		// not fail.
		act := func(name string, f func(*run) error) func(*rapid.T) {
			return func(t *rapid.T) {
				r := w.runs[rapid.IntRange(0, len(w.runs)-1).Draw(t, "run")]
				do := f
				if !r.begun {
					do = func(r *run) error { return r.restore() }
				}
				if err := do(r); err != nil && w.current(r) {
					t.Fatalf("%s in attempt %d: %v, want no error", name, r.attempt, err)
				}
			}
		}
		limited := func(r *run) error {
			if r.position >= 60 {
				return nil
			}
			return w.write(r)
		}
		t.Repeat(map[string]func(*rapid.T){
			"write":     act("write", limited),
			"writeMore": act("write", func(r *run) error { return errors.Join(limited(r), limited(r)) }),
			"preCommit": act("pre-commit", w.preCommit),
			"finish":    act("finish", func(r *run) error { w.finish(r); return nil }),
			"commit":    act("commit", func(r *run) error { return r.sink.Commit(r.told) }),
			"close": act("close", func(r *run) error {
				if w.current(r) {
					return nil
				}
				return r.sink.Close()
			}),
			"assign": func(t *rapid.T) {
				if _, err := w.assign(nil); err != nil {
					t.Fatal(err)
				}
			},
		})
		w.exact(t, 60)
		for _, r := range w.runs {
			r.sink.Close()
		}
	})
}
