package aligner

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// The stories have the names of the test catalogue's entries (AlignedCheckpointsTest: BA,
// SubtaskCheckpointCoordinatorTest: SC). Each line is one event that arrives. Events of a blocked channel are
// delivered when the channel is released.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			datadriven.RunTest(t, file, func(t *testing.T, d *datadriven.TestData) string {
				var channels int
				d.ScanArgs(t, "channels", &channels)
				s := &story{m: New(channels), held: make([][]string, channels), blocked: make([]bool, channels)}
				for line := range strings.Lines(d.Input) {
					s.arrive(t, strings.Fields(line))
				}
				return s.out.String()
			})
		})
	}
}

type story struct {
	m       *Machine
	held    [][]string
	blocked []bool
	out     strings.Builder
}

func (s *story) arrive(t *testing.T, words []string) {
	switch words[0] {
	case "abort":
		s.step(words, s.m.Aborted(number(t, words[1])))
		return
	case "trigger":
		s.step(words, s.m.Trigger(number(t, words[1])))
		return
	}
	ch := int(number(t, words[0]))
	if s.blocked[ch] || len(s.held[ch]) > 0 {
		s.held[ch] = append(s.held[ch], strings.Join(words, " "))
		fmt.Fprintf(&s.out, "%s: held\n", strings.Join(words, " "))
		return
	}
	s.deliver(t, ch, words)
}

func (s *story) deliver(t *testing.T, ch int, words []string) {
	switch words[1] {
	case "barrier":
		s.step(words, s.m.Barrier(ch, number(t, words[2])))
	case "cancel":
		s.step(words, s.m.CancelMarker(ch, number(t, words[2])))
	case "end":
		s.step(words, s.m.Ended(ch))
	default:
		s.step(words, nil)
	}
	for i := range s.held {
		for len(s.held[i]) > 0 && !s.blocked[i] {
			next := strings.Fields(s.held[i][0])
			s.held[i] = s.held[i][1:]
			s.deliver(t, i, next)
		}
	}
}

func (s *story) step(words []string, actions []Action) {
	texts := []string{}
	for _, a := range actions {
		switch a.Kind {
		case Block, Unblock:
			s.blocked[a.Channel] = a.Kind == Block
			texts = append(texts, fmt.Sprintf("%v %d", a.Kind, a.Channel))
		case Decline:
			texts = append(texts, fmt.Sprintf("%v %d %s", a.Kind, a.Checkpoint, a.Reason))
		case End:
			texts = append(texts, a.Kind.String())
		default:
			texts = append(texts, fmt.Sprintf("%v %d", a.Kind, a.Checkpoint))
		}
	}
	if len(texts) == 0 {
		texts = append(texts, "-")
	}
	fmt.Fprintf(&s.out, "%s: %s\n", strings.Join(words, " "), strings.Join(texts, ", "))
}

func number(t *testing.T, s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
