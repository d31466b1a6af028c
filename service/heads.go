package service

import (
	"context"
	"errors"
	"sync"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
)

// readHead reads the head of a job's journal, after a check of the job's id.
func (s *Server) readHead(ctx context.Context, id string) (*journal.Entry, journal.Reading, error) {
	if err := layout.ValidateJobID(id); err != nil {
		return nil, journal.ReadMore, err
	}
	return journalio.ReadHead(ctx, s.storeOf(id, s.stores.commit), s.factsOf(id), id)
}

// errNoHead means that the journal is empty or corrupt.
var errNoHead = errors.New("the job has no readable journal")

// headOf reads the head of a job's journal. A journal without a readable head is an error.
func (s *Server) headOf(ctx context.Context, id string) (*journal.Entry, error) {
	head, how, err := s.readHead(ctx, id)
	if err == nil && how != journal.ReadDone {
		err = errNoHead
	}
	return head, err
}

// headReads lets callers that need the head of one journal at the same time share one read.
type headReads struct {
	mu    sync.Mutex
	lines map[string]*headLine
}

// headLine holds the reads of one journal. They run one at a time.
type headLine struct {
	callers int           // that are inside after
	turn    chan struct{} // holds one element while a read runs
	next    *headRead     // the read that has not begun; nil: none
}

// headRead is one read and its result.
type headRead struct {
	done chan struct{}
	head *journal.Entry
	err  error
}

// after returns the result of a read that began after the call.
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
	line.callers++
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
	if line.callers--; line.callers == 0 {
		delete(h.lines, id)
	}
	return r.head, r.err
}
