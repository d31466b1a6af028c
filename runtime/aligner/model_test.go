package aligner

import (
	"fmt"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// model states the rules with sets: which barriers have arrived of each checkpoint, and the checkpoint's outcome.
type model struct {
	channels int
	arrived  map[uint64]map[int]bool
	ended    map[int]bool
	told     map[uint64]bool // aborted by the coordinator
	decided  map[uint64]bool
	top      uint64
	log      []string
}

func newModel(channels int) *model {
	return &model{channels: channels, arrived: map[uint64]map[int]bool{}, ended: map[int]bool{}, told: map[uint64]bool{}, decided: map[uint64]bool{}}
}

func (m *model) decide(id uint64, verdict string) {
	m.decided[id] = true
	m.log = append(m.log, fmt.Sprintf("%s %d", verdict, id))
}

func (m *model) undecided() bool { return m.top > 0 && !m.decided[m.top] }

func (m *model) barrier(ch int, id uint64) {
	if m.ended[ch] || id < m.top || m.decided[id] {
		return
	}
	if id > m.top {
		if m.undecided() {
			m.decide(m.top, ReasonSubsumed)
		}
		m.top = id
		m.arrived[id] = map[int]bool{}
	}
	if m.told[id] {
		m.decide(id, "cancel")
		return
	}
	m.arrived[id][ch] = true
	m.complete()
}

func (m *model) complete() {
	if !m.undecided() {
		return
	}
	all := maps.Clone(m.arrived[m.top])
	maps.Copy(all, m.ended)
	if len(all) == m.channels {
		m.decide(m.top, "snapshot")
	}
}

func (m *model) cancel(ch int, id uint64) {
	if m.ended[ch] || id < m.top || m.decided[id] {
		return
	}
	if id > m.top && m.undecided() {
		m.decide(m.top, ReasonSubsumed)
	}
	m.top = id
	m.decide(id, ReasonCancelMarker)
}

func (m *model) abort(id uint64) {
	if m.undecided() && id == m.top {
		m.decide(id, "cancel")
	} else if id > m.top {
		m.told[id] = true
	}
}

func (m *model) blocked(ch int) bool {
	return m.undecided() && m.arrived[m.top][ch] && !m.ended[ch]
}

// verdicts translates a machine's actions into the model's words, and tracks blocked channels.
func verdicts(t *rapid.T, log []string, blocked []bool, actions []Action) []string {
	for i, a := range actions {
		switch a.Kind {
		case Block, Unblock:
			if blocked[a.Channel] == (a.Kind == Block) {
				t.Fatalf("%v of channel %d twice, want it once", a.Kind, a.Channel)
			}
			blocked[a.Channel] = a.Kind == Block
		case Snapshot:
			if i == 0 || actions[i-1] != (Action{Kind: Forward, Checkpoint: a.Checkpoint}) {
				t.Fatalf("snapshot %d without Forward, want Forward right before it", a.Checkpoint)
			}
			log = append(log, fmt.Sprintf("snapshot %d", a.Checkpoint))
		case Decline:
			if i+1 == len(actions) || actions[i+1] != (Action{Kind: Cancel, Checkpoint: a.Checkpoint}) {
				t.Fatalf("declined %d without Cancel, want Cancel right after it", a.Checkpoint)
			}
			log = append(log, fmt.Sprintf("%s %d", a.Reason, a.Checkpoint))
		case Cancel:
			if i == 0 || actions[i-1].Kind != Decline {
				log = append(log, fmt.Sprintf("cancel %d", a.Checkpoint))
			}
		}
	}
	return log
}

// For any order of barriers, markers, ends and aborts, possible or not, machine and model agree.
func TestMachineAgreesWithModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		channels := rapid.IntRange(1, 4).Draw(t, "channels")
		machine, model := New(channels), newModel(channels)
		blocked := make([]bool, channels)
		var log []string
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			ch := rapid.IntRange(0, channels-1).Draw(t, "channel")
			id := rapid.Uint64Range(max(machine.Current(), 2)-1, machine.Current()+3).Draw(t, "id")
			event := rapid.SampledFrom([]string{"barrier", "barrier", "barrier", "barrier", "barrier", "cancel", "abort", "end"}).Draw(t, "event")
			if blocked[ch] && event != "abort" && event != "end" {
				continue
			}
			switch event {
			case "barrier":
				log = verdicts(t, log, blocked, machine.Barrier(ch, id))
				model.barrier(ch, id)
			case "cancel":
				log = verdicts(t, log, blocked, machine.CancelMarker(ch, id))
				model.cancel(ch, id)
			case "abort":
				log = verdicts(t, log, blocked, machine.Aborted(id))
				model.abort(id)
			case "end":
				log = verdicts(t, log, blocked, machine.Ended(ch))
				model.ended[ch] = true
				model.complete()
				blocked[ch] = false
			}
			if diff := cmp.Diff(model.log, log); diff != "" {
				t.Fatalf("model and machine differ (-model +machine):\n%s", diff)
			}
			for c := range blocked {
				if blocked[c] != model.blocked(c) {
					t.Fatalf("channel %d: blocked %v, want %v", c, blocked[c], model.blocked(c))
				}
			}
		}
	})
}

