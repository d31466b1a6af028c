package journal

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"

	storedv1 "github.com/ckptd/ckptd/proto/ckptd/stored/v1"
)

// A new attempt restores the newest checkpoint that is kept and no savepoint: nothing in the trash, nothing hidden.
func TestNewest(t *testing.T) {
	var kinds []Checkpoint
	for _, typ := range []CheckpointType{TypeCheckpoint, TypeSavepoint} {
		for _, state := range []CheckpointState{StateKept, StateTrashed, StateHidden} {
			kinds = append(kinds, Checkpoint{Type: typ, State: state})
		}
	}
	restorable := func(c Checkpoint) bool { return reflect.DeepEqual(c, kinds[0]) }
	if got := (&Entry{}).Newest(); got != 0 {
		t.Errorf("nothing retained: %d, want 0", got)
	}
	for _, a := range kinds {
		for _, b := range kinds {
			for _, c := range kinds {
				want, retained := uint64(0), []Checkpoint{a, b, c}
				for i, k := range retained {
					retained[i].ID = uint64(i + 3)
					if restorable(k) {
						want = uint64(i + 3)
					}
				}
				if got := (&Entry{Retained: retained}).Newest(); got != want {
					t.Errorf("%+v: %d, want %d", retained, got, want)
				}
			}
		}
	}
}

func TestEntryAnswersWhatItHolds(t *testing.T) {
	e := base()
	for id, want := range map[uint64]bool{10: false, 11: true, 12: true, 13: false} {
		if c, ok := e.Checkpoint(id); ok != want || ok && c.ID != id {
			t.Errorf("checkpoint %d: %+v %v, want %v", id, c, ok, want)
		}
	}
	for id, want := range map[uint64]bool{4: false, 11: true, 12: false} { // 4 is borrowed
		if e.IsLent(id) != want {
			t.Errorf("checkpoint %d is lent: %v, want %v", id, !want, want)
		}
	}
	for id, want := range map[string]bool{"a": true, "b": true, "c": false, "": false} {
		if e.Seen(RequestOf(id)) != want {
			t.Errorf("request %q was seen: %v, want %v", id, !want, want)
		}
	}
	e.Requests = append(e.Requests, Request{})
	if e.Seen(Request{}) {
		t.Error("no request at all was seen")
	}
	for n, want := range map[Nonce]bool{nonce(2, 1): true, nonce(1, 9): true, nonce(1, 2): false, nonce(2, 9): false, {}: false} {
		if e.InRing(n) != want {
			t.Errorf("nonce %v is in the ring: %v, want %v", n, !want, want)
		}
	}
	for s, want := range map[Status]bool{StatusNone: false, StatusRunning: false, StatusStopping: false, StatusCanceled: true,
		StatusFailed: true, StatusFinished: true, StatusCopied: true, StatusRemoved: true} {
		if s.Terminal() != want {
			t.Errorf("status %d is terminal: %v, want %v", s, !want, want)
		}
	}
}

// leaves calls f with each number, text and flag below v.
func leaves(v reflect.Value, path string, f func(v reflect.Value, path string)) {
	switch v.Kind() {
	case reflect.Pointer:
		leaves(v.Elem(), path, f)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				leaves(v.Field(i), path+"."+v.Type().Field(i).Name, f)
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			leaves(v.Index(i), fmt.Sprintf("%s[%d]", path, i), f)
		}
	default:
		f(v, path)
	}
}

