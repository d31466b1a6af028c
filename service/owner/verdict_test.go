package owner

import (
	"slices"
	"testing"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// judged is an owner of epoch 3 with one retained checkpoint 9, which names file 1, and 12 as the next checkpoint.
func judged() *Machine {
	e := journal.Entry{Epoch: 3, Retained: []journal.Checkpoint{{ID: 9}}}
	m := &Machine{phase: PhaseOwning, head: &e, next: 12, held: []held{{id: 9, files: incremental.FilesOf(1)}}}
	m.index = incremental.Index{Known: incremental.FilesOf(1, 2, 3, 4), Reachable: incremental.FilesOf(1), Condemned: incremental.FilesOf(4)}
	m.promises = []promise{{id: 11, files: incremental.FilesOf(2)}}
	return m
}

func TestEachFileHasAVerdict(t *testing.T) {
	pending := func(m *Machine) { m.pending = []Pending{{ID: 11}} }
	for _, test := range []struct {
		name  string
		found Found
		given func(*Machine)
		want  Verdict
		dead  bool
	}{
		{"a file that a retained checkpoint names", Found{1, 3, 9}, nil, VerdictNeeded, false},
		{"a file of an earlier owner that a retained checkpoint names", Found{1, 2, 5}, nil, VerdictNeeded, false},
		{"a promised file", Found{2, 3, 9}, nil, VerdictPromised, false},
		{"a known file that no checkpoint names, one pending", Found{3, 3, 9}, pending, VerdictWaits, false},
		{"a known file that no checkpoint names", Found{3, 3, 9}, nil, VerdictFell, true},
		{"a condemned file", Found{4, 3, 9}, nil, VerdictCondemned, true},
		{"an unknown file of an earlier epoch", Found{5, 2, 20}, nil, VerdictOld, true},
		{"an unknown file of a later epoch", Found{5, 4, 1}, nil, VerdictLater, false},
		{"an unknown file of the last checkpoint below the floor", Found{5, 3, 11}, nil, VerdictNeverAcknowledged, true},
		{"an unknown file of the next checkpoint", Found{5, 3, 12}, nil, VerdictOpen, false},
		{"an unknown file of a pending checkpoint", Found{5, 3, 11}, pending, VerdictOpen, false},
		{"while a _metadata is being read", Found{5, 2, 1}, func(m *Machine) { m.held[0].state = heldLoading }, VerdictUnread, false},
		{"while a _metadata cannot be read", Found{5, 2, 1}, func(m *Machine) { m.held[0].state = heldUnreadable }, VerdictUnread, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := judged()
			if test.given != nil {
				test.given(m)
			}
			got := m.Judge(test.found)
			if got != test.want || got.Dead() != test.dead {
				t.Errorf("got %q (dead: %v), want %q (dead: %v)", got, got.Dead(), test.want, test.dead)
			}
		})
	}
}

func TestEachMetadataHasAVerdict(t *testing.T) {
	for _, test := range []struct {
		name  string
		id    uint64
		given func(*Machine)
		want  Verdict
	}{
		{"of a retained checkpoint", 9, nil, VerdictNeeded},
		{"of a checkpoint that left the state", 8, nil, VerdictDropped},
		{"of the last checkpoint below the floor", 11, nil, VerdictDropped},
		{"of the next checkpoint", 12, nil, VerdictOpen},
		{"of a pending checkpoint", 11, func(m *Machine) { m.pending = []Pending{{ID: 11}} }, VerdictOpen},
		{"that is condemned", 8, func(m *Machine) { m.metas = []uint64{8} }, VerdictCondemned},
		{"of a retained checkpoint that cannot be read", 9, func(m *Machine) { m.held[0].state = heldUnreadable }, VerdictNeeded},
		{"of another checkpoint meanwhile", 8, func(m *Machine) { m.held[0].state = heldUnreadable }, VerdictUnread},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := judged()
			if test.given != nil {
				test.given(m)
			}
			if got := m.JudgeMetadata(test.id); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestCondemnGivesAVerdictOnWhatIsLeftBehind: on the _metadata that an entry dropped, and on the files that nothing
// needs any more. It changes nothing.
func TestCondemnGivesAVerdictOnWhatIsLeftBehind(t *testing.T) {
	for name, test := range map[string]struct {
		given func(*Machine)
		want  []Judgement
	}{
		"of two, one is condemned already": {func(m *Machine) { m.metas = []uint64{7} },
			[]Judgement{{Checkpoint: 7, Verdict: VerdictCondemned}, {Checkpoint: 8, Verdict: VerdictDropped}, {File: 3, Verdict: VerdictFell}}},
		"also while another checkpoint is pending": {func(m *Machine) { m.pending = []Pending{{ID: 11}} },
			[]Judgement{{Checkpoint: 7, Verdict: VerdictDropped}, {Checkpoint: 8, Verdict: VerdictDropped}, {File: 3, Verdict: VerdictFell}}},
		"while a _metadata cannot be read": {func(m *Machine) { m.held[0].state = heldUnreadable },
			[]Judgement{{Checkpoint: 7, Verdict: VerdictUnread}, {Checkpoint: 8, Verdict: VerdictUnread}, {File: 3, Verdict: VerdictUnread}}},
	} {
		m := judged()
		test.given(m)
		before := string(m.appendKey(nil))
		if got := m.Condemn([]uint64{7, 8}); !slices.Equal(got, test.want) {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
		if string(m.appendKey(nil)) != before {
			t.Errorf("%s: the machine changed, want a verdict only", name)
		}
	}
}

func TestEachVerdictSaysWhy(t *testing.T) {
	seen := map[string]bool{}
	for v := range verdicts {
		why := Verdict(v).String()
		if why == "" || seen[why] {
			t.Errorf("verdict %d says %q, want a text of its own", v, why)
		}
		seen[why] = true
	}
}
