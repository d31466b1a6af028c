package service

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/service/owner"
)

// How long Start waits before it looks again at journals that the store did not show: at first, and at most.
const (
	firstLookAgain = time.Second
	lastLookAgain  = time.Minute
)

// Start takes back the jobs that this daemon's predecessor at the same URLs owned, and finishes ended ones whose owner does not
// answer any more. It returns when all have been looked at; what has to be done goes on in the background. Journals that the store does not
// show just now are looked at again, until ctx ends.
func (s *Server) Start(ctx context.Context) error {
	res, err := catalog.New(s.stores.restore).Jobs(ctx)
	if err != nil {
		return fmt.Errorf("service: start: %w", err)
	}
	var unread []string
	for _, summary := range res.GetJobs() {
		id, why := summary.GetJobId(), summary.GetError()
		if why == "" {
			err := s.takeBack(ctx, id)
			if ctx.Err() != nil {
				return fmt.Errorf("service: start: %w", context.Cause(ctx))
			}
			if err == nil {
				continue
			}
			why = err.Error()
		}
		s.log.Warn("a job's journal cannot be read", "job", id, "err", why)
		unread = append(unread, id)
	}
	if len(unread) > 0 {
		s.wg.Go(func() { s.takeBackLater(ctx, unread) })
	}
	return nil
}

// takeBackLater takes jobs back as soon as their journals can be read.
func (s *Server) takeBackLater(ctx context.Context, ids []string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.looking, cancel)()
	for pause := firstLookAgain; len(ids) > 0 && journalio.Sleep(ctx, pause); pause = min(2*pause, lastLookAgain) {
		ids = slices.DeleteFunc(ids, func(id string) bool { return s.takeBack(ctx, id) == nil })
	}
}

// takeBack begins with a job if that is this daemon's to do. An error: the store does not show its journal just now.
func (s *Server) takeBack(ctx context.Context, id string) error {
	head, how, err := s.readHead(ctx, id)
	switch {
	case how == journal.ReadMore:
		return err
	case how != journal.ReadDone || head.Owner.IsZero():
		return nil
	}
	mine := slices.ContainsFunc(head.URLs, func(u string) bool { return slices.Contains(s.opts.URLs, u) })
	switch {
	case head.Status.Terminal():
		s.begin(id, owner.Event{Kind: owner.EventFinish})
	case mine:
		s.begin(id, owner.Event{Kind: owner.EventAttach})
	}
	return nil
}

// begin starts a job's goroutine with an attach that nobody waits for.
func (s *Server) begin(id string, ev owner.Event) {
	j, err := s.open(id)
	if err != nil {
		s.log.Warn("cannot take a job back", "job", id, "err", err)
		return
	}
	j.do(func() {
		began := time.Now()
		ev.Caller = j.wait(func(op *owner.Op) {
			if op.Kind != owner.TellAttached {
				s.log.Info("did not take a job back", "job", id, "why", j.refusal(op), "after", time.Since(began))
			}
		})
		j.attaching = append(j.attaching, attacher{caller: ev.Caller, finish: ev.Kind == owner.EventFinish})
		j.feed(ev)
	})
}