// Two entries that differ in anything are two: neither their bytes nor their keys are the same.
func TestEveryFieldCounts(t *testing.T) {
	bytesOf := func(e *Entry) string {
		b, err := Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	whole := bytesOf(base())
	key := base().AppendKey(nil)
	n := 0
	leaves(reflect.ValueOf(base()), "", func(reflect.Value, string) { n++ })
	if n < 100 {
		t.Fatalf("%d fields found", n)
	}
	for i := range n {
		e, at := base(), -1
		var changed string
		leaves(reflect.ValueOf(e), "", func(v reflect.Value, path string) {
			if at++; at != i {
				return
			}
			changed = path
			switch {
			case v.CanUint():
				v.SetUint(v.Uint() + 1)
			case v.Kind() == reflect.String:
				v.SetString(v.String() + "x")
			case v.Kind() == reflect.Bool:
				v.SetBool(!v.Bool())
			default:
				t.Fatalf("%s is a %v", path, v.Kind())
			}
		})
		e.Plan = NewPlan(e.Plan.Operators)
		e.seal()
		if bytesOf(e) == whole {
			t.Errorf("%s changed, the bytes did not", changed)
		}
		if bytes.Equal(e.AppendKey(nil), key) {
			t.Errorf("%s changed, the key did not", changed)
		}
	}
	if bytes.Equal((*Entry)(nil).AppendKey(nil), key) {
		t.Error("no entry has the key of one")
	}
}

// Plans are apart if anything of an operator is, or the order of the operators.
func TestPlanHash(t *testing.T) {
	hashes := map[uint64]string{}
	for name, operators := range map[string][]Operator{
		"none":           nil,
		"one":            {{ID: "ab", UID: "c", Parallelism: 2, MaxParallelism: 3}},
		"id":             {{ID: "aB", UID: "c", Parallelism: 2, MaxParallelism: 3}},
		"uid":            {{ID: "ab", UID: "C", Parallelism: 2, MaxParallelism: 3}},
		"border":         {{ID: "a", UID: "bc", Parallelism: 2, MaxParallelism: 3}},
		"parallelism":    {{ID: "ab", UID: "c", Parallelism: 1, MaxParallelism: 3}},
		"maximum":        {{ID: "ab", UID: "c", Parallelism: 2, MaxParallelism: 4}},
		"triggered":      {{ID: "ab", UID: "c", Parallelism: 2, MaxParallelism: 3, Triggered: true}},
		"two":            {{ID: "a", Parallelism: 1}, {ID: "b", Parallelism: 1}},
		"two, exchanged": {{ID: "b", Parallelism: 1}, {ID: "a", Parallelism: 1}},
	} {
		h := NewPlan(operators).Hash()
		if other, twice := hashes[h]; twice {
			t.Errorf("plan %q has the hash of plan %q", name, other)
		}
		hashes[h] = name
	}
}

// What no writer of this format writes is refused, though its checksums are right.
func TestDecodeRefusesMessages(t *testing.T) {
	for name, edit := range map[string]func(m *storedv1.JournalEntry){
		"nonce":              func(m *storedv1.JournalEntry) { m.Nonce = "x" },
		"owner":              func(m *storedv1.JournalEntry) { m.Owner = "x" },
		"nonce in the ring":  func(m *storedv1.JournalEntry) { m.Ring[0] = "x" },
		"no nonce":           func(m *storedv1.JournalEntry) { m.Nonce, m.Ring[1] = "", "" },
		"ring and nonce":     func(m *storedv1.JournalEntry) { m.Ring[0], m.Ring[1] = m.Ring[1], m.Ring[0] },
		"nonce of metadata":  func(m *storedv1.JournalEntry) { m.Retained[0].MetadataNonce = "x" },
		"key of metadata":    func(m *storedv1.JournalEntry) { m.Retained[0].MetadataKey = "chk-12/_metadata" },
		"no key of metadata": func(m *storedv1.JournalEntry) { m.Retained[0].MetadataKey = "" },
		"no type":            func(m *storedv1.JournalEntry) { m.Retained[0].Type = 0 },
		"no state":           func(m *storedv1.JournalEntry) { m.Retained[0].State = 0 },
		"negative kind":      func(m *storedv1.JournalEntry) { m.Kind = -1 },
		"negative status":    func(m *storedv1.JournalEntry) { m.Status = -1 },
		"no config":          func(m *storedv1.JournalEntry) { m.Config = nil },
		"no mode of a pin":   func(m *storedv1.JournalEntry) { m.Lent[0].Mode = 0 },
		"no mode elsewhere":  func(m *storedv1.JournalEntry) { m.Borrowed[0].Mode = 0 },
		"no import state":    func(m *storedv1.JournalEntry) { m.Import.State = 0 },
		"nonce of a source":  func(m *storedv1.JournalEntry) { m.Import.Nonce = "x" },
		"no outcome":         func(m *storedv1.JournalEntry) { m.Savepoints[0].Outcome = 0 },
		"no kind of stop":    func(m *storedv1.JournalEntry) { m.Savepoints[0].Stop = 0 },
		"savepoint's nonce":  func(m *storedv1.JournalEntry) { m.Savepoints[0].MetadataNonce = "x" },
		"savepoint's asker":  func(m *storedv1.JournalEntry) { m.Savepoints[0].Request = []byte{1} },
		"pin lent":           func(m *storedv1.JournalEntry) { m.Lent[0].Pin = "x" },
		"pin borrowed":       func(m *storedv1.JournalEntry) { m.Borrowed[0].Pin = "x" },
		"short request":      func(m *storedv1.JournalEntry) { m.Requests[1] = m.Requests[1][:15] },
		"checkpoint 0": func(m *storedv1.JournalEntry) {
			m.Retained[0].CheckpointId, m.Retained[0].MetadataKey = 0, "chk-0/_metadata"
		},
		"too many savepoints": func(m *storedv1.JournalEntry) { m.Savepoints = make([]*storedv1.JournalSavepoint, MaxSavepoints+1) },
		"too many retained": func(m *storedv1.JournalEntry) {
			m.Reserved, m.Retained = 1000, nil
			for id := uint64(1); id <= MaxRetained+1; id++ {
				m.Retained = append(m.Retained, &storedv1.JournalCheckpoint{CheckpointId: id, MetadataKey: metadataKey(id), Type: 1, State: 1})
			}
		},
	} {
		m := toProto(base())
		edit(m)
		for i, s := range m.Savepoints {
			if s == nil {
				m.Savepoints[i] = &storedv1.JournalSavepoint{}
			}
		}
		payload, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(frame(payload, 1, 1)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
	}
}

// As much as is allowed is written and read back; Encode refuses a byte more than a slot or a config may have.
func TestEncodeBounds(t *testing.T) {
	e := base()
	e.Reserved, e.Retained = MaxRetained, nil
	for id := uint64(1); id <= MaxRetained; id++ {
		e.Retained = append(e.Retained, Checkpoint{ID: id})
	}
	e.Savepoints, e.Requests = make([]Savepoint, MaxSavepoints), make([]Request, MaxRequests)
	e.Lent, e.Borrowed = make([]Lent, MaxLent), make([]Borrowed, MaxBorrowed)
	b, err := Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(b); err != nil {
		t.Errorf("as many as are allowed of everything: %v", err)
	}
	fill := func(n int) ([]byte, error) {
		e := base()
		e.Ended.Why = string(bytes.Repeat([]byte("x"), n))
		return Encode(e)
	}
	for n := MaxBytes - 2000; n <= MaxBytes; n++ {
		if b, err = fill(n); err != nil {
			break
		}
		if len(b) == MaxBytes {
			if _, err := Decode(b); err != nil {
				t.Errorf("an entry of %d bytes: %v", len(b), err)
			}
			if _, err := fill(n + 1); !errors.Is(err, ErrTooLarge) {
				t.Errorf("one byte more than %d: %v, want ErrTooLarge", MaxBytes, err)
			}
			return
		}
	}
	t.Errorf("no entry of %d bytes was written: the last had %d, %v", MaxBytes, len(b), err)
}

// TestAnImportOfTheSameRoot: job and checkpoint of the source are kept.
func TestAnImportOfTheSameRoot(t *testing.T) {
	want := Import{State: ImportWanted, Request: "job-0/chk-4", Source: "file:///r/job-0/chk-4", Nonce: nonce(6, 6), Job: "job-0", Checkpoint: 4}
	e := base()
	e.Import = want
	b, err := Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(b)
	if err != nil || got.Import != want || !got.Importing() {
		t.Errorf("%v: %+v, want %+v", err, got, want)
	}
}

// TestLeaked: a pin has leaked when a newer owner of the holder does not list it and does not import.
func TestLeaked(t *testing.T) {
	pin := Lent{Pin: nonce(1, 1), Checkpoint: 4, Holder: "b", HolderEpoch: 2}
	for name, test := range map[string]struct {
		holder Entry
		want   bool
	}{
		"the same owner":              {Entry{Epoch: 2, Status: StatusRunning}, false},
		"the same owner, ended":       {Entry{Epoch: 2, Status: StatusFailed}, false},
		"a newer one":                 {Entry{Epoch: 3, Status: StatusRunning}, true},
		"a newer one, ended":          {Entry{Epoch: 3, Status: StatusFailed, Import: Import{State: ImportWanted}}, true},
		"a newer one that lists it":   {Entry{Epoch: 3, Status: StatusRunning, Borrowed: []Borrowed{{Pin: pin.Pin}}}, false},
		"a newer one that lists more": {Entry{Epoch: 3, Status: StatusRunning, Borrowed: []Borrowed{{Pin: nonce(7, 7)}}}, true},
		"a newer one that imports":    {Entry{Epoch: 3, Status: StatusRunning, Import: Import{State: ImportWanted}}, false},
		"a newer one, imported":       {Entry{Epoch: 3, Status: StatusRunning, Import: Import{State: ImportDone}}, true},
	} {
		if got := pin.Leaked(&test.holder); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
