package journal

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	storedv1 "github.com/ckptd/ckptd/proto/ckptd/stored/v1"
)

// full is an entry with every part at its limit and every number as long as it can be.
func full() *Entry {
	const most = 1<<64 - 1
	n := Nonce{Process: Process{255, 255}, Count: 1<<32 - 1}
	text := func(i, size int) string { return fmt.Sprintf("%0*d", size, i) }
	e := &Entry{
		Slot: most, Epoch: most, Kind: 1<<31 - 1, LeastReader: 1, LeastWriter: 1, Nonce: n, Owner: n, Attempt: most, Restore: most,
		Status: StatusRemoved, Reserved: most, Config: NewConfig([]byte(text(0, MaxConfig))), PurgeWanted: true,
		Import:     Import{State: ImportDone, Request: text(0, MaxPath), Source: text(0, MaxPath), Nonce: n, Mode: Claim, Job: text(0, MaxJob), Checkpoint: most},
		CopiedFrom: Origin{RootID: text(0, MaxJob), Job: text(0, MaxJob)},
		Ended:      Ended{At: most, Why: text(0, MaxReason)},
		About:      &About{Job: text(0, MaxJob)},
		Requests:   make([]Request, MaxRequests),
	}
	for range DefaultSettings().Ring {
		e.Ring = append(e.Ring, n)
	}
	for i := range MaxURLs {
		e.URLs = append(e.URLs, text(i, MaxURL))
	}
	// The shortest operators and labels have the most overhead.
	var operators []Operator
	for i := range MaxPlan / (4 + operatorOverhead) {
		operators = append(operators, Operator{ID: text(i, 4), Parallelism: 32768, MaxParallelism: 32768, Triggered: true})
	}
	e.Plan = NewPlan(operators)
	for i := range MaxLabels / (5 + labelOverhead) {
		e.About.Labels = append(e.About.Labels, Label{Key: text(i, 5)})
	}
	for i := range MaxRetained {
		c := Checkpoint{ID: most - MaxRetained + uint64(i), Type: TypeSavepoint, Nonce: n, Size: most, CRC: 1<<32 - 1, Imported: true,
			Keep: true, CompletedAt: most, DurationMillis: most, StateBytes: most, NewBytes: most}
		if i < MaxTrashed {
			c.State, c.TrashedAt = StateTrashed, most
		}
		if i < MaxTags {
			c.Tags = []string{text(i, MaxTag)}
		}
		e.Retained = append(e.Retained, c)
	}
	for i := range MaxLent {
		e.Lent = append(e.Lent, Lent{Pin: n, Checkpoint: most, Holder: text(i, MaxJob), HolderEpoch: most, Mode: Claim, Expires: most})
	}
	for i := range MaxBorrowed {
		e.Borrowed = append(e.Borrowed, Borrowed{Pin: n, Job: text(i, MaxJob), Checkpoint: most, Mode: Claim})
	}
	for i := range MaxSavepoints {
		e.Savepoints = append(e.Savepoints, Savepoint{ID: most, Path: text(i, MaxPath), Outcome: SavepointCleaned, Stop: StopDrain, Nonce: n,
			Size: most, CRC: 1<<32 - 1, Request: RequestOf("a"), EndedAt: most})
	}
	return e
}

// TestEverythingAtItsLimitFits: a job whose parts keep their limits can always append.
func TestEverythingAtItsLimitFits(t *testing.T) {
	e := full()
	if err := e.Fits(); err != nil {
		t.Errorf("everything at its limit: %v, want no error", err)
	}
	b, err := Encode(e)
	if err != nil {
		t.Fatalf("everything at its limit: %v, want an entry of at most %d bytes", err, MaxBytes)
	}
	t.Logf("%d of %d bytes", len(b), MaxBytes)
	if _, err := Decode(b); err != nil {
		t.Errorf("everything at its limit, read back: %v", err)
	}
	// The other extreme: few long names.
	operators := []Operator{{ID: "a", UID: strings.Repeat("x", MaxPlan-operatorOverhead-1)}}
	e.Plan, e.About.Labels = NewPlan(operators), []Label{{Key: "a", Value: strings.Repeat("x", MaxLabels-labelOverhead-1)}}
	if err := e.Fits(); err != nil {
		t.Errorf("one long name and one long label: %v, want no error", err)
	}
	if _, err := Encode(e); err != nil {
		t.Errorf("one long name and one long label: %v, want an entry of at most %d bytes", err, MaxBytes)
	}
}

