package service

import (
	"context"
	"errors"
	"slices"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/history"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/shell"
)

// This file holds what is special about jobs with storage jobmanager. Their journals, _metadata and files lie in a store of the
// daemon's own, in its memory. No other daemon sees that store, so nothing there is lent to a job below the root, and nothing is
// borrowed from one: an import copies.
//
// When such a job has ended, all of it is deleted but the last entry of its journal, and the newest segment of its history. The entry
// refuses workers that come late, which would begin the job anew.

// Memory is a store in the daemon's memory for jobs with storage jobmanager.
type Memory struct {
	Opened storage.Opened
	// Holds tells whether an object lies below a folder.
	Holds func(folder string) bool
	// Usage returns the bytes that the store takes, and its bound.
	Usage func() (used, limit int64)
	// Cost is what an object counts.
	Cost func(key string, size int64) int64
}

// endedInMemory is how many last entries of ended jobs are kept in memory, each with the newest segment of the job's history. An entry
// takes about 1 KiB, a segment up to 20 KiB as a rule.
const endedInMemory = 1000

// endedShare is the part of the memory that the entries may take, and so may the histories: a sixteenth. The rest is for jobs that run.
const endedShare = 16

// memoryJobs are the jobs of this daemon with storage jobmanager.
type memoryJobs struct {
	Memory
	env   shell.Env
	ended []endedJob // the ended jobs of which an entry is kept, oldest first; guarded by Server.mu
	// entries and histories are the bytes that those count; guarded by Server.mu.
	entries, histories int64
}

// usage returns the bytes that jobs in memory take, and their bound; 0, 0: there can be none.
func (m *memoryJobs) usage() (used, limit uint64) {
	if m == nil {
		return 0, 0
	}
	u, l := m.Usage()
	return uint64(u), uint64(l)
}

// inMemory tells whether the journal of a job lies in this daemon's memory.
func (s *Server) inMemory(id string) bool { return s.memory != nil && s.memory.Holds(id) }

// storeOf returns the store of a job: root, or this daemon's memory.
func (s *Server) storeOf(id string, root storage.Store) storage.Store {
	if s.inMemory(id) {
		return s.memory.Opened.Store
	}
	return root
}

// factsOf returns the facts about the store of a job.
func (s *Server) factsOf(id string) storage.Facts {
	if s.inMemory(id) {
		return s.memory.Opened.Facts
	}
	return s.facts
}

// endedJob is what stays in memory of a job that has ended and was released.
type endedJob struct {
	id      string
	history string // the key of its newest segment; empty: there is none any more
	// entryCost and historyCost are the bytes that they count.
	entryCost, historyCost int64
}

// endedLocked frees the memory of a job whose goroutine ends, if the job has ended and was released. The last entry and the newest
// segment of its history stay, while there are few of them.
func (m *memoryJobs) endedLocked(s *Server, id string) {
	head := m.lastEntry(id)
	if head == nil {
		return
	}
	m.forgetLocked(id)
	e := endedJob{id: id, history: m.lastOfHistory(id)}
	m.free(id, layout.SlotKey(id, head.Slot), e.history)
	for info, err := range m.Opened.Store.List(context.Background(), layout.JobPrefix(id)) {
		switch {
		case err != nil:
		case info.Key == e.history:
			e.historyCost = m.Cost(info.Key, info.Size)
		default:
			e.entryCost += m.Cost(info.Key, info.Size)
		}
	}
	m.ended, m.entries, m.histories = append(m.ended, e), m.entries+e.entryCost, m.histories+e.historyCost
	m.trimLocked(s)
}

// trimLocked drops what is left of the jobs that ended first, if that takes too much of the memory, or is of too many jobs.
func (m *memoryJobs) trimLocked(s *Server) {
	_, limit := m.Usage()
	gone := func(id string) bool { return s.jobs[id] == nil && m.lastEntry(id) != nil }
	for i := range m.ended {
		e := &m.ended[i]
		if m.histories <= limit/endedShare {
			break
		}
		if e.history != "" && gone(e.id) {
			_ = m.Opened.Store.Delete(context.Background(), []string{e.history})
		}
		m.histories -= e.historyCost
		e.history, e.historyCost = "", 0
	}
	for len(m.ended) > endedInMemory || len(m.ended) > 0 && m.entries > limit/endedShare {
		if first := m.ended[0].id; gone(first) {
			m.free(first)
		}
		m.forgetLocked(m.ended[0].id)
	}
}

// forgetLocked ends the account of an ended job.
func (m *memoryJobs) forgetLocked(id string) {
	m.ended = slices.DeleteFunc(m.ended, func(e endedJob) bool {
		if e.id == id {
			m.entries, m.histories = m.entries-e.entryCost, m.histories-e.historyCost
		}
		return e.id == id
	})
}

// lastEntry is the head of a job that has ended and was released; nil: it is none.
func (m *memoryJobs) lastEntry(id string) *journal.Entry {
	head, how, err := journalio.ReadHead(context.Background(), m.Opened.Store, m.Opened.Facts, id)
	if err != nil || how != journal.ReadDone || !head.Status.Terminal() || !head.Owner.IsZero() {
		return nil
	}
	return head
}

// lastOfHistory is the key of the newest segment of a job's history: it has the counts, and the last checkpoints. Empty: there is none.
func (m *memoryJobs) lastOfHistory(id string) string {
	all, err := catalog.ListHistory(context.Background(), m.Opened.Store, id)
	if err != nil || len(all) == 0 {
		return ""
	}
	return layout.HistoryKey(id, all[history.NewestOf(all)].Name)
}

// free deletes the objects of a job but some.
func (m *memoryJobs) free(id string, keep ...string) {
	ctx := context.Background() // nothing in memory waits
	var keys []string
	for info, err := range m.Opened.Store.List(ctx, layout.JobPrefix(id)) {
		if err == nil && !slices.Contains(keep, info.Key) {
			keys = append(keys, info.Key)
		}
	}
	_ = errors.Join(m.Opened.Store.Delete(ctx, keys)...)
}

// listed adds the jobs in memory to those below the root. A job that lies in both places is listed as it is in memory: there it runs.
func (m *memoryJobs) listed(ctx context.Context, jobs *ckptdv1.ListJobsResponse) error {
	own, err := catalog.New(m.Opened.Store).Jobs(ctx)
	if err != nil {
		return err
	}
	for _, j := range own.GetJobs() {
		j.InMemory = true
		jobs.Jobs = append(jobs.Jobs, j)
	}
	return nil
}

// tooLarge refuses a piece of state above the limit of its job.
func tooLarge(id string, size, limit uint64) error {
	return api.Refused(&ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_STATE_TOO_LARGE}, "job %s: %v", id, shell.StateTooLarge(size, limit))
}

// limitedWriter refuses bytes above the limit for one piece of state.
type limitedWriter struct {
	storage.Writer
	id          string
	size, limit uint64
}

// Write implements storage.Writer.
func (w *limitedWriter) Write(b []byte) (int, error) {
	if w.size += uint64(len(b)); w.size > w.limit {
		return 0, tooLarge(w.id, w.size, w.limit)
	}
	return w.Writer.Write(b)
}
