package service

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// Uploads for jobs that other daemons own. Such a job may end while one is under way: its owner, who counts only its own uploads, sweeps
// and lets it go, and nobody sweeps it ever again. So the daemon that wrote a file looks at the journal once the file is there. If the
// job has not ended by then, the last sweep is still to come, and its list shows the file. If it has, no acknowledgement can name the
// file any more: whoever wrote it and has told nobody of it takes it back.

// foreignRights remembers the heads of jobs that other daemons own; a bounded cache.
type foreignRights struct {
	mu   sync.Mutex
	jobs map[string]*rights
}

const foreignJobs = 1000

func (f *foreignRights) get(id string) (*rights, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.jobs[id]
	return r, ok
}

func (f *foreignRights) put(id string, r *rights) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.jobs == nil || len(f.jobs) >= foreignJobs {
		f.jobs = map[string]*rights{}
	}
	f.jobs[id] = r
}

func (f *foreignRights) forget(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.jobs, id)
}

// foreignWriter is a file for a job that this daemon did not own when the file was begun.
type foreignWriter struct {
	storage.Writer
	s       *Server
	id, key string
}

// takeBackTime is how long a daemon tries at most to learn whether a job has ended, and to take a file back.
const takeBackTime = 10 * time.Second

// Commit is storage.Writer's.
func (w *foreignWriter) Commit() error {
	return w.s.takeBackOfEnded(w.id, w.key, w.Writer.Commit())
}

// takeBackOfEnded takes a file back that was committed for a job that has ended, and answers what its writer is told. A file of which it
// is not known whether it is there is taken back, too.
func (s *Server) takeBackOfEnded(id, key string, committed error) error {
	if committed != nil && !errors.Is(committed, storage.ErrUnknown) {
		return committed
	}
	head, err := s.heads.after(id, func() (*journal.Entry, error) {
		ctx, cancel := s.takingBack() // of all who share the read: from its turn on
		defer cancel()
		return s.headOf(ctx, id)
	})
	if err != nil || !head.Status.Terminal() {
		return committed // not known: then the file is as good as any; the next owner's sweep judges it
	}
	s.foreign.forget(id)
	ctx, cancel := s.takingBack()
	defer cancel()
	if err := errors.Join(s.ways.collect.Delete(ctx, []string{key})...); err != nil {
		s.log.Warn("cannot take back a file of a job that has ended", "key", key, "err", err)
	}
	return refused(&ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_JOB_TERMINAL, Status: catalog.Status(head.Status)},
		"job %s is %s: begin a new job id", id, statusWord(head.Status))
}

// takingBack is not the caller's context: who has gone leaves a file, too.
func (s *Server) takingBack() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.ctx, takeBackTime)
}

var _ storage.Writer = (*foreignWriter)(nil)

var errNoHead = errors.New("no journal that can be read")

func (s *Server) headOf(ctx context.Context, id string) (*journal.Entry, error) {
	head, how, err := s.readHead(ctx, id)
	if err == nil && how != journal.ReadDone {
		err = errNoHead
	}
	return head, err
}

// headReads lets all who ask for the head of one journal at the same time share a read.
type headReads struct {
	mu    sync.Mutex
	lines map[string]*headLine
}

// headLine is the reads of one journal, one at a time.
type headLine struct {
	asking int
	turn   chan struct{} // holds something while a read is under way
	next   *headRead     // has not begun; nil: none waits
}

type headRead struct {
	done chan struct{}
	head *journal.Entry
	err  error
}

// after answers what a read says that began after the call.
func (h *headReads) after(id string, read func() (*journal.Entry, error)) (*journal.Entry, error) {
	h.mu.Lock()
	if h.lines == nil {
		h.lines = map[string]*headLine{}
	}
	line := h.lines[id]
	if line == nil {
		line = &headLine{turn: make(chan struct{}, 1)}
		h.lines[id] = line
	}
	line.asking++
	r, mine := line.next, line.next == nil
	if mine {
		r = &headRead{done: make(chan struct{})}
		line.next = r
	}
	h.mu.Unlock()
	if mine {
		line.turn <- struct{}{}
		h.mu.Lock()
		line.next = nil
		h.mu.Unlock()
		r.head, r.err = read()
		<-line.turn
		close(r.done)
	}
	<-r.done
	h.mu.Lock()
	defer h.mu.Unlock()
	if line.asking--; line.asking == 0 {
		delete(h.lines, id)
	}
	return r.head, r.err
}