// BA-16: random data on many channels, with barriers at random places; some are missing, some replaced by markers.
// Each snapshot is a consistent cut, every record is delivered in order, and no channel stays blocked.
func TestSnapshotsAreConsistentCuts(t *testing.T) {
	t.Run("BA-16", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			channels := rapid.IntRange(1, 6).Draw(t, "channels")
			streams := make([][]item, channels)
			for c := range streams {
				streams[c] = drawStream(t, c)
			}
			m := New(channels)
			read, position, blocked := make([]int, channels), make([]int, channels), make([]bool, channels)
			for {
				var ready []int
				for c := range streams {
					if position[c] < len(streams[c]) && !blocked[c] {
						ready = append(ready, c)
					}
				}
				if len(ready) == 0 {
					break
				}
				c := rapid.SampledFrom(ready).Draw(t, "next")
				it := streams[c][position[c]]
				position[c]++
				var actions []Action
				switch {
				case it.end:
					actions = m.Ended(c)
				case it.marker:
					actions = m.CancelMarker(c, it.barrier)
				case it.barrier > 0:
					actions = m.Barrier(c, it.barrier)
				default:
					if it.record != read[c] {
						t.Fatalf("channel %d: record %d, want %d", c, it.record, read[c])
					}
					read[c]++
				}
				for _, a := range actions {
					switch a.Kind {
					case Block, Unblock:
						blocked[a.Channel] = a.Kind == Block
					case Snapshot:
						checkCut(t, streams, read, a.Checkpoint)
					}
				}
			}
			for c := range streams {
				if position[c] != len(streams[c]) {
					t.Fatalf("channel %d stayed blocked, want all of it read", c)
				}
			}
		})
	})
}

type item struct {
	record  int
	barrier uint64
	marker  bool
	end     bool
}

func drawStream(t *rapid.T, c int) []item {
	var s []item
	n := 0
	for id := uint64(1); id <= 8; id++ {
		for range rapid.IntRange(0, 3).Draw(t, "records") {
			s = append(s, item{record: n})
			n++
		}
		switch rapid.IntRange(0, 9).Draw(t, "barrier") {
		case 0:
		case 1:
			s = append(s, item{barrier: id, marker: true})
		default:
			s = append(s, item{barrier: id})
		}
	}
	return append(s, item{end: true})
}

// checkCut: of each channel exactly the records before the checkpoint's barrier were read, or all records if there is
// no barrier.
func checkCut(t *rapid.T, streams [][]item, read []int, id uint64) {
	for c, s := range streams {
		before := 0
		for _, it := range s {
			if it.barrier == id && !it.marker {
				break
			}
			if it.barrier == 0 && !it.end {
				before++
			}
		}
		if read[c] != before {
			t.Fatalf("checkpoint %d: channel %d had delivered %d records, want the %d before the barrier", id, c, read[c], before)
		}
	}
}
