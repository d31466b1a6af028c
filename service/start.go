package service

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
)

// Start reads unreadable journals again after firstLookAgain. The delay doubles up to lastLookAgain.
const (
	firstLookAgain = time.Second
	lastLookAgain  = time.Minute
)

// startReads is how many journals Start reads at a time. The store's budget for commits bounds it further.
const startReads = 64

// dueEvery is how often a daemon looks for ended jobs of which something is left to be deleted. Each wait is up to half
// as long again, so that daemons do not look at the same time.
const dueEvery = time.Hour

// Start attaches the jobs that this daemon's predecessor at the same URLs owned. It also finishes ended jobs whose
// owner does not answer any more. Start returns when it has read all journals; the attaches go on in the background.
// Journals that cannot be read now are read again, until ctx ends.
func (s *Server) Start(ctx context.Context) error {
	ids, err := catalog.New(s.stores.restore).JobIDs(ctx)
	if err != nil {
		return fmt.Errorf("service: start: %w", err)
	}
	var mu sync.Mutex
	var unread []string
	var reads errgroup.Group
	var next atomic.Int64
	for range min(startReads, len(ids)) {
		reads.Go(func() error {
			for i := next.Add(1) - 1; i < int64(len(ids)) && ctx.Err() == nil; i = next.Add(1) - 1 {
				if err := s.takeBack(ctx, ids[i]); err != nil && ctx.Err() == nil {
					s.log.Warn("cannot read a job's journal; it is tried again", "job", ids[i], "error", err)
					mu.Lock()
					unread = append(unread, ids[i])
					mu.Unlock()
				}
			}
			return ctx.Err()
		})
	}
	if reads.Wait() != nil {
		return fmt.Errorf("service: start: %w", context.Cause(ctx))
	}
	s.unread.Store(int64(len(unread)))
	if len(unread) > 0 {
		s.wg.Go(func() { s.takeBackLater(ctx, unread) })
	}
	s.wg.Go(s.lookForDue)
	if s.scrub != nil {
		s.wg.Go(func() { s.scrub.run(s.looking) })
	}
	return nil
}

// lookForDue attends to due jobs every hour.
func (s *Server) lookForDue() {
	for journalio.Sleep(s.looking, dueEvery+rand.N(dueEvery/2)) {
		ids, err := catalog.New(s.stores.restore).JobIDs(s.looking)
		if err != nil {
			s.log.Warn("cannot look for jobs that are due", "error", err)
			continue
		}
		for _, id := range ids {
			head, how, err := s.readHead(s.looking, id)
			if how == journal.ReadDone && head.Status.Terminal() && head.Owner.IsZero() {
				err = s.attend(s.looking, head)
			}
			if err != nil && s.looking.Err() == nil {
				s.log.Warn("cannot look whether a job is due", "job", id, "error", err)
			}
		}
	}
}

// attend attaches a job that has ended and was released, if something of it is left to be deleted.
func (s *Server) attend(ctx context.Context, head *journal.Entry) error {
	due, err := s.leaks(ctx, head)
	if err == nil && !due && head.Timed() {
		due, err = s.timely(ctx, head)
	}
	if due || head.Due() {
		s.begin(head.About.Job, true, due, journalio.Glance{})
	}
	return err
}

// timely tells whether the store's time has come for something: the trash, or the last sweep of a job that has ended.
func (s *Server) timely(ctx context.Context, head *journal.Entry) (bool, error) {
	now, err := layout.StoreTime(ctx, s.stores.commit)
	return err == nil && head.DueAt(uint64(now.UnixMilli())), err
}

// leaks tells whether a pin on one of the job's checkpoints has leaked.
func (s *Server) leaks(ctx context.Context, head *journal.Entry) (bool, error) {
	for i := range head.Lent {
		if head.Lent[i].OfTool() { // the time decides
			continue
		}
		holder, how, err := s.readHead(ctx, head.Lent[i].Holder)
		switch {
		case how == journal.ReadMore:
			return false, err
		case how == journal.ReadEmpty:
			return true, nil
		case how == journal.ReadDone && head.Lent[i].Leaked(holder):
			return true, nil
		}
	}
	return false, nil
}

// takeBackLater calls takeBack for each job until its journal can be read.
func (s *Server) takeBackLater(ctx context.Context, ids []string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.looking, cancel)()
	for pause := firstLookAgain; len(ids) > 0 && journalio.Sleep(ctx, pause); pause = min(2*pause, lastLookAgain) {
		ids = slices.DeleteFunc(ids, func(id string) bool { return s.takeBack(ctx, id) == nil })
		s.unread.Store(int64(len(ids)))
	}
}

// takeBack starts an attach if this daemon's predecessor owned the job, or if the job has ended and has an owner or is
// due. An error means that the journal cannot be read now.
//
// It reads the newest entry that the journal shows, with one list less than the proof takes that it is the head. The attach goes on from
// there. If anything is unusual, takeBack reads the head itself.
func (s *Server) takeBack(ctx context.Context, id string) error {
	seen := journalio.GlanceAt(ctx, s.stores.commit, s.facts, id)
	head, how, err := seen.Entry, journal.ReadDone, error(nil)
	if head == nil {
		head, how, err = s.readHead(ctx, id)
	}
	switch {
	case how == journal.ReadMore:
		return err
	case how == journal.ReadEmpty: // an empty folder
		return nil
	case how != journal.ReadDone:
		s.log.Error("a job is left alone: its journal is damaged, missing, or of a newer version", "job", id, "error", err)
		return nil
	case head.Owner.IsZero() && head.Status.Terminal():
		return s.attend(ctx, head)
	case head.Owner.IsZero():
		return nil
	}
	mine := slices.ContainsFunc(head.URLs, func(u string) bool { return slices.Contains(s.opts.URLs, u) })
	switch {
	case head.Status.Terminal():
		s.begin(id, true, false, seen)
	case mine:
		s.begin(id, false, false, seen)
	}
	return nil
}
