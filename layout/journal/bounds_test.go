package journal

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestStatusIsTerminal(t *testing.T) {
	for status, want := range map[Status]bool{StatusNone: false, StatusRunning: false, StatusCanceled: true, StatusFailed: true,
		StatusFinished: true} {
		if got := status.Terminal(); got != want {
			t.Errorf("status %d: terminal is %v, want %v", status, got, want)
		}
	}
}

// TestListsAtTheirBounds: Encode takes each list at its limit and refuses one more.
func TestListsAtTheirBounds(t *testing.T) {
	for name, fill := range map[string]struct {
		most int
		set  func(e *Entry, n int)
	}{
		"retained": {MaxRetained, func(e *Entry, n int) {
			e.Retained, e.Reserved = make([]Checkpoint, n), uint64(n)
			for i := range e.Retained {
				e.Retained[i].ID = uint64(i + 1)
			}
		}},
		"requests": {MaxRequests, func(e *Entry, n int) {
			e.Requests = make([]Request, n)
			for i := range e.Requests {
				e.Requests[i] = RequestOf(fmt.Sprint(i))
			}
		}},
		"savepoints": {MaxSavepoints, func(e *Entry, n int) { e.Savepoints = make([]Savepoint, n) }},
	} {
		for n, want := range map[int]error{fill.most: nil, fill.most + 1: ErrCorrupt} {
			e := base()
			fill.set(e, n)
			b, err := Encode(e)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if _, err := Decode(b); !errors.Is(err, want) {
				t.Errorf("%d %s: %v, want %v", n, name, err, want)
			}
		}
	}
}

// TestHighestRetainedMayBeTheHighestReserved: only a checkpoint above what is reserved is refused.
func TestHighestRetainedMayBeTheHighestReserved(t *testing.T) {
	e := base()
	e.Reserved = 12
	b, err := Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(b); err != nil {
		t.Errorf("checkpoint 12 of 12 reserved: %v", err)
	}
}

// TestSizeAtItsBound: an entry of exactly MaxBytes is written and read, one of a byte more is not written.
func TestSizeAtItsBound(t *testing.T) {
	sized := func(size int) *Entry {
		e := base()
		for range 3 { // the length of the text's length changes the size, too
			b, err := Encode(e)
			if err != nil {
				t.Fatal(err)
			}
			e.URLs = []string{strings.Repeat("u", len(strings.Join(e.URLs, ""))+size-len(b))}
		}
		return e
	}
	b, err := Encode(sized(MaxBytes))
	if err != nil || len(b) != MaxBytes {
		t.Fatalf("encode the largest entry: %d bytes, %v; want %d", len(b), err, MaxBytes)
	}
	if _, err := Decode(b); err != nil {
		t.Errorf("decode the largest entry: %v", err)
	}
	e := sized(MaxBytes)
	e.URLs[0] += "u"
	if _, err := Encode(e); !errors.Is(err, ErrTooLarge) {
		t.Errorf("encode an entry of a byte more: %v, want %v", err, ErrTooLarge)
	}
}

// TestTrimKeepsSlots: of what a list shows, the head and Keep slots before it stay.
func TestTrimKeepsSlots(t *testing.T) {
	keeping := *settings
	keeping.Keep = 2
	c := chain(6)
	var r ReadHead
	r.Begin(0)
	for _, res := range []Result{slots(1, 2, 3, 4, 5, 6), entry(c[5]), slots(6, 5, 4, 3, 2, 1)} {
		r.Step(&keeping, res)
	}
	if got := fmt.Sprint(r.shown); got != "[3 2 1]" {
		t.Errorf("slots %s may be trimmed, want [3 2 1]", got)
	}
}

// TestKeyTellsEntriesApart: the sum of an entry stands for its contents, so entries that differ a little must not share one.
func TestKeyTellsEntriesApart(t *testing.T) {
	seen := map[string]string{}
	add := func(e Entry, format string, args ...any) {
		what := fmt.Sprintf(format, args...)
		e.seal()
		key := string(e.AppendKey(nil))
		if other, ok := seen[key]; ok && other != what {
			t.Fatalf("one key for %s and for %s", other, what)
		}
		seen[key] = what
	}
	for i := range uint64(60) {
		for j := range uint64(60) {
			add(Entry{Attempt: i + 1, Restore: j}, "attempt %d, restore %d", i+1, j)
			add(Entry{Epoch: i + 1, Reserved: 1 << j}, "epoch %d, reserved %d", i+1, uint64(1)<<j)
			add(Entry{Owner: nonce(byte(i+1), uint32(j))}, "process %d, count %d", i+1, j)
			add(Entry{URLs: []string{fmt.Sprint("u", i), fmt.Sprint(j)}}, "url %d, url %d", i, j)
		}
	}
	for i := range len(Process{}) {
		var p Process
		p[i] = 100
		add(Entry{Owner: Nonce{Process: p}}, "byte %d of a process", i)
		add(Entry{Nonce: Nonce{Process: p}}, "byte %d of a process in the nonce", i)
		add(Entry{Ring: []Nonce{{Process: p}}}, "byte %d of a process in the ring", i)
	}
	for i := range 16 {
		var r Request
		r[i] = 100
		add(Entry{Requests: []Request{r}}, "byte %d of a request", i)
	}
}
