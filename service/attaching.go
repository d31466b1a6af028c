package service

import (
	"context"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/config"
	"github.com/ckptd/ckptd/service/shell"
)

// This file decides where the job of an AttachJob lies, or begins: in the daemon's memory or below the root.

// beginsWith is how many bytes must be free for a new job: room for its first entries.
const beginsWith = 64 << 10

// attaching returns the job that a request means, in memory or below the root, and the request as that job takes it.
func (s *Server) attaching(ctx context.Context, req *ckptdv1.AttachJobRequest) (*shell.Job, *ckptdv1.AttachJobRequest, error) {
	id := req.GetJobId()
	if err := layout.ValidateJobID(id); err != nil {
		return nil, nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	asked := config.InMemory(req.GetConfig(), s.opts.JobDefaults)
	if s.memory == nil && asked && req.GetConfig() != nil {
		return nil, nil, connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf(
			"job %s: %s is %s, and this daemon keeps no state in memory: start it with --memory-state above 0, or ask for %s", id, storageKey(), "jobmanager", "filesystem"))
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

// forgetEnded deletes what is left in memory of a job that has ended and was released. It tells whether that is so.
func (s *Server) forgetEnded(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.jobs[id] != nil || s.memory.lastEntry(id) == nil {
		return false
	}
	s.memory.free(id)
	s.memory.forgetLocked(id)
	return true
}
