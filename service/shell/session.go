package shell

import (
	"context"
	"time"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// session is the registration of one worker process. The job's goroutine owns all fields except out. It shares out, the
// queue of commands, with the handler of the worker's stream.
type session struct {
	nonce    string
	address  string
	subtasks []*ckptdv1.Subtask
	attempt  uint64
	number   uint32
	running  bool
	records  uint64
	// begun are the checkpoints that the process has begun with earlier owners, and whose end it has not heard.
	begun []uint64
	heard time.Time
	out   *inbox[*ckptdv1.RegisterResponse]
	// err is returned to the worker when the stream ends.
	err error
}

// pump sends the job's commands until the worker leaves, the job ends the session, or a send fails.
func (s *session) pump(ctx context.Context, send func(*ckptdv1.RegisterResponse) error) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.out.ready():
		}
		items, closed := s.out.take()
		for _, m := range items {
			if err := send(m); err != nil {
				return err
			}
		}
		if closed {
			return nil
		}
	}
}
