package connectors

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ckptd/ckptd/runtime/state"
)

// An Input is something that sources read: always the same records.
type Input struct {
	// Open returns a source at the beginning of the input, which ends. There are at least three records.
	Open func(t testing.TB) state.Source
	// Restored returns a source that waits for Seek; nil means Open.
	Restored func(t testing.TB) state.Source
	// Idle returns a source that has no record, and may get one later; nil leaves its subtests out.
	Idle func(t testing.TB) state.Source
	// Split names the part of the input that a record comes from. The order of records is fixed only within a part. nil: there is one part.
	Split func(state.Record) string
}

// patience is how long one call may take before the suite says that it blocks. A call of Next has to take about state.MaxWait milliseconds.
const patience = 20 * time.Second

// maxCuts is the number of positions from which TestSource reads the rest of the input.
const maxCuts = 25

// TestSource checks the contract of state.Source.
func TestSource(t *testing.T, create func(t testing.TB) Input) {
	for name, test := range map[string]func(*testing.T, Input){
		"two sources read the same records":                         sameRecords,
		"a position at any record gives the records that followed":  seekAnywhere,
		"a source can seek back, also from the end":                 seekBack,
		"the end stays the end, and the position stays there":       endStays,
		"the position belongs to the caller":                        positionIsACopy,
		"the position of a source that was not read begins again":   firstPosition,
		"progress counts from the beginning, restored records too":  progressCounts,
		"a position that is none is refused":                        foreignPosition,
		"Close can be repeated":                                     closeTwice,
		"Next returns NotNow without a record, instead of blocking": notNow,
		"Interrupt ends what waits":                                 interruptSource,
	} {
		t.Run(name, func(t *testing.T) {
			in := create(t)
			if in.Restored == nil {
				in.Restored = in.Open
			}
			if in.Split == nil {
				in.Split = func(state.Record) string { return "" }
			}
			test(t, in)
		})
	}
}

// within runs a call that must not block.
func within(t testing.TB, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%s has not returned after %v", what, patience)
	}
}

func next(t testing.TB, s state.Source, rec *state.Record) (r state.Readiness) {
	t.Helper()
	var err error
	within(t, "Next", func() { r, err = s.Next(rec) })
	if err != nil {
		t.Fatalf("Next: %v", err)
	}
	return r
}

// A history is the records of each split, in order.
type history map[string][]string

func (h history) add(in Input, rec state.Record) {
	split := in.Split(rec)
	h[split] = append(h[split], fmt.Sprintf("%s=%s", rec.Key, rec.Value))
}

// plus appends later histories to a copy of h.
func (h history) plus(later history) history {
	sum := history{}
	for _, one := range []history{h, later} {
		for split, records := range one {
			sum[split] = append(slices.Clone(sum[split]), records...)
		}
	}
	return sum
}

func (h history) size() (n int) {
	for _, records := range h {
		n += len(records)
	}
	return n
}

func (h history) same(t testing.TB, what string, got history) {
	t.Helper()
	for split, want := range h {
		if !slices.Equal(want, got[split]) {
			t.Fatalf("%s: split %q: got %d records %.300q, want %d %.300q", what, split, len(got[split]), got[split], len(want), want)
		}
	}
	if len(got) > len(h) {
		t.Fatalf("%s: got %d splits, want %d", what, len(got), len(h))
	}
}

// read reads at most limit records, up to the end.
func read(t testing.TB, in Input, s state.Source, limit int) history {
	t.Helper()
	h := history{}
	var rec state.Record
	for end := time.Now().Add(patience); h.size() < limit; {
		switch next(t, s, &rec) {
		case state.Ready:
			h.add(in, rec)
		case state.End:
			return h
		case state.NotNow:
			if time.Now().After(end) {
				t.Fatalf("the source neither ends nor has a record after %v and %d records", patience, h.size())
			}
		}
	}
	return h
}

const all = 1 << 40

func open(t testing.TB, make func(testing.TB) state.Source) state.Source {
	t.Helper()
	s := make(t)
	t.Cleanup(func() { s.Close() })
	return s
}

// whole reads the input once.
func whole(t testing.TB, in Input) history {
	t.Helper()
	h := read(t, in, open(t, in.Open), all)
	if h.size() < 3 {
		t.Fatalf("the input has %d records; the suite needs three", h.size())
	}
	return h
}

func seek(t testing.TB, s state.Source, position []byte) {
	t.Helper()
	if err := s.Seek(position); err != nil {
		t.Fatalf("Seek: %v", err)
	}
}

func sameRecords(t *testing.T, in Input) {
	whole(t, in).same(t, "the second reading", read(t, in, open(t, in.Open), all))
}

