package journal

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	storedv1 "github.com/ckptd/ckptd/proto/ckptd/stored/v1"
)

func nonce(process byte, count uint32) Nonce { return Nonce{Process{process}, count} }

// base is a sealed entry with something in every field.
func base() *Entry {
	e := &Entry{
		Slot: 7, Epoch: 3, Kind: KindCommit, LeastReader: 1, LeastWriter: 2, Nonce: nonce(1, 9), Ring: []Nonce{nonce(2, 1), nonce(1, 9)},
		Owner: nonce(1, 2), URLs: []string{"http://127.0.0.1:7420", "unix:/run/ckptd.sock"}, Attempt: 4, Restore: 11, Status: StatusRunning,
		Reserved: 40,
		Plan: NewPlan([]Operator{{ID: "source", UID: "clicks", Parallelism: 2, MaxParallelism: 128, Triggered: true},
			{ID: "sink", Parallelism: 1, MaxParallelism: 128}}),
		Config: NewConfig([]byte("a configuration")),
		About:  &About{Job: "job-1", Labels: []Label{{"name", "clicks"}, {"team", "ä"}}},
		Retained: []Checkpoint{
			{ID: 11, State: StateHidden, Nonce: nonce(1, 5), Size: 100, CRC: 0xdeadbeef, CompletedAt: 1, DurationMillis: 2, StateBytes: 3, NewBytes: 4},
			{ID: 12, Type: TypeSavepoint, State: StateTrashed, Nonce: nonce(1, 7), Size: 1, CRC: 2, Imported: true, Keep: true,
				Tags: []string{"before the move", "ü"}, TrashedAt: 5, TrashUntil: 6}},
		Lent:     []Lent{{Pin: nonce(4, 4), Checkpoint: 11, Holder: "job-2", HolderEpoch: 5, Mode: Claim, Expires: 6}},
		Borrowed: []Borrowed{{Pin: nonce(5, 5), Job: "job-0", Checkpoint: 4, Mode: Claim}},
		Savepoints: []Savepoint{{ID: 12, Path: "s3://b/sp", Outcome: SavepointDone, Stop: StopDrain, Nonce: nonce(1, 8), Size: 7, CRC: 8,
			Request: RequestOf("c"), EndedAt: 9}, {ID: 13}},
		Requests:    []Request{RequestOf("a"), RequestOf("b")},
		Import:      Import{State: ImportDone, Request: "latest", Source: "s3://b/job-0/chk-4", Nonce: nonce(6, 6), Mode: Claim},
		CopiedFrom:  Origin{RootID: "root", Job: "job-9"},
		PurgeWanted: true, ReleasedAt: 11, Settled: true,
		Ended: Ended{At: 10, Why: "a person said so"},
	}
	e.seal()
	return e
}

func TestEncodeDecode(t *testing.T) {
	e := base()
	b, err := Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, e) {
		t.Errorf("got  %+v\nwant %+v", got, e)
	}
	if again, _ := Encode(got); string(again) != string(b) {
		t.Error("encoded twice, and not the same")
	}
}

// TestDecodeRefusesDamage: every bit flipped in turn, cut at every length, and lengthened.
func TestDecodeRefusesDamage(t *testing.T) {
	b, err := Encode(base())
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		for bit := range 8 {
			c := slices.Clone(b)
			c[i] ^= 1 << bit
			if _, err := Decode(c); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("byte %d bit %d flipped: %v", i, bit, err)
			}
		}
		if _, err := Decode(b[:i]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	if _, err := Decode(append(b, 0)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("lengthened: %v", err)
	}
}

