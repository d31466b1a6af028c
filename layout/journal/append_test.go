package journal

import (
	"slices"
	"testing"
)

// readAll feeds a reader and gives what it asked for, how it ended, and the head.
func readAll(t *testing.T, atLeast uint64, results ...Result) (string, Reading, *Entry) {
	t.Helper()
	var r ReadHead
	ops, how := opText(r.Begin(atLeast)), ReadMore
	for i, res := range results {
		if how != ReadMore || !r.Busy() {
			t.Fatalf("over after %d results, %s", i, ops)
		}
		var op Op
		if op, how = r.Step(settings, res); op.Kind != OpNone {
			ops += " " + opText(op)
		}
	}
	if r.Busy() != (how == ReadMore) {
		t.Errorf("busy: %v, and the reading is %d", r.Busy(), how)
	}
	return ops, how, r.Head()
}

// TestReadHeadActsOnWholeAnswersOnly: a list that failed, or that lacks a slot that certainly exists, proves nothing.
func TestReadHeadActsOnWholeAnswersOnly(t *testing.T) {
	c := chain(4)
	failed := func(s ...uint64) Result { return Result{Outcome: Unknown, Slots: s} }
	for name, test := range map[string]struct {
		results []Result
		ops     string
		how     Reading
		head    *Entry
	}{
		"the first list fails in the middle": {[]Result{failed(1, 2), slots(3), entry(c[2]), slots(3)},
			"list list~ get3 list", ReadDone, c[2]},
		"the second list fails in the middle": {[]Result{slots(3), entry(c[2]), failed(3), slots(4), entry(c[3]), slots(4)},
			"list get3 list list~ get4 list", ReadDone, c[3]},
		"the first list fails empty": {[]Result{{Outcome: Unknown, Foreign: true}, slots(1), entry(c[0]), slots(1)},
			"list list~ get1 list", ReadDone, c[0]},
		"a slot is gone, and the list is stale": {
			[]Result{slots(3), {Outcome: NotFound}, slots(2), slots(), slots(4), entry(c[3]), slots(4)},
			"list get3 list list~ list~ get4 list", ReadDone, c[3]},
		"other objects beside the slots": {[]Result{{Outcome: Done, Slots: []uint64{2}, Foreign: true}, entry(c[1]), slots(2)},
			"list get2 list", ReadDone, c[1]},
		"an answer without an entry": {[]Result{slots(3), {Outcome: Done}, slots(3)}, "list get3 list", ReadCorrupt, nil},
		"damage at a slot that was overtaken twice": {
			[]Result{slots(2), {Outcome: Corrupt}, slots(3), {Outcome: Newer}, slots(4), entry(c[3]), slots(4)},
			"list get2 list get3 list get4 list", ReadDone, c[3]},
		"a good slot that was overtaken by damage": {[]Result{slots(2), entry(c[1]), slots(3), {Outcome: Corrupt}, slots(3)},
			"list get2 list get3 list", ReadCorrupt, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if ops, how, head := readAll(t, 0, test.results...); ops != test.ops || how != test.how || head != test.head {
				t.Errorf("%q, %d, head %v; want %q, %d, %v", ops, how, head, test.ops, test.how, test.head)
			}
		})
	}
}

// TestAppendPublishesTheSameEntryEachTime: until somebody's entry is in the slot.
func TestAppendPublishesTheSameEntryEachTime(t *testing.T) {
	c := chain(3)
	var a Append
	first := a.Begin(settings, c[2], *c[2], nonce(1, 50), RoleOwner)
	for _, outcome := range []Outcome{Unknown, NotDone, NotFound, Corrupt, Newer, Unknown} {
		op, v, _, _ := a.Step(settings, Result{Outcome: outcome}, nil)
		if op.Kind != OpPublish || op.Entry != first.Entry || op.Slot != 4 || op.Wait != WaitBackoff || v != Open || !a.Busy() {
			t.Fatalf("outcome %d: %+v, verdict %d; want the same entry again", outcome, op, v)
		}
	}
	if op, v, _, _ := a.Step(settings, Result{Outcome: Exists}, nil); op.Kind != OpList || v != Open || !a.Busy() {
		t.Errorf("%+v, verdict %d; want a look at the head", op, v)
	}
}

