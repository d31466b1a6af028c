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
// When such a job has ended, all of it is deleted but the last entry of its journal, and the newest segment of its history. The entry refuses workers that come late, which
// would begin the job anew.

// Memory is a store in the daemon's memory for jobs with storage jobmanager.
type Memory struct {
	Opened storage.Opened
	// Holds tells whether an object lies below a folder.
	Holds func(folder string) bool
	// Usage returns the bytes that the store takes, and its bound.
	Usage func() (used, limit int64)
}

// endedInMemory is how many last entries of ended jobs are kept in memory, each with the newest segment of the job's history. An entry
// takes about 1 KiB, a segment up to 20 KiB as a rule.
const endedInMemory = 1000

// memoryJobs are the jobs of this daemon with storage jobmanager.
type memoryJobs struct {
	Memory
	env   shell.Env
	ended []string // ids of the ended jobs of which an entry is kept, oldest first; guarded by Server.mu
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

// endedLocked frees the memory of a job whose goroutine ends, if the job has ended and was released. The last entry stays; that of the
// job that ended first goes if there are many.
func (m *memoryJobs) endedLocked(s *Server, id string) {
	head := m.lastEntry(id)
	if head == nil {
		return
	}
	m.free(id, layout.SlotKey(id, head.Slot), m.lastOfHistory(id))
	m.ended = append(m.ended, id)
	for len(m.ended) > endedInMemory {
		first := m.ended[0]
		m.ended = m.ended[1:]
		if s.jobs[first] == nil && m.lastEntry(first) != nil {
			m.free(first)
		}
	}
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
