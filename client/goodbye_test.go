package client

import (
	"context"
	"errors"
	"testing"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// TestGoodbye counts the goodbyes that the owner hears when a session ends.
func TestGoodbye(t *testing.T) {
	cancel := &ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Cancel{Cancel: &ckptdv1.Cancel{}}}
	replaced := &ckptdv1.RegisterResponse{Command: &ckptdv1.RegisterResponse_Replaced{Replaced: &ckptdv1.Replaced{}}}
	for name, c := range map[string]struct {
		script *ckptdv1.RegisterResponse
		end    func(s *Session, stop context.CancelCauseFunc)
		want   int
	}{
		"closed":                                    {trigger(1, 4), func(s *Session, _ context.CancelCauseFunc) { s.Close() }, 1},
		"the context ends":                          {trigger(1, 4), func(_ *Session, stop context.CancelCauseFunc) { stop(nil) }, 1},
		"as if it were killed":                      {trigger(1, 4), func(_ *Session, stop context.CancelCauseFunc) { stop(ErrCrash) }, 0},
		"the job has ended":                         {cancel, func(*Session, context.CancelCauseFunc) {}, 0},
		"another process has it":                    {replaced, func(*Session, context.CancelCauseFunc) {}, 0},
		"closed at once after the job's end":        {cancel, func(s *Session, _ context.CancelCauseFunc) { s.Close() }, 0},
		"closed at once after it has been replaced": {replaced, func(s *Session, _ context.CancelCauseFunc) { s.Close() }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			cl := newCluster(t)
			d := cl.start(daemonOptions{})
			d.script = []*ckptdv1.RegisterResponse{c.script}
			cl.owner, cl.epoch = d, 1
			_, job := cl.client([]string{d.url})
			ctx, stop := context.WithCancelCause(t.Context())
			defer stop(nil)
			s, err := job.Register(ctx, Registration{Subtasks: mine, Nonce: "p"})
			if err != nil {
				t.Fatal(err)
			}
			next(t, s)
			c.end(s, stop)
			if _, err := s.Next(t.Context()); err == nil || errors.Is(err, t.Context().Err()) {
				t.Errorf("after the end: %v, want the session's end", err)
			}
			s.Close() // waits until the goodbye is said
			cl.mu.Lock()
			defer cl.mu.Unlock()
			said := 0
			for _, r := range cl.reports {
				if r.GetKind() == ckptdv1.ReportRequest_KIND_GOODBYE {
					said++
					if r.GetNonce() != "p" {
						t.Errorf("goodbye of %q, want p", r.GetNonce())
					}
				}
			}
			if said != c.want {
				t.Errorf("the session said %d goodbyes, want %d", said, c.want)
			}
		})
	}
}
