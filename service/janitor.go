package service

import (
	"context"
	"time"

	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/service/shell"
)

// A Janitor changes jobs from a process that does not listen: the command line of a person. It owns a job only while it
// does one thing with it. It is safe for concurrent use.
type Janitor struct{ s *Server }

// leaveTime is how long a janitor that was interrupted tries to release its job.
const leaveTime = 5 * time.Second

// NewJanitor makes a janitor over an opened root. by is the person's command, for the audit log. The caller closes it. Its opts need no URLs.
func NewJanitor(root storage.Opened, opts *Options, by *shell.Command) (*Janitor, error) {
	s, err := New(root, opts)
	if err != nil {
		return nil, err
	}
	s.opts.URLs, s.env.URLs, s.env.Janitor, s.env.Command = nil, nil, true, by
	return &Janitor{s}, nil
}

// Close ends the janitor. Jobs that it still owns stay as they are, for the next owner.
func (n *Janitor) Close() { n.s.Close() }

// Do attaches a job, calls do, waits until the deletes that follow are done, and releases the job.
//
// If another owner answers, nothing changes and the error is a NotOwner with that owner's URLs: the caller asks the owner
// instead. If the owner of a job that has not ended does not answer, the job is refused by the owner's name, unless
// takeOver is true. A job that has ended, or that nobody owns, is attached in any case, and so is one whose owner was a
// janitor.
//
// do may call the job's methods for one thing: a sweep, say. What do has begun goes on if the process is killed: the next
// owner finishes it.
func (n *Janitor) Do(ctx context.Context, id string, takeOver bool, do func(context.Context, *shell.Job) error) error {
	j, err := n.s.open(id)
	if err != nil {
		return err
	}
	defer func() {
		j.Release()
		select {
		case <-j.Done():
		case <-time.After(leaveTime): // the store does not answer
		}
	}()
	if err := j.AttachAsJanitor(ctx, takeOver); err != nil {
		return err
	}
	err = do(ctx, j)
	if left := j.Leave(ctx); err == nil {
		err = left
	}
	return err
}

// OwnerAnswers tells whether the owner that a head names answers that it owns the job. It writes nothing. Therefore an owner in
// the root that this one is a copy of answers, too.
func (n *Janitor) OwnerAnswers(ctx context.Context, head *journal.Entry) bool {
	probe := n.s.probe
	probe.root = nil
	return !head.Owner.IsZero() && probe.owns(ctx, head.URLs, head.About.Job, head.Owner.String())
}
