package shell

import (
	"fmt"
	"time"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/config"
	"github.com/ckptd/ckptd/service/owner"
)

// memoryLife is what is known of the life of a job whose journal lies in the daemon's memory.
type memoryLife struct {
	// began is the first epoch of the life; 0: the job was attached before by this daemon.
	began uint64
	// anew says why the job has begun anew; empty: it has not, as far as its callers say.
	anew string
	// max is the largest piece of state in bytes; 0: there is no limit.
	max uint64
}

// InMemory tells whether the job's journal and checkpoints lie in the daemon's memory.
func (j *Job) InMemory() bool { return j.env.InMemory }

// mostHeard is the largest number that a caller is believed to have heard. A larger one leaves no room to count.
const mostHeard = 1 << 62

// numberLife makes the numbers of a new job begin above all that an earlier life of it has used. Nothing tells where that
// was, if its journal was in memory: the time does, in milliseconds, because no job takes a checkpoint in less; and what the callers have
// heard does, if the clocks of two daemons differ.
func (j *Job) numberLife(create *owner.Creation, heard uint64) {
	if heard > 0 && heard < mostHeard {
		create.Life = heard + 1
	}
	if j.env.InMemory {
		create.Life = max(create.Life, uint64(time.Now().UnixMilli()))
	}
}

// attachedInMemory says at an attach that the state is lost with the daemon.
func (j *Job) attachedInMemory() {
	head := j.told()
	j.life = memoryLife{}
	if !j.env.InMemory {
		return
	}
	if c, err := config.Interpret(head.Config); err == nil {
		j.life.max = c.MaxState
	}
	if head.Slot == 1 {
		j.life.began = head.Epoch
	}
	j.event(ckptdv1.JobEventKind_JOB_EVENT_KIND_IN_MEMORY, &ckptdv1.JobEvent{Text: lostWithDaemon})
}

const (
	lostWithDaemon = "the state is kept in the memory of this daemon, and is lost with it"
	beginsAnew     = "its state was in the memory of a daemon that is gone: the job begins anew"
)

// heardOf says that the job begins anew, if a caller has heard of an earlier life of it.
func (j *Job) heardOf(number uint64) {
	if number == 0 || number >= j.life.began || j.life.anew != "" {
		return
	}
	j.life.anew = beginsAnew
	j.event(ckptdv1.JobEventKind_JOB_EVENT_KIND_BEGINS_ANEW, &ckptdv1.JobEvent{Text: beginsAnew})
}

// warnings are what a caller of an attach is told about a job in memory.
func (l *memoryLife) warnings() []string {
	out := []string{lostWithDaemon}
	if l.anew != "" {
		out = append(out, l.anew)
	}
	return out
}

// StateTooLarge is Flink's error for a piece of state that memory does not take.
func StateTooLarge(size, limit uint64) error {
	return fmt.Errorf("the size of the state is larger than the maximum permitted memory-backed state: size=%d, maxSize=%d: consider the storage filesystem, "+
		"or raise ckptd.max-state-size", size, limit)
}