// TestAppendFillsIn: slot, nonce and ring are the append's; the least versions are at least 1, and never lowered.
func TestAppendFillsIn(t *testing.T) {
	set := DefaultSettings()
	var last *Entry
	for i := range uint32(40) {
		var a Append
		e := Entry{Epoch: 1, Slot: 99, Nonce: nonce(9, 9), Ring: []Nonce{nonce(9, 9)}, LeastReader: i % 3, LeastWriter: i % 4}
		last = a.Begin(&set, last, e, nonce(1, i), RoleOwner).Entry
		n := min(int(i)+1, 16)
		if last.Slot != uint64(i)+1 || last.Nonce != nonce(1, i) || len(last.Ring) != n {
			t.Fatalf("entry %d: %+v, want slot %d, its nonce, and a ring of %d", i, last, i+1, n)
		}
		for j, r := range last.Ring {
			if want := nonce(1, i+1-uint32(n)+uint32(j)); r != want {
				t.Fatalf("entry %d: ring %v, want the last %d nonces", i, last.Ring, n)
			}
		}
		if last.LeastReader != max(i%3, 1) || last.LeastWriter != max(i%4, 1) {
			t.Errorf("entry %d: least reader %d, writer %d", i, last.LeastReader, last.LeastWriter)
		}
	}
	var a, b Append
	one := a.Begin(&set, nil, Entry{Attempt: 1}, nonce(1, 1), RoleOwner).Entry
	two := b.Begin(&set, nil, Entry{Attempt: 2}, nonce(1, 1), RoleOwner).Entry
	if string(one.AppendKey(nil)) == string(two.AppendKey(nil)) {
		t.Error("two entries with different contents have one key")
	}
}

// TestAppendTrustsAWholeListOnly: the store's lists show every published slot. Append then trusts a list, but not one
// that failed. Older slots that the list shows may be trimmed.
func TestAppendTrustsAWholeListOnly(t *testing.T) {
	trusting := *settings
	trusting.TrustList = true
	trusting.Keep = 1
	c := chain(3)
	begin := func() *Append {
		var a Append
		a.Begin(&trusting, c[2], *c[2], nonce(1, 50), RoleOwner)
		a.Step(&trusting, Result{Outcome: Done}, nil)
		return &a
	}
	a := begin()
	if op, v, _, _ := a.Step(&trusting, Result{Outcome: Unknown, Slots: []uint64{4}}, nil); v != Open || op.Kind != OpList || op.Wait != WaitBackoff {
		t.Errorf("a list that failed: %+v, verdict %d", op, v)
	}
	if op, v, _, _ := a.Step(&trusting, slots(2, 3), nil); v != Open || op.Kind != OpList {
		t.Errorf("a list that is stale: %+v, verdict %d", op, v)
	}
	next := a.Next()
	if _, v, head, trim := a.Step(&trusting, slots(1, 4, 2, 3), nil); v != Won || head != next || !slices.Equal(trim, []uint64{1, 2}) {
		t.Errorf("verdict %d, head %v, trim %v; want won, and 1 and 2 trimmed", v, head, trim)
	}
	a = begin()
	a.Step(&trusting, slots(5), nil)
	theirs := after(after(c[2], 1, func(*Entry) {}), 2, func(*Entry) {})
	a.Step(&trusting, entry(theirs), nil)
	if _, v, _, _ := a.Step(&trusting, slots(5), func(*Entry) bool { return false }); v != Fenced {
		t.Errorf("verdict %d, want fenced: the slot created was not the head", v)
	}
}

// TestOnlyWhatTheLastListShowsIsTrimmed: and never the head, nor the slots kept beside it.
func TestOnlyWhatTheLastListShowsIsTrimmed(t *testing.T) {
	keeping := *settings
	keeping.Keep = 2
	c := chain(6)
	var a Append
	a.Begin(&keeping, c[5], *c[5], nonce(1, 50), RoleOwner)
	a.Step(&keeping, Result{Outcome: Done}, nil)
	mine := a.Next()
	a.Step(&keeping, slots(1, 2, 7), nil)
	a.Step(&keeping, entry(mine), nil)
	if _, v, _, trim := a.Step(&keeping, slots(7, 6, 5, 4, 3), nil); v != Won || !slices.Equal(trim, []uint64{4, 3}) {
		t.Errorf("verdict %d, trim %v; want 4 and 3: 7 is the head, 6 and 5 are kept", v, trim)
	}
}
