package service

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/copying"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/config"
	"github.com/ckptd/ckptd/service/shell"
)

// This file holds what is special about jobs with storage jobmanager. Their journals, _metadata and files lie in a store of the
// daemon's own, in its memory. No other daemon sees that store, so nothing there is lent to a job below the root, and nothing is
// borrowed from one: an import copies.
//
// When such a job has ended, all of it is deleted but the last entry of its journal. That entry refuses workers that come late, which
// would begin the job anew.

// Memory is a store in the daemon's memory for jobs with storage jobmanager.
type Memory struct {
	Opened storage.Opened
	// Holds tells whether an object lies below a folder.
	Holds func(folder string) bool
	// Usage returns the bytes that the store takes, and its bound.
	Usage func() (used, limit int64)
}

// endedInMemory is how many last entries of ended jobs are kept in memory. An entry takes about 1 KiB.
const endedInMemory = 1000

// beginsWith is how many bytes must be free for a new job: room for its first entries.
const beginsWith = 64 << 10

// memoryJobs are the jobs of this daemon with storage jobmanager.
type memoryJobs struct {
	Memory
	env   shell.Env
	ended []string // ids of the ended jobs of which an entry is kept, oldest first; guarded by Server.mu
}

// newMemoryJobs makes the environment of the jobs in memory. It differs from that of the other jobs in its store, and in what it
// finds elsewhere. The audit log stays empty, because it lies in the root.
func newMemoryJobs(s *Server, m *Memory) *memoryJobs {
	if m == nil {
		return nil
	}
	store, of := m.Opened.Store, &s.env
	out := &memoryJobs{Memory: *m}
	out.Opened.Facts.Location = "memory:" // unlike any root
	out.env = shell.Env{
		InMemory: true, Commit: store, Restore: store, Collect: store, Upload: store, Root: out.Opened, Facts: out.Opened.Facts, DaemonRoot: s.facts.Location,
		Elsewhere: s.outOfMemory, Savepoints: of.Savepoints, URLs: of.URLs, Times: of.Times, InlineThreshold: of.InlineThreshold,
		InlineCap: of.InlineCap, Metrics: of.Metrics, Step: of.Step, Owns: of.Owns, JobDefaults: of.JobDefaults, Log: of.Log, Context: of.Context,
		Background: of.Background,
		Audit:      func(context.Context, []*ckptdv1.AuditEntry) error { return nil },
		Due:        func(job string) { s.beginIn(&out.env, job, true, false, journalio.Glance{}) },
	}
	return out
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

// attaching returns the job that a request means, in memory or below the root, and the request as that job takes it.
func (s *Server) attaching(ctx context.Context, req *ckptdv1.AttachJobRequest) (*shell.Job, *ckptdv1.AttachJobRequest, error) {
	id := req.GetJobId()
	if err := layout.ValidateJobID(id); err != nil {
		return nil, nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	asked := config.InMemory(req.GetConfig(), s.opts.JobDefaults)
	if s.memory == nil && asked && req.GetConfig() != nil {
		return nil, nil, connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf(
			"job %s: %s is %s, and this daemon keeps no state in memory: start it with --memory-state, or ask for %s", id, storageKey(), "jobmanager", "filesystem"))
	}
	in, err := s.belongsInMemory(ctx, req, asked)
	if err != nil {
		return nil, nil, err
	}
	if !in {
		if job, _, ok := strings.Cut(req.GetRestoreFrom(), "/"); ok && s.inMemory(job) {
			return nil, nil, connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf(
				"job %s: restore from %s: job %s is in the memory of this daemon, and only jobs in that memory begin from it: take a savepoint by `ckptd savepoint %s DIR`",
				id, req.GetRestoreFrom(), job, job))
		}
		j, err := s.open(id)
		if err == nil && j.InMemory() { // it was begun in memory meanwhile
			return nil, nil, otherStorage(id, true, "it is in the memory of this daemon")
		}
		return j, req, err
	}
	if req, err = s.intoMemory(req); err != nil {
		return nil, nil, err
	}
	j, err := s.openIn(&s.memory.env, id)
	if err == nil && !j.InMemory() { // it was begun below the root meanwhile
		return nil, nil, otherStorage(id, false, "it lies below the root")
	}
	return j, req, err
}

func storageKey() string { return config.OtherStorage(true).Key }

