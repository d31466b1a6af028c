package runtime

import (
	"context"

	"github.com/ckptd/ckptd/client"
)

// Coordinator is what a worker needs of the daemons, for a job that was attached. Its methods are those of
// client.Job, and as safe for concurrent use.
type Coordinator interface {
	Register(ctx context.Context, r client.Registration) (Session, error)
	Assignment(ctx context.Context, attempt uint64, subtasks []client.Subtask) ([]client.SubtaskState, error)
	Fetch(ctx context.Context, h client.Handle, path string) error
	Snapshot(ctx context.Context, s client.Snapshot) error
	Decline(ctx context.Context, d client.Decline) error
	Report(ctx context.Context, r client.Report) error
}

// Session is a worker's registration; see client.Session.
type Session interface {
	Next(ctx context.Context) (client.Command, error)
	Close() error
}

// NewCoordinator returns the coordinator of a worker for a job of the client.
func NewCoordinator(job *client.Job) Coordinator { return attached{job} }

type attached struct{ *client.Job }

func (a attached) Register(ctx context.Context, r client.Registration) (Session, error) {
	s, err := a.Job.Register(ctx, r)
	if err != nil {
		return nil, err // the plain nil, because a nil *client.Session would be a Session that is not nil
	}
	return s, nil
}

var (
	_ Session     = (*client.Session)(nil)
	_ Coordinator = attached{}
)