// TestWhatIsTooLargeIsNamed: the error says which field, how much of it, the limit and what to do.
func TestWhatIsTooLargeIsNamed(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n+1) }
	for want, edit := range map[string]func(*Entry){
		"labels: 100,690 bytes; a journal entry holds 64 KiB: use fewer or shorter labels": func(e *Entry) {
			e.About = &About{Job: "clicks", Labels: []Label{{Key: "a", Value: long(100_690 - 1 - labelOverhead - 1)}}}
		},
		"plan: 65,537 bytes; a journal entry holds 64 KiB: use fewer operators or shorter names": func(e *Entry) {
			e.Plan = NewPlan([]Operator{{ID: long(MaxPlan - operatorOverhead)}})
		},
		"configuration: 2,049 bytes; a journal entry holds 2 KiB: use shorter values": func(e *Entry) {
			e.Config = NewConfig(make([]byte, MaxConfig+1))
		},
		"job id: 129 bytes; a journal entry holds 128 bytes": func(e *Entry) { e.About = &About{Job: long(MaxJob)} },
		"owner URLs: 9; a journal entry holds 8":             func(e *Entry) { e.URLs = make([]string, MaxURLs+1) },
		"owner URL: 513 bytes":                               func(e *Entry) { e.URLs = []string{long(MaxURL)} },
		"retained checkpoints: 201; a journal entry holds 200: remove some, or retain fewer": func(e *Entry) {
			e.Retained = make([]Checkpoint, MaxRetained+1)
		},
		"checkpoints in the trash: 65; a journal entry holds 64": func(e *Entry) {
			e.Retained = make([]Checkpoint, MaxTrashed+1)
			for i := range e.Retained {
				e.Retained[i].State = StateTrashed
			}
		},
		"tags: 65; a journal entry holds 64": func(e *Entry) {
			e.Retained = []Checkpoint{{Tags: make([]string, MaxTags)}, {Tags: make([]string, 1)}}
		},
		"tag: 65 bytes":  func(e *Entry) { e.Retained = []Checkpoint{{Tags: []string{long(MaxTag)}}} },
		"savepoints: 33": func(e *Entry) { e.Savepoints = make([]Savepoint, MaxSavepoints+1) },
		"path of a savepoint: 1,025 bytes; a journal entry holds 1 KiB": func(e *Entry) {
			e.Savepoints = []Savepoint{{Path: long(MaxPath)}}
		},
		"pins of other jobs: 65":                  func(e *Entry) { e.Lent = make([]Lent, MaxLent+1) },
		"pins in other jobs: 65":                  func(e *Entry) { e.Borrowed = make([]Borrowed, MaxBorrowed+1) },
		"id of a job that borrows: 129 bytes":     func(e *Entry) { e.Lent = []Lent{{Holder: long(MaxJob)}} },
		"id of a job that lends: 129 bytes":       func(e *Entry) { e.Borrowed = []Borrowed{{Job: long(MaxJob)}} },
		"requests: 33":                            func(e *Entry) { e.Requests = make([]Request, MaxRequests+1) },
		"request of the import: 1,025 bytes":      func(e *Entry) { e.Import.Request = long(MaxPath) },
		"source of the import: 1,025 bytes":       func(e *Entry) { e.Import.Source = long(MaxPath) },
		"id of the root copied from: 129 bytes":   func(e *Entry) { e.CopiedFrom.RootID = long(MaxJob) },
		"id of the job copied from: 129 bytes":    func(e *Entry) { e.CopiedFrom.Job = long(MaxJob) },
		"reason of the end: 1,025 bytes; a journ": func(e *Entry) { e.Ended.Why = long(MaxReason) },
	} {
		e := base()
		edit(e)
		if err := e.Fits(); !errors.Is(err, ErrTooLarge) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want ErrTooLarge that begins with %q", err, want)
		}
	}
	if err := base().Fits(); err != nil {
		t.Errorf("an ordinary entry: %v, want no error", err)
	}
}

