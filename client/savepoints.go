package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// Savepoint is one savepoint of a job.
type Savepoint struct {
	// Checkpoint is its number among the job's checkpoints.
	Checkpoint uint64
	// Path is the URL of its folder.
	Path    string
	Outcome SavepointOutcome
	// Stop says whether it stops the job. It is NoStop if the owner died before the savepoint could stop the job.
	Stop SavepointStop
	// EndedAt is when it was done or cleaned, by the store's clock.
	EndedAt time.Time
	// MetadataBytes and MetadataCRC32C are those of its _metadata, once it is done.
	MetadataBytes  uint64
	MetadataCRC32C uint32
	// Pending: the daemon that answers takes it right now. Acknowledged of its Subtasks have acknowledged it.
	Pending                bool
	Acknowledged, Subtasks uint32
	// Periodic: the owner took it by itself, by the job's configuration.
	Periodic bool
}

// SavepointOutcome says how a savepoint ended. The zero value means that nothing is known.
type SavepointOutcome int32

// The values of SavepointOutcome.
const (
	// SavepointStarted: it is being taken, or its owner died. Then the next owner finds out what became of it.
	SavepointStarted SavepointOutcome = SavepointOutcome(ckptdv1.SavepointOutcome_SAVEPOINT_OUTCOME_STARTED)
	// SavepointDone: it is whole.
	SavepointDone SavepointOutcome = SavepointOutcome(ckptdv1.SavepointOutcome_SAVEPOINT_OUTCOME_DONE)
	// SavepointCleaned: it came to nothing, and what was written of it is deleted.
	SavepointCleaned SavepointOutcome = SavepointOutcome(ckptdv1.SavepointOutcome_SAVEPOINT_OUTCOME_CLEANED)
)

// String is the value's name in the API, without its prefix.
func (s SavepointOutcome) String() string {
	return flinks(ckptdv1.SavepointOutcome(s).String(), "SAVEPOINT_OUTCOME_")
}

// SavepointStop says whether a savepoint stops its job.
type SavepointStop int32

// The values of SavepointStop.
const (
	// NoStop: the job runs on.
	NoStop SavepointStop = SavepointStop(ckptdv1.SavepointStop_SAVEPOINT_STOP_UNSPECIFIED)
	// StopSuspend: the job ends with the savepoint, and a new job can go on from it.
	StopSuspend SavepointStop = SavepointStop(ckptdv1.SavepointStop_SAVEPOINT_STOP_SUSPEND)
	// StopDrain: the job does its end-of-data work first, and is finished for good.
	StopDrain SavepointStop = SavepointStop(ckptdv1.SavepointStop_SAVEPOINT_STOP_DRAIN)
)

// String is the value's name in the API, without its prefix.
func (s SavepointStop) String() string {
	return flinks(ckptdv1.SavepointStop(s).String(), "SAVEPOINT_STOP_")
}

// SavepointWish is a request for a savepoint.
type SavepointWish struct {
	// Directory is a URL below which the savepoint gets a folder of its own; empty: as the job's configuration says, or the daemon.
	Directory string
	// Request is the name of this wish: a repeated call with the same name takes no second savepoint. If it is empty, the call makes one.
	Request string
	// Stop says whether the savepoint stops the job.
	Stop SavepointStop
}

// ErrNoSavepoint: a savepoint came to nothing, or did not stop its job.
var ErrNoSavepoint = errors.New("no savepoint")

// Savepoint begins a savepoint of a job, and answers at once. AwaitSavepoint waits for it.
func (a *Admin) Savepoint(ctx context.Context, job string, w SavepointWish) (Savepoint, error) {
	s, err := a.Messages().Savepoint(ctx, &ckptdv1.TriggerSavepointRequest{JobId: job, Directory: w.Directory, RequestId: w.Request, Stop: ckptdv1.SavepointStop(w.Stop)})
	return fromSavepoint(s), err
}

// Savepoints lists the last savepoints of a job, oldest first. Any daemon of the root answers.
func (a *Admin) Savepoints(ctx context.Context, job string) ([]Savepoint, error) {
	res, err := a.Messages().Savepoints(ctx, job)
	return all(res.GetSavepoints(), fromSavepoint), err
}

// savepointPoll is the time between two looks at a savepoint that is being taken.
const savepointPoll = 100 * time.Millisecond

// AwaitSavepoint waits until a savepoint has ended. While no daemon answers, it asks again: the next owner knows the savepoint. The error is
// ErrNoSavepoint if it came to nothing.
func (a *Admin) AwaitSavepoint(ctx context.Context, job string, s Savepoint) (Savepoint, error) {
	for s.Outcome == SavepointStarted {
		if err := sleepFor(ctx, savepointPoll); err != nil {
			return s, err
		}
		list, err := a.Savepoints(ctx, job)
		if err != nil && !errors.Is(err, ErrUnavailable) {
			return s, err
		}
		for _, found := range list {
			if found.Checkpoint == s.Checkpoint {
				s = found
			}
		}
	}
	if s.Outcome == SavepointCleaned {
		return s, fmt.Errorf("client: savepoint %s of job %s: %w: it came to nothing, and what was written of it is deleted", s.Path, job, ErrNoSavepoint)
	}
	return s, nil
}

// Stop takes a savepoint that stops a job, and waits until the job is FINISHED. If an error comes with a savepoint that is done, that savepoint
// is whole. The error is ErrNoSavepoint if the job runs on.
func (a *Admin) Stop(ctx context.Context, job string, w SavepointWish) (Savepoint, error) {
	if w.Stop == NoStop {
		w.Stop = StopSuspend
	}
	s, err := a.Savepoint(ctx, job, w)
	if err == nil {
		s, err = a.AwaitSavepoint(ctx, job, s)
	}
	switch {
	case err != nil:
		return s, err
	case s.Stop == NoStop:
		return s, fmt.Errorf("client: savepoint %s is whole, and job %s runs on: %w: its owner died before the savepoint could stop the job", s.Path, job, ErrNoSavepoint)
	}
	for {
		jobs, err := a.Jobs(ctx)
		if err != nil && !errors.Is(err, ErrUnavailable) {
			return s, err
		}
		for _, j := range jobs {
			switch {
			case j.ID != job, j.Status == StatusStopping, j.Status == StatusRunning:
			case j.Status == StatusFinished:
				return s, nil
			default:
				return s, fmt.Errorf("client: savepoint %s is whole, and job %s is %s: %s", s.Path, job, j.Status, j.EndReason)
			}
		}
		if err := sleepFor(ctx, savepointPoll); err != nil {
			return s, err
		}
	}
}

// sleepFor waits, and returns the context's error if ctx ends first.
func sleepFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func fromSavepoint(m *ckptdv1.Savepoint) Savepoint {
	s := Savepoint{
		Checkpoint: m.GetCheckpointId(), Path: m.GetPath(), Outcome: SavepointOutcome(m.GetOutcome()), Stop: SavepointStop(m.GetStop()),
		MetadataBytes: m.GetMetadataBytes(), MetadataCRC32C: m.GetMetadataCrc32C(), Pending: m.GetPending(), Acknowledged: m.GetAcknowledged(),
		Subtasks: m.GetSubtasks(), Periodic: m.GetPeriodic(),
	}
	if m.GetEndedAt() != nil {
		s.EndedAt = m.GetEndedAt().AsTime()
	}
	return s
}
