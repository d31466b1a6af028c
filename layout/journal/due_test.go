package journal

import "testing"

// TestWhenAJobIsDue: what the entry alone shows, and what the store's time decides. What time can decide needs a writer that
// knows it.
func TestWhenAJobIsDue(t *testing.T) {
	day := uint64(SettleAfter.Milliseconds())
	pin := []Lent{{Pin: nonce(1, 1), Checkpoint: 1}}
	for name, test := range map[string]struct {
		entry Entry
		// from is the first time at which the job is due; 0: at any; never: at none.
		from   uint64
		writer uint32
	}{
		"nothing retained":             {Entry{}, never, 1},
		"kept":                         {Entry{Retained: []Checkpoint{{ID: 1}}}, never, 1},
		"hidden":                       {Entry{Retained: []Checkpoint{{ID: 1, State: StateHidden}}}, 0, 1},
		"hidden and lent":              {Entry{Retained: []Checkpoint{{ID: 1, State: StateHidden}}, Lent: pin}, never, 1},
		"a purge":                      {Entry{PurgeWanted: true, Status: StatusFailed}, 0, 1},
		"a purge and a pin":            {Entry{PurgeWanted: true, Status: StatusFailed, Lent: pin}, never, 1},
		"a pin that expires":           {Entry{Lent: []Lent{{Pin: nonce(1, 1), Checkpoint: 1, Expires: 9}}}, 9, 2},
		"a tombstone":                  {Entry{PurgeWanted: true, Status: StatusRemoved}, never, 1},
		"in the trash":                 {Entry{Retained: []Checkpoint{{ID: 1, State: StateTrashed, TrashedAt: 5, TrashUntil: 7}}}, 7, 2},
		"in the trash, without a time": {Entry{Retained: []Checkpoint{{ID: 1, State: StateTrashed, TrashedAt: 5}}}, never, 1},
		"kept again":                   {Entry{Retained: []Checkpoint{{ID: 1, TrashUntil: 7}}}, never, 1},
		"released":                     {Entry{ReleasedAt: 5}, 5 + day, 2},
		"settled":                      {Entry{ReleasedAt: 5, Settled: true}, never, 2},
	} {
		e := test.entry
		for _, now := range []uint64{1, max(test.from, 2) - 1, test.from, test.from + 1} {
			if got, want := e.DueAt(now), now >= test.from && test.from != never; got != want {
				t.Errorf("%s at %d: due is %v, want %v", name, now, got, want)
			}
		}
		if got, want := e.Timed(), test.from != 0 && test.from != never; got != want {
			t.Errorf("%s: the time decides: %v, want %v", name, got, want)
		}
		if got := e.leastWriter(); got != test.writer {
			t.Errorf("%s: least writer %d, want %d", name, got, test.writer)
		}
	}
}

const never = 1 << 60