// TestAnEndIsNeverTooLong: its reason is cut between two characters.
func TestAnEndIsNeverTooLong(t *testing.T) {
	for _, why := range []string{"short", strings.Repeat("x", MaxReason), strings.Repeat("ü", MaxReason), "x" + strings.Repeat("ü", MaxReason),
		strings.Repeat("€", MaxReason), strings.Repeat("\xff", MaxReason)} {
		e := Entry{Ended: EndedAt(5, why)}
		got := e.Ended.Why
		if e.Ended.At != 5 || e.Fits() != nil || !utf8.ValidString(got) {
			t.Errorf("reason of %d bytes: %+v, want valid text of at most %d bytes", len(why), e.Ended, MaxReason)
		}
		if len(why) <= MaxReason && utf8.ValidString(why) && got != why {
			t.Errorf("reason of %d bytes: %q, want it whole", len(why), got)
		}
		if len(why) > MaxReason && (!strings.HasSuffix(got, " …") || len(got) < MaxReason-8) {
			t.Errorf("reason of %d bytes: %d bytes are left, want almost %d and the sign that it was cut", len(why), len(got), MaxReason)
		}
	}
}

// TestUnknownKindIsKept: the kind is for people and decides nothing.
func TestUnknownKindIsKept(t *testing.T) {
	for _, kind := range []Kind{KindRemove + 1, 1000, 1<<31 - 1} {
		e := base()
		e.Kind = kind
		b, err := Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(b)
		if err != nil || got.Kind != kind {
			t.Fatalf("kind %d: %+v, %v; want the entry with its kind", kind, got, err)
		}
		if again, err := Encode(got); err != nil || string(again) != string(b) {
			t.Errorf("kind %d: written again, it is another entry (%v)", kind, err)
		}
	}
}

// TestUnknownValueThatDecidesIsNewer: a newer version wrote the entry. Nothing may be changed, and nobody calls it
// damage.
func TestUnknownValueThatDecidesIsNewer(t *testing.T) {
	for name, edit := range map[string]func(m *storedv1.JournalEntry){
		"status":                       func(m *storedv1.JournalEntry) { m.Status = 8 },
		"a status far off":             func(m *storedv1.JournalEntry) { m.Status = 1 << 30 },
		"type of checkpoint":           func(m *storedv1.JournalEntry) { m.Retained[1].Type = 3 },
		"state of checkpoint":          func(m *storedv1.JournalEntry) { m.Retained[1].State = 4 },
		"mode of a pin of another job": func(m *storedv1.JournalEntry) { m.Lent[0].Mode = 3 },
		"mode of a pin elsewhere":      func(m *storedv1.JournalEntry) { m.Borrowed[0].Mode = 3 },
		"state of the import":          func(m *storedv1.JournalEntry) { m.Import.State = 4 },
		"mode of the import":           func(m *storedv1.JournalEntry) { m.Import.Mode = 3 },
		"outcome of a savepoint":       func(m *storedv1.JournalEntry) { m.Savepoints[1].Outcome = 4 },
		"kind of stop":                 func(m *storedv1.JournalEntry) { m.Savepoints[1].Stop = 4 },
		"beside what looks damaged":    func(m *storedv1.JournalEntry) { m.Status, m.Owner = 8, "a new kind of nonce" },
	} {
		m := toProto(base())
		edit(m)
		payload, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(frame(payload, 1, 1)); !errors.Is(err, ErrNewer) || errors.Is(err, ErrCorrupt) {
			t.Errorf("an unknown %s: %v, want ErrNewer", name, err)
		}
	}
}
