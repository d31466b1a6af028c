package owner

import (
	"fmt"
	"testing"

	"github.com/ckptd/ckptd/layout/journal"
)

// TestALifeCountsAboveTheEarlierOnes: a job whose journal was lost begins with numbers above those that its workers know. A
// worker that ran an attempt of the earlier life joins, restores nothing, and is told to begin the new attempt.
func TestALifeCountsAboveTheEarlierOnes(t *testing.T) {
	d := newDesk(t)
	create := twoTasks(2)
	create.Life = 1000
	d.do(Event{Kind: EventAttach, Create: create})
	d.want("attached epoch=1001 attempt=1000")
	if e := d.head(); e.Epoch != 1001 || e.Reserved != 1000+d.cfg.Reserve {
		t.Errorf("epoch %d, reserved %d; want both above 1000", e.Epoch, e.Reserved)
	}
	d.do(register(1, 997, 0)) // of the earlier life
	d.want()
	d.do(register(2, 0, 1)) // fresh
	d.want("attempt epoch=1001 attempt=1001", "start worker=1 epoch=1001 attempt=1001", "start worker=2 epoch=1001 attempt=1001")
	d.do(isRunning(1, 1001, 0))
	d.do(isRunning(2, 1001, 1))
	d.do(Event{Kind: EventTrigger, Caller: 5})
	d.want("trigger caller=5 epoch=1001 attempt=1001 id=1001")
	if got := d.m.Head().Restore; got != 0 {
		t.Errorf("the attempt restores %d, want nothing", got)
	}
}

// TestALifeOfARemovedJob: numbers of the removed job and of the callers both count.
func TestALifeOfARemovedJob(t *testing.T) {
	for name, c := range map[string]struct{ life, want uint64 }{"the journal's are larger": {3, 41}, "the callers' are larger": {1000, 1001}} {
		t.Run(name, func(t *testing.T) {
			d := running(t, 1)
			d.seize(func(e *journal.Entry) {
				e.Status, e.Owner, e.Epoch, e.Reserved = journal.StatusRemoved, journal.Nonce{}, 40, 40
			})
			d.m = Machine{}
			d.cfg = DefaultConfig(journal.Process{2}, nil, testPolicy)
			create := twoTasks(1)
			create.Life = c.life
			d.do(Event{Kind: EventAttach, Create: create})
			d.want(fmt.Sprintf("attached epoch=%d attempt=%d", c.want, c.life))
			if e := d.head(); e.Reserved < c.want {
				t.Errorf("reserved %d, want at least %d", e.Reserved, c.want)
			}
		})
	}
}