func TestDecodeRefusesNonsense(t *testing.T) {
	for name, edit := range map[string]func(*Entry){
		"no slot":        func(e *Entry) { e.Slot = 0 },
		"no epoch":       func(e *Entry) { e.Epoch = 0 },
		"no status":      func(e *Entry) { e.Status = StatusNone },
		"no kind":        func(e *Entry) { e.Kind = KindNone },
		"ring":           func(e *Entry) { e.Ring = e.Ring[:1] },
		"no ring":        func(e *Entry) { e.Ring = nil },
		"above reserved": func(e *Entry) { e.Reserved = 11 },
		"order":          func(e *Entry) { e.Retained[0].ID = 13 },
		"twice":          func(e *Entry) { e.Retained[0].ID = 12 },
		"too many":       func(e *Entry) { e.Requests = make([]Request, MaxRequests+1) },
		"too many pins":  func(e *Entry) { e.Lent = make([]Lent, MaxLent+1) },
		"pins elsewhere": func(e *Entry) { e.Borrowed = make([]Borrowed, MaxBorrowed+1) },
		"another hash":   func(e *Entry) { e.Config = &Config{Bytes: e.Config.Bytes, Hash: e.Config.Hash + 1} },
	} {
		e := base()
		edit(e)
		b, err := Encode(e)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := Decode(b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDecodeRefusesNonsenseOnTheWire: what an Entry cannot hold, and bytes with good checksums can.
func TestDecodeRefusesNonsenseOnTheWire(t *testing.T) {
	for name, edit := range map[string]func(*storedv1.JournalEntry){
		"a nonce that is none":             func(m *storedv1.JournalEntry) { m.Nonce = "x" },
		"an owner that is none":            func(m *storedv1.JournalEntry) { m.Owner = "x" },
		"a nonce in the ring that is none": func(m *storedv1.JournalEntry) { m.Ring[0] = "x" },
		"a checkpoint's nonce":             func(m *storedv1.JournalEntry) { m.Retained[0].MetadataNonce = "x" },
		"the pin of a lent one":            func(m *storedv1.JournalEntry) { m.Lent[0].Pin = "x" },
		"the pin of a borrowed one":        func(m *storedv1.JournalEntry) { m.Borrowed[0].Pin = "x" },
		"a short request":                  func(m *storedv1.JournalEntry) { m.Requests[0] = m.Requests[0][1:] },
		"a long request":                   func(m *storedv1.JournalEntry) { m.Requests[0] = append(m.Requests[0], 0) },
		"_metadata elsewhere":              func(m *storedv1.JournalEntry) { m.Retained[0].MetadataKey = "chk-12/_metadata" },
		"a checkpoint without a type":      func(m *storedv1.JournalEntry) { m.Retained[0].Type = 0 },
		"a checkpoint without a state":     func(m *storedv1.JournalEntry) { m.Retained[0].State = 0 },
		"a negative kind":                  func(m *storedv1.JournalEntry) { m.Kind = -1 },
		"a negative status":                func(m *storedv1.JournalEntry) { m.Status = -1 },
		"no config, which has no hash":     func(m *storedv1.JournalEntry) { m.Config = nil },
		"no plan":                          nil,
	} {
		e := base()
		m := toProto(e)
		want := ErrCorrupt
		if edit != nil {
			edit(m)
		} else { // it is read as an empty one
			m.Plan, want = nil, nil
		}
		payload, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(frame(payload, e.LeastReader, e.LeastWriter)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}

func TestNewerFormats(t *testing.T) {
	e := base()
	e.LeastReader = FormatVersion + 1
	b, _ := Encode(e)
	if _, err := Decode(b); !errors.Is(err, ErrNewer) {
		t.Errorf("a larger least reader: %v", err)
	}
	e = base()
	e.LeastWriter = FormatVersion + 1
	b, _ = Encode(e)
	got, err := Decode(b)
	if err != nil || got.LeastWriter != FormatVersion+1 {
		t.Errorf("a larger least writer can be read: %v", err)
	}
}

func TestFits(t *testing.T) {
	operators := func(n int) *Plan {
		o := make([]Operator, n)
		for i := range o {
			o[i] = Operator{ID: "0123456789abcdef0123456789abcdef", UID: "an operator", Parallelism: 128, MaxParallelism: 32768}
		}
		return NewPlan(o)
	}
	config, about := NewConfig([]byte("a configuration")), &About{Job: "job"}
	if err := Fits(operators(50), config, about, []string{"http://127.0.0.1:7420"}); err != nil {
		t.Errorf("50 operators: %v", err)
	}
	if err := Fits(operators(2000), config, about, nil); !errors.Is(err, ErrTooLarge) {
		t.Errorf("2000 operators: %v", err)
	}
}

func TestNonces(t *testing.T) {
	for _, n := range []Nonce{{}, nonce(1, 0), nonce(255, 1<<32-1), {NewProcess(), 17}} {
		got, err := ParseNonce(n.String())
		if err != nil || got != n {
			t.Errorf("%v: %v, %v", n, got, err)
		}
	}
	for _, s := range []string{"x", "01-", "010000000000000000000000-01", "010000000000000000000000-4294967296", "01000000000000000000000G-1",
		"0A0000000000000000000000-1", "010000000000000000000000", "0100000000000000000000-1", "01000000000000000000000000-1"} {
		if n, err := ParseNonce(s); err == nil {
			t.Errorf("%q: %v", s, n)
		}
	}
	if first, second := NewProcess(), NewProcess(); first == second {
		t.Error("two processes alike")
	}
	if RequestOf("") != (Request{}) || RequestOf("a") == RequestOf("b") {
		t.Error("requests")
	}
}

func TestPlanNumbersItsSubtasks(t *testing.T) {
	p := NewPlan(append(slices.Clone(base().Plan.Operators), Operator{ID: "third", Parallelism: 4}))
	if p.Subtasks() != 7 {
		t.Errorf("%d subtasks", p.Subtasks())
	}
	for n := range p.Subtasks() {
		o, index := p.Subtask(n)
		if got, ok := p.Number(o.ID, index); !ok || got != n {
			t.Errorf("%s %d is %d, want %d", o.ID, index, got, n)
		}
	}
	if _, ok := p.Number("source", 2); ok {
		t.Error("source 2")
	}
	if _, ok := p.Number("other", 0); ok {
		t.Error("other 0")
	}
	if o, _ := p.Subtask(7); o != nil {
		t.Error("subtask 7")
	}
	other := slices.Clone(p.Operators)
	other[0].Parallelism++
	if NewPlan(other).Hash() == p.Hash() || NewPlan(slices.Clone(p.Operators)).Hash() != p.Hash() {
		t.Error("hash")
	}
}

func FuzzDecode(f *testing.F) {
	b, _ := Encode(base())
	f.Add(b)
	f.Add(b[:preamble])
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Decode(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) {
				t.Fatalf("neither corrupt nor newer: %v", err)
			}
			return
		}
		again, err := Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Decode(again); err != nil || !reflect.DeepEqual(got, e) {
			t.Fatalf("%v: not the same after another turn", err)
		}
	})
}

// FuzzPayload damages what the checksums cannot see: it seals whatever payload comes.
func FuzzPayload(f *testing.F) {
	b, _ := Encode(base())
	f.Add(b[preamble : len(b)-4])
	f.Fuzz(func(t *testing.T, payload []byte) {
		if e, err := Decode(frame(payload, 1, 1)); err == nil {
			if _, err := Encode(e); err != nil {
				t.Fatal(err)
			}
		} else if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) {
			t.Fatal(err)
		}
	})
}
