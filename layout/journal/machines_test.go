package journal

import (
	"fmt"
	"slices"
	"testing"
)

// settings with a ring of 2 and no slot kept beside the head.
var settings = &Settings{Ring: 2, Version: FormatVersion}

// chain is slots 1 to n of one journal.
func chain(n int) (out []*Entry) {
	var last *Entry
	for i := range n {
		var a Append
		e := Entry{Epoch: 1, Kind: KindReserve, Status: StatusRunning, Reserved: uint64(i)}
		last = a.Begin(settings, last, e, nonce(1, uint32(i+1)), RoleOwner).Entry
		out = append(out, last)
	}
	return out
}

func slots(s ...uint64) Result { return Result{Outcome: Done, Slots: s} }

func entry(e *Entry) Result { return Result{Outcome: Done, Entry: e} }

func TestReadHead(t *testing.T) {
	c := chain(4)
	newer := *c[2]
	newer.LeastReader = FormatVersion + 1
	for name, test := range map[string]struct {
		atLeast uint64
		results []Result
		ops     string
		how     Reading
		head    *Entry
	}{
		"the head":              {0, []Result{slots(2, 3, 1), entry(c[2]), slots(1, 2, 3)}, "list get3 list", ReadDone, c[2]},
		"empty":                 {0, []Result{slots()}, "list", ReadEmpty, nil},
		"foreign":               {0, []Result{{Outcome: Done, Foreign: true}}, "list", ReadForeign, nil},
		"failed reads":          {0, []Result{{}, slots(1), {}, entry(c[0]), {}, slots(1)}, "list list~ get1 get1~ list list~", ReadDone, c[0]},
		"stale list":            {3, []Result{slots(1, 2), slots(3), entry(c[2]), slots(3)}, "list list~ get3 list", ReadDone, c[2]},
		"stale and empty":       {1, []Result{slots(), slots(1), entry(c[0]), slots(1)}, "list list~ get1 list", ReadDone, c[0]},
		"stale second list":     {0, []Result{slots(3), entry(c[2]), slots(2), slots(3)}, "list get3 list list~", ReadDone, c[2]},
		"trimmed meanwhile":     {0, []Result{slots(3), {Outcome: NotFound}, slots(4), entry(c[3]), slots(4)}, "list get3 list get4 list", ReadDone, c[3]},
		"grown meanwhile":       {0, []Result{slots(3), entry(c[2]), slots(3, 4), entry(c[3]), slots(4)}, "list get3 list get4 list", ReadDone, c[3]},
		"corrupt":               {0, []Result{slots(3), {Outcome: Corrupt}, slots(3)}, "list get3 list", ReadCorrupt, nil},
		"corrupt, not the head": {0, []Result{slots(3), {Outcome: Corrupt}, slots(4), entry(c[3]), slots(4)}, "list get3 list get4 list", ReadDone, c[3]},
		"another slot's entry":  {0, []Result{slots(3), entry(c[1]), slots(3)}, "list get3 list", ReadCorrupt, nil},
		"newer":                 {0, []Result{slots(3), entry(&newer), slots(3)}, "list get3 list", ReadNewer, nil},
		"newer by its bytes":    {0, []Result{slots(3), {Outcome: Newer}, slots(3)}, "list get3 list", ReadNewer, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var r ReadHead
			ops := opText(r.Begin(test.atLeast))
			how := ReadMore
			for i, res := range test.results {
				if how != ReadMore {
					t.Fatalf("over after %d results", i)
				}
				var op Op
				op, how = r.Step(settings, res)
				if op.Kind != OpNone {
					ops += " " + opText(op)
				}
			}
			if ops != test.ops || how != test.how || r.Head() != test.head || r.Busy() {
				t.Errorf("%q, %d, head %v; want %q, %d", ops, how, r.Head(), test.ops, test.how)
			}
		})
	}
}

func opText(op Op) string {
	wait := [...]string{"", "~", "?"}[op.Wait]
	switch op.Kind {
	case OpList:
		return "list" + wait
	case OpGet:
		return fmt.Sprintf("get%d%s", op.Slot, wait)
	case OpPublish:
		return fmt.Sprintf("publish%d%s", op.Slot, wait)
	}
	return "none"
}

// after is an entry at a slot beyond c, by another process.
func after(c *Entry, epoch uint64, edit func(*Entry)) *Entry {
	var a Append
	e := *c
	e.Epoch = epoch
	edit(&e)
	return a.Begin(settings, c, e, nonce(9, uint32(c.Slot)), RoleThird).Entry
}