func seekAnywhere(t *testing.T, in Input) {
	want := whole(t, in)
	step := max(1, want.size()/maxCuts)
	for n := 0; n <= want.size(); n += step {
		s := open(t, in.Open)
		before := read(t, in, s, n)
		again := open(t, in.Restored)
		seek(t, again, s.Position())
		want.same(t, fmt.Sprintf("cut after %d records", n), before.plus(read(t, in, again, all)))
		s.Close()
		again.Close()
	}
}

func seekBack(t *testing.T, in Input) {
	want := whole(t, in)
	s := open(t, in.Open)
	before := read(t, in, s, 2)
	middle := s.Position()
	rest := read(t, in, s, all)
	for range 2 {
		seek(t, s, middle)
		if got := s.Position(); !bytes.Equal(got, middle) {
			t.Errorf("the position after Seek is %s, want %s", got, middle)
		}
		rest.same(t, "the rest again", read(t, in, s, all))
	}
	want.same(t, "both parts", before.plus(rest))
}

func endStays(t *testing.T, in Input) {
	s := open(t, in.Open)
	read(t, in, s, all)
	at := s.Position()
	var rec state.Record
	for range 3 {
		if r := next(t, s, &rec); r != state.End {
			t.Fatalf("Next says %v after the end, want %v", r, state.End)
		}
		if got := s.Position(); !bytes.Equal(got, at) {
			t.Fatalf("the position has moved from %s to %s after the end", at, got)
		}
	}
	again := open(t, in.Restored)
	seek(t, again, at)
	if h := read(t, in, again, all); h.size() != 0 {
		t.Errorf("a source restored at the end reads %v", h)
	}
}

func positionIsACopy(t *testing.T, in Input) {
	s := open(t, in.Open)
	read(t, in, s, 1)
	p := s.Position()
	want := bytes.Clone(p)
	clear(p)
	if got := s.Position(); !bytes.Equal(got, want) {
		t.Errorf("writing into the position changed it to %s, want %s", got, want)
	}
	rest := read(t, in, s, all)
	if moved := s.Position(); bytes.Equal(moved, want) && rest.size() > 0 {
		t.Errorf("the position is %s before and after %d records", want, rest.size())
	}
}

func firstPosition(t *testing.T, in Input) {
	s := open(t, in.Restored)
	seek(t, s, open(t, in.Open).Position())
	whole(t, in).same(t, "from the first position", read(t, in, s, all))
}

func progressCounts(t *testing.T, in Input) {
	s := open(t, in.Open)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() { // any goroutine may call it
		defer close(done)
		for last := uint64(0); ; {
			n := s.Progress().Records
			if n < last {
				t.Errorf("progress falls from %d to %d", last, n)
			}
			last = n
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	n := read(t, in, s, 2).size()
	if got := s.Progress().Records; got != uint64(n) {
		t.Errorf("progress after %d records: %d", n, got)
	}
	again := open(t, in.Restored)
	seek(t, again, s.Position())
	if got := again.Progress(); got != s.Progress() {
		t.Errorf("progress after Seek: %+v, want %+v", got, s.Progress())
	}
	n += read(t, in, again, all).size()
	if got := again.Progress().Records; got != uint64(n) {
		t.Errorf("progress at the end: %d, want %d", got, n)
	}
	close(stop)
	<-done
}

func foreignPosition(t *testing.T, in Input) {
	good := open(t, in.Open).Position()
	for _, p := range [][]byte{nil, {}, []byte("x"), append(bytes.Clone(good), "x"...), []byte("{}")} {
		if err := open(t, in.Restored).Seek(p); err == nil {
			t.Errorf("Seek(%q) says nothing", p)
		}
	}
}

func closeTwice(t *testing.T, in Input) {
	s := in.Open(t)
	read(t, in, s, 1)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
}

func notNow(t *testing.T, in Input) {
	if in.Idle == nil {
		t.Skip("the input cannot be idle")
	}
	s := open(t, in.Idle)
	var rec state.Record
	for range 20 {
		if r := next(t, s, &rec); r != state.NotNow {
			t.Fatalf("Next says %v (%s=%s), want %v", r, rec.Key, rec.Value, state.NotNow)
		}
	}
}

func interruptSource(t *testing.T, in Input) {
	make := in.Idle
	if make == nil {
		make = in.Open
	}
	s := open(t, make)
	i, ok := s.(state.Interrupter)
	if !ok {
		t.Skip("the source has no Interrupt")
	}
	within(t, "Interrupt", func() { i.Interrupt(); i.Interrupt() })
	var rec state.Record
	within(t, "Next after Interrupt", func() { s.Next(&rec) })
	within(t, "Close after Interrupt", func() { s.Close() })
}
