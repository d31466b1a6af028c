package owner

import (
	"fmt"
	"testing"

	"github.com/ckptd/ckptd/layout/journal"
)

// TestJanitor: a janitor gets a job of any status, but for one whose owner answers, or that has not ended and whose owner
// may still run it.
func TestJanitor(t *testing.T) {
	ended := func(e *journal.Entry) { e.Status = journal.StatusCanceled }
	released := func(e *journal.Entry) { e.Status, e.Owner, e.URLs = journal.StatusCanceled, journal.Nonce{}, nil }
	nobody := func(e *journal.Entry) { e.Owner, e.URLs = journal.Nonce{}, nil }
	command := func(e *journal.Entry) { e.URLs = nil }
	for name, test := range map[string]struct {
		edit     func(*journal.Entry)
		answers  bool
		takeOver bool
		want     string
	}{
		"its owner answers":                       {nil, true, false, "redirect caller=4 epoch=1http://a"},
		"its owner answers, take over":            {nil, true, true, "redirect caller=4 epoch=1http://a"},
		"its owner does not answer":               {nil, false, false, fmt.Sprintf("attach refused caller=4 reason=%dhttp://a", ReasonSilent)},
		"its owner does not answer, take over":    {nil, false, true, "attached caller=4 epoch=2 attempt=1"},
		"ended, its owner does not answer":        {ended, false, false, "attached caller=4 epoch=2 attempt=1"},
		"ended, its owner answers":                {ended, true, true, "redirect caller=4 epoch=1http://a"},
		"ended and released, and nothing is due":  {released, false, false, "attached caller=4 epoch=2 attempt=1"},
		"nobody owns it":                          {nobody, false, false, "attached caller=4 epoch=2 attempt=1"},
		"its owner was a command that was killed": {command, false, false, "attached caller=4 epoch=2 attempt=1"},
	} {
		t.Run(name, func(t *testing.T) {
			d := running(t, 1)
			if test.edit != nil {
				d.seize(test.edit)
			}
			before := d.head()
			d.m, d.cfg = Machine{}, DefaultConfig(journal.Process{2}, nil, testPolicy)
			d.answer = func(op Op) *Result {
				if op.Kind != OpAsk {
					return nil
				}
				r := op.Result(journal.Done)
				r.Answered = test.answers
				return &r
			}
			d.do(Event{Kind: EventJanitor, Caller: 4, TakeOver: test.takeOver})
			want := []string{test.want}
			if d.m.Phase() == PhaseOwning {
				want = []string{"attached epoch=2 attempt=1", test.want}
			} else if d.head() != before {
				t.Errorf("the refused janitor wrote %+v", d.head())
			}
			d.want(want...)
		})
	}
	t.Run("an attach that waits with it goes on", func(t *testing.T) {
		d := running(t, 1)
		d.m, d.cfg = Machine{}, DefaultConfig(journal.Process{2}, nil, testPolicy)
		attaching(t, d, Event{Kind: EventJanitor, Caller: 4})
		d.do(Event{Kind: EventAttach, Caller: 5})
		d.want()
		if told := d.release(); len(told) != 3 || told[0] != fmt.Sprintf("attach refused caller=4 reason=%dhttp://a", ReasonSilent) || told[2] != "attached caller=5 epoch=2 attempt=1" {
			t.Errorf("told %q", told)
		}
	})
}