func TestAppend(t *testing.T) {
	c := chain(3)
	base := c[2]
	mine := func() *Entry { var a Append; return a.Begin(settings, base, *base, nonce(1, 50), RoleOwner).Entry }()
	none := func(*Entry) {}
	theirs := after(base, 1, none)
	fencing := after(base, 2, none)
	onMine := after(mine, 1, none)
	attachOnMine := after(mine, 2, none)
	effect := after(after(mine, 1, none), 1, func(e *Entry) { e.Reserved = 77 })
	done, exists := Result{Outcome: Done}, Result{Outcome: Exists}
	read := func(e *Entry) []Result { return []Result{slots(e.Slot), entry(e), slots(e.Slot)} }
	all := []Role{RoleOwner, RoleAttach, RoleThird}
	for name, test := range map[string]struct {
		results []Result
		ops     string
		roles   []Role
		verdict []Verdict
		head    *Entry
	}{
		"created":                  {append([]Result{done}, read(mine)...), "publish4 list get4 list", all, []Verdict{Won, Won, Won}, mine},
		"exists, and it is ours":   {append([]Result{exists}, read(mine)...), "publish4 list get4 list", all, []Verdict{Won, Won, Won}, mine},
		"unknown, again, created":  {append([]Result{{}, done}, read(mine)...), "publish4 publish4~ list get4 list", all, []Verdict{Won, Won, Won}, mine},
		"not done, again, created": {append([]Result{{Outcome: NotDone}, done}, read(mine)...), "publish4 publish4~ list get4 list", all, []Verdict{Won, Won, Won}, mine},
		"exists, another's":        {append([]Result{exists}, read(theirs)...), "publish4 list get4 list", all, []Verdict{Lost, NotWon, Lost}, theirs},
		"another epoch":            {append([]Result{exists}, read(fencing)...), "publish4 list get4 list", all, []Verdict{Fenced, NotWon, Lost}, fencing},
		"in the ring":              {append([]Result{done}, read(onMine)...), "publish4 list get5 list", all, []Verdict{Won, Won, Won}, onMine},
		"in the ring, fenced":      {append([]Result{done}, read(attachOnMine)...), "publish4 list get5 list", all, []Verdict{Fenced, NotWon, Won}, attachOnMine},
		"the effect":               {append([]Result{exists}, read(effect)...), "publish4 list get6 list", all, []Verdict{Won, Won, Won}, effect},
		"re-created a trimmed one": {append([]Result{done}, read(after(after(theirs, 2, none), 2, none))...), "publish4 list get6 list", all[:2], []Verdict{Fenced, NotWon}, nil},
		"the head is unreadable":   {[]Result{done, slots(4), {Outcome: Corrupt}, slots(4)}, "publish4 list get4 list", all, []Verdict{Unreadable, Unreadable, Unreadable}, nil},
		"stale list":               {append([]Result{done, slots(3)}, read(mine)...), "publish4 list list~ get4 list", all, []Verdict{Won, Won, Won}, mine},
		"unknown, then stale list": {append([]Result{{}, exists, slots(3)}, read(mine)...), "publish4 publish4~ list list~ get4 list", all, []Verdict{Won, Won, Won}, mine},
	} {
		for i, role := range test.roles {
			t.Run(fmt.Sprintf("%s/%d", name, role), func(t *testing.T) {
				var a Append
				ops := opText(a.Begin(settings, base, *base, nonce(1, 50), role))
				verdict, head := Open, (*Entry)(nil)
				for _, res := range test.results {
					var op Op
					op, verdict, head, _ = a.Step(settings, res, func(e *Entry) bool { return e.Reserved == 77 })
					if op.Kind != OpNone {
						ops += " " + opText(op)
					}
					if verdict == Open && head != nil {
						t.Errorf("after %q: a head without a verdict", ops)
					}
				}
				if ops != test.ops || verdict != test.verdict[i] || a.Busy() {
					t.Errorf("%q, verdict %d; want %q, %d", ops, verdict, test.ops, test.verdict[i])
				}
				if test.head != nil && head.Nonce != test.head.Nonce {
					t.Errorf("head %v", head)
				}
			})
		}
	}
}

// TestAppendTrusts: the store's lists show every published slot. If Append has created the largest slot, it need not
// read the head. If the slot existed, it must.
func TestAppendTrusts(t *testing.T) {
	trusting := *settings
	trusting.TrustList = true
	c := chain(3)
	for _, test := range []struct {
		outcome Outcome
		shown   uint64
		want    Verdict
	}{{Done, 4, Won}, {Exists, 4, Open}, {Done, 5, Open}} {
		var a Append
		a.Begin(&trusting, c[2], *c[2], nonce(1, 50), RoleOwner)
		a.Step(&trusting, Result{Outcome: test.outcome}, nil)
		if _, v, _, _ := a.Step(&trusting, slots(3, test.shown), nil); v != test.want {
			t.Errorf("%+v: verdict %d", test, v)
		}
	}
}

func TestAppendSeals(t *testing.T) {
	c := chain(5)
	last := c[4]
	if last.Slot != 5 || !slices.Equal(last.Ring, []Nonce{c[3].Nonce, last.Nonce}) || last.LeastReader != 1 {
		t.Errorf("%+v", last)
	}
	var a Append
	a.Begin(settings, last, *last, nonce(3, 3), RoleOwner)
	_, _, _, trim := a.Step(settings, Result{Outcome: Done}, nil)
	for _, res := range []Result{slots(4, 5, 6), entry(a.Next()), slots(6, 4, 5)} {
		_, _, _, trim = a.Step(settings, res, nil)
	}
	if !slices.Equal(trim, []uint64{4, 5}) {
		t.Errorf("trim %v", trim)
	}
}