// belongsInMemory decides where the job of a request lies, or begins. A job stays where it is.
func (s *Server) belongsInMemory(ctx context.Context, req *ckptdv1.AttachJobRequest, asked bool) (bool, error) {
	id := req.GetJobId()
	// A caller that leaves the key out takes what is, if the daemon has a default for it; else the default of all keys counts.
	says := req.GetConfig() != nil && (req.GetConfig().GetStorage() != 0 || s.opts.JobDefaults.GetStorage() == 0)
	s.mu.Lock()
	j := s.jobs[id]
	s.mu.Unlock()
	switch {
	case s.memory == nil:
		return false, nil
	case j != nil && j.InMemory(), s.inMemory(id):
		if !says || asked {
			return true, nil
		}
		if s.forgetEnded(id) {
			return false, nil
		}
		return false, otherStorage(id, true, "it is in the memory of this daemon")
	case !asked || req.GetPlan() == nil:
		return false, nil
	}
	head, how, err := journalio.ReadHead(ctx, s.stores.commit, s.facts, id)
	switch {
	case how == journal.ReadMore:
		return false, api.Error(err)
	case how == journal.ReadEmpty, how == journal.ReadForeign, how == journal.ReadDone && head.Status == journal.StatusRemoved:
		if used, limit := s.memory.Usage(); used+beginsWith > limit {
			return false, connect.NewError(connect.CodeResourceExhausted, fmt.Errorf(
				"job %s: the memory for state is full: %d of %d bytes are taken: end other jobs in memory, start the daemon with a larger --memory-state, or ask for filesystem", id, used, limit))
		}
		return true, nil
	case !says:
		return false, nil
	}
	return false, otherStorage(id, false, "it lies below the root")
}

// otherStorage refuses a caller that asks for another storage than the job has.
func otherStorage(id string, inMemory bool, where string) error {
	d := config.OtherStorage(inMemory)
	return api.Refused(&ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_CONFIG_MISMATCH,
		Differences: []*ckptdv1.Difference{{Key: d.Key, InEffect: d.InEffect, Asked: d.Asked}}},
		"job %s: %s is %s, and %s was asked for: %s, and no job moves to another storage: begin a new job id, or ask for %s", id, d.Key, d.InEffect, d.Asked, where, d.InEffect)
}

// intoMemory makes the request of a job in memory. It names a checkpoint below the daemon's root by its URL.
func (s *Server) intoMemory(req *ckptdv1.AttachJobRequest) (*ckptdv1.AttachJobRequest, error) {
	from := req.GetRestoreFrom()
	if _, _, label := api.ByLabel(from); label {
		return nil, api.Invalidf("job %s: restore from %.200q: a job in memory begins from a checkpoint that is named: `ckptd latest` prints its name", req.GetJobId(), from)
	}
	job, _, ok := strings.Cut(from, "/")
	if !ok || layout.ValidateJobID(job) != nil || s.inMemory(job) {
		return req, nil
	}
	req = proto.CloneOf(req)
	req.RestoreFrom = api.Below(s.facts.Location, from)
	return req, nil
}

// outOfMemory opens a checkpoint below the daemon's root, or elsewhere, for a job in memory. Its files are copied.
func (s *Server) outOfMemory(ctx context.Context, text string) (*shell.Elsewhere, error) {
	rel, below := api.BelowRoot(text, s.facts.Location)
	job, folder, ok := strings.Cut(rel, "/")
	if !below || !ok || layout.CheckSavepointFolder(path.Base(rel)) == nil {
		return s.env.OpenElsewhere(ctx, text)
	}
	id, err := layout.ParseCheckpointDir(folder)
	if err != nil && folder != "latest" {
		return nil, fmt.Errorf("%s is no checkpoint: want <job id>/chk-<number> or <job id>/latest", rel)
	}
	head, err := s.headOf(ctx, job)
	if err != nil {
		return nil, fmt.Errorf("job %s: %w", job, err)
	}
	if folder == "latest" {
		id = head.Newest()
	}
	if c, ok := head.Checkpoint(id); !ok || c.State == journal.StateHidden && !head.IsLent(id) {
		return nil, fmt.Errorf("%w: job %s does not retain %s", catalog.ErrNoCheckpoint, job, folder)
	}
	return &shell.Elsewhere{
		From: copying.Place{Store: s.stores.restore, Opened: s.env.Root, Facts: s.facts}, URL: api.Below(s.facts.Location, job+"/"+layout.CheckpointDir(id)),
		Metadata: layout.MetadataKey(job, id), Close: func() error { return nil },
		Locate: func(f *layout.File, _ layout.Header) string { return catalog.Key(job, id, f.Key, f.Job) },
	}, nil
}

// forgetEnded deletes what is left in memory of a job that has ended and was released. It tells whether that is so.
func (s *Server) forgetEnded(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.jobs[id] != nil || s.memory.lastEntry(id) == nil {
		return false
	}
	s.memory.free(id, "")
	return true
}

// endedLocked frees the memory of a job whose goroutine ends, if the job has ended and was released. The last entry stays; that of the
// job that ended first goes if there are many.
func (m *memoryJobs) endedLocked(s *Server, id string) {
	head := m.lastEntry(id)
	if head == nil {
		return
	}
	m.free(id, layout.SlotKey(id, head.Slot))
	m.ended = append(m.ended, id)
	for len(m.ended) > endedInMemory {
		first := m.ended[0]
		m.ended = m.ended[1:]
		if s.jobs[first] == nil && m.lastEntry(first) != nil {
			m.free(first, "")
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

// free deletes all objects of a job but one.
func (m *memoryJobs) free(id, keep string) {
	ctx := context.Background() // nothing in memory waits
	var keys []string
	for info, err := range m.Opened.Store.List(ctx, layout.JobPrefix(id)) {
		if err == nil && info.Key != keep {
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
