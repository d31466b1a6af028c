package mem_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
)

// has reports whether an object is there.
func has(t *testing.T, s storage.Store, key string) bool {
	t.Helper()
	_, err := s.Stat(t.Context(), key)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

// decide returns the given outcomes in order, then Done.
func decide(outcomes ...mem.Outcome) func(mem.Mutation) mem.Outcome {
	return func(m mem.Mutation) mem.Outcome {
		if m.N <= len(outcomes) {
			return outcomes[m.N-1]
		}
		return mem.Done()
	}
}

func create(t *testing.T, ctx context.Context, s storage.Store, key, data string) error {
	t.Helper()
	w, err := s.Create(ctx, key, storage.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if _, err := w.Write([]byte(data)); err != nil {
		t.Fatal(err)
	}
	return w.Commit()
}

func TestLaterLandsAfterSoManyMutations(t *testing.T) {
	inner := mem.New()
	f := mem.NewFaults(inner, decide(mem.Later(2), mem.Done(), mem.Done()))
	ctx, cancel := context.WithCancel(t.Context())
	err := create(t, ctx, f, "late", "x")
	cancel() // the end of the caller does not stop bytes on their way
	if !errors.Is(err, storage.ErrUnknown) || !errors.Is(err, mem.ErrInjected) {
		t.Fatal(err)
	}
	for i, want := range []bool{false, true, true} {
		if err := f.Publish(t.Context(), fmt.Sprint(i), nil); err != nil {
			t.Fatal(err)
		}
		if got := has(t, inner, "late"); got != want {
			t.Errorf("after %d more mutations: landed %v, want %v", i+1, got, want)
		}
	}
}

func TestALateDuplicateRecreatesWhatWasDeleted(t *testing.T) {
	inner := mem.New()
	f := mem.NewFaults(inner, decide(mem.Later(3)))
	if err := f.Publish(t.Context(), "slot", []byte("x")); !errors.Is(err, storage.ErrUnknown) {
		t.Fatal(err)
	}
	if err := f.Publish(t.Context(), "slot", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if errs := f.Delete(t.Context(), []string{"slot"}); errs != nil {
		t.Fatal(errs)
	}
	if has(t, inner, "slot") {
		t.Fatal("the object is there after its delete, want it gone")
	}
	if n := f.Land(); n != 1 || !has(t, inner, "slot") || f.Pending() != 0 {
		t.Errorf("%d landed, %d on their way; want 1 landed, 0 on their way", n, f.Pending())
	}
}

func TestFrozenProcessChangesNothing(t *testing.T) {
	inner := mem.New()
	f, other := mem.NewFaults(inner, decide(mem.Later(5))), mem.NewFaults(inner, nil)
	if err := f.Publish(t.Context(), "on its way", nil); !errors.Is(err, storage.ErrUnknown) {
		t.Fatal(err)
	}
	w, err := f.Create(t.Context(), "amid", storage.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f.Freeze()
	if err := w.Commit(); !errors.Is(err, mem.ErrInjected) {
		t.Error(err)
	}
	if err := f.Publish(t.Context(), "a", nil); !errors.Is(err, storage.ErrUnknown) {
		t.Error(err)
	}
	if _, err := f.Stat(t.Context(), "a"); !errors.Is(err, mem.ErrInjected) {
		t.Error(err)
	}
	for _, err := range f.List(t.Context(), "") {
		if !errors.Is(err, mem.ErrInjected) {
			t.Error(err)
		}
	}
	if err := other.Publish(t.Context(), "b", nil); err != nil {
		t.Error(err)
	}
	if has(t, inner, "a") || has(t, inner, "amid") || has(t, inner, "on its way") || !has(t, inner, "b") {
		t.Error("a frozen process changed the store, or another one could not; want changes by the other one alone")
	}
	f.Land()
	f.Thaw()
	if !has(t, f, "on its way") {
		t.Error("a mutation on its way is lost, want it landed")
	}
}

func TestSeededIsDeterministicAndStrikes(t *testing.T) {
	rates := mem.Rates{Failed: 0.1, DoneButError: 0.1, Later: 0.1}
	run := func(seed uint64) string {
		decide := mem.Seeded(seed, rates)
		var out []string
		for i := range 200 {
			out = append(out, decide(mem.Mutation{N: i}).String())
		}
		return strings.Join(out, "\n")
	}
	if first, again := run(1), run(1); first != again {
		t.Error("the same seed gave other outcomes, want the same")
	}
	if run(1) == run(2) {
		t.Error("two seeds gave the same outcomes, want different ones")
	}
	for _, want := range []string{"failed", "done but error", "error, lands 1 later", "error, lands 5 later"} {
		if !strings.Contains(run(1), want) {
			t.Errorf("the outcome %q never came, want it at some time", want)
		}
	}
}

func TestTranscript(t *testing.T) {
	var lines []string
	faults := mem.NewFaults(mem.New(), decide(mem.Done(), mem.Done(), mem.DoneButError(), mem.Failed()))
	s := mem.NewTranscript(faults, func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) })
	_ = s.Publish(t.Context(), "a/1", []byte("entry"))
	_ = s.Publish(t.Context(), "a/1", []byte("entry"))
	_ = s.Publish(t.Context(), "a/2", nil)
	_ = create(t, t.Context(), s, "b/f", "12345678")
	w, err := s.Create(t.Context(), "b/g", storage.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.Abort()
	for range s.List(t.Context(), "a/") {
	}
	_, _ = s.Open(t.Context(), "a/1", 1, 2)
	_, _ = s.Open(t.Context(), "a/3", 0, -1)
	_, _ = s.Stat(t.Context(), "a/1")
	_ = s.Delete(t.Context(), []string{"a/1", "../x"})
	_, _ = s.AbortUnfinished(t.Context(), "a/", func(string) bool { return true })
	want := []string{
		"publish a/1 5 bytes: done", "publish a/1 5 bytes: exists", "publish a/2 0 bytes: unknown", "create b/f 8 bytes: not done",
		"abort b/g", "list a/ 2 objects: done", "open a/1 from 1, 2 bytes: done", "open a/3: not found", "stat a/1: done",
		"delete a/1: done", "delete ../x: not done", "abort unfinished a/ 0: done",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
