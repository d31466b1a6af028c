package shell

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/copying"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/config"
	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/owner"
)

// Savepoints are the places where a daemon may write savepoints outside of its root.
type Savepoints struct {
	// Default is the directory of savepoints whose request names none; empty: there is none.
	Default string
	// Normal brings a directory into its normal form. It refuses a place that the daemon's operator has not allowed, unless the place
	// lies below root.
	Normal func(dir, root string) (string, error)
	// Open opens the directory of a folder, a normal URL, and gives the folder's name in it.
	Open func(ctx context.Context, folder string) (place copying.Place, name string, err error)
}

// savepointFolder is an opened folder of a savepoint.
type savepointFolder struct {
	place copying.Place
	// prefix of its keys.
	prefix string
	close  func() error
}

func (f *savepointFolder) metadata() string { return f.prefix + layout.MetadataName }

// errNoDir refuses a savepoint without a place.
var errNoDir = errors.New("no directory is given and there is no default: name a directory, set execution.checkpointing.savepoint-dir, or start the daemon with --savepoints")

// newFolder chooses the folder of a new savepoint of a job: below dir, or below the daemon's default.
func (e *Env) newFolder(job, dir string) (string, error) {
	if dir == "" {
		dir = e.Savepoints.Default
	}
	if dir == "" {
		return "", errNoDir
	}
	if e.Savepoints.Normal != nil {
		var err error
		if dir, err = e.Savepoints.Normal(dir, e.Facts.Location); err != nil {
			return "", err
		}
	}
	rel, below := api.BelowRoot(dir, e.Facts.Location)
	if !below && e.Savepoints.Normal == nil {
		return "", errors.New("this daemon takes no savepoints outside of its root")
	}
	if _, below := api.BelowRoot(dir, e.DaemonRoot); e.InMemory && below {
		return "", fmt.Errorf("%s lies in the daemon's root, which holds nothing of a job in memory: name another directory", dir)
	}
	if below {
		if own := layout.SavepointsFolder(job); rel != own && !strings.HasPrefix(rel, own+"/") {
			return "", fmt.Errorf("%s lies in the daemon's root, where a savepoint of job %s may lie below %s only", dir, job, own)
		}
	}
	var suffix [6]byte
	_, _ = rand.Read(suffix[:]) // never fails
	at, query, more := strings.Cut(dir, "?")
	at = strings.TrimRight(at, "/") + "/" + layout.SavepointFolder(job, hex.EncodeToString(suffix[:]))
	if more {
		at += "?" + query
	}
	if len(at) > journal.MaxPath {
		return "", fmt.Errorf("the path of the savepoint has %d bytes, more than %d: use a shorter directory", len(at), journal.MaxPath)
	}
	return at, nil
}

// openFolder opens the folder of a savepoint, in the daemon's root or elsewhere. One that was moved may have any name.
func (e *Env) openFolder(ctx context.Context, folder string, moved bool) (*savepointFolder, error) {
	if rel, ok := api.BelowRoot(folder, e.Facts.Location); ok {
		if err := layout.CheckSavepointFolder(path.Base(rel)); err != nil {
			return nil, err
		}
		return &savepointFolder{copying.Place{Store: e.Upload, Opened: e.Root, Facts: e.Facts}, rel + "/", func() error { return nil }}, nil
	}
	if e.Savepoints.Open == nil {
		return nil, errors.New("this daemon takes no savepoints outside of its root")
	}
	place, name, err := e.Savepoints.Open(ctx, folder)
	if err != nil {
		return nil, err
	}
	if err := layout.CheckSavepointFolder(name); err != nil && !moved {
		return nil, errors.Join(err, place.Opened.Close())
	}
	return &savepointFolder{place, name + "/", place.Opened.Close}, nil
}

// savepointPlace is the folder of a new savepoint. dir is what the caller wants; empty: as the job's configuration says, or the daemon.
func (j *Job) savepointPlace(dir string) (string, error) {
	if c, err := config.Interpret(j.told().Config); dir == "" && err == nil {
		dir = c.SavepointDir
	}
	at, err := j.env.newFolder(j.id, dir)
	if err != nil {
		return "", api.Invalidf("savepoint of job %s: %w", j.id, err)
	}
	return at, nil
}

// TriggerSavepoint begins a savepoint.
func (j *Job) TriggerSavepoint(ctx context.Context, req *ckptdv1.TriggerSavepointRequest) (*ckptdv1.TriggerSavepointResponse, error) {
	want := &journal.Savepoint{}
	switch req.GetStop() {
	case ckptdv1.SavepointStop_SAVEPOINT_STOP_UNSPECIFIED:
	case ckptdv1.SavepointStop_SAVEPOINT_STOP_SUSPEND:
		want.Stop = journal.StopSuspend
	case ckptdv1.SavepointStop_SAVEPOINT_STOP_DRAIN:
		want.Stop = journal.StopDrain
	default:
		return nil, api.Invalidf("savepoint of job %s: unknown kind of stop %d: a newer ckptd may know it", j.id, req.GetStop())
	}
	known, err := j.placeSavepoint(ctx, req, want)
	if known != nil || err != nil {
		return known, err
	}
	return ask(ctx, j, func(reply func(*ckptdv1.TriggerSavepointResponse, error)) {
		if j.coord == nil || j.m.Head() == nil {
			reply(nil, api.NotAttached(j.id))
			return
		}
		begin := func() { j.beginSavepoint(req, want, reply) }
		refuse := func(a coordinator.Answer) { reply(nil, noCheckpoint(j.id, "savepoint", a)) }
		j.coordinate(coordinator.SavepointRequest{Caller: j.inTurn(begin, refuse)})
	})
}

// placeSavepoint chooses the folder of a savepoint, and opens its place: one that cannot be opened is refused before anything has begun.
// If the journal knows the request, the answer is the savepoint that it means.
func (j *Job) placeSavepoint(ctx context.Context, req *ckptdv1.TriggerSavepointRequest, want *journal.Savepoint) (*ckptdv1.TriggerSavepointResponse, error) {
	known, err := ask(ctx, j, func(reply func(*ckptdv1.TriggerSavepointResponse, error)) {
		head := j.m.Head()
		if head != nil {
			if saved, ok := head.Requested(req.GetRequestId()); ok {
				reply(&ckptdv1.TriggerSavepointResponse{Savepoint: j.savepoint(&saved)}, nil)
				return
			}
		}
		if j.coord == nil || head == nil {
			reply(nil, api.NotAttached(j.id))
			return
		}
		if head.Status.Terminal() { // its last sweep has not ended
			reply(nil, api.Refused(&ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_JOB_TERMINAL, Status: catalog.Status(head.Status)},
				"job %s is %s%s", j.id, api.StatusWord(head.Status), api.EndedText(head.Ended)))
			return
		}
		var err error
		want.Path, err = j.savepointPlace(req.GetDirectory())
		reply(nil, err)
	})
	if known != nil || err != nil {
		return known, err
	}
	f, err := j.env.openFolder(ctx, want.Path, false)
	if err == nil {
		err = f.close()
	}
	if err != nil {
		return nil, connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("savepoint of job %s: the daemon cannot write to its place, nothing has begun: name another directory: %w", j.id, err))
	}
	return nil, nil
}

// beginSavepoint asks the owner machine for a savepoint whose turn has come, and tells the coordinator what the owner has answered.
func (j *Job) beginSavepoint(req *ckptdv1.TriggerSavepointRequest, want *journal.Savepoint, reply func(*ckptdv1.TriggerSavepointResponse, error)) {
	caller := j.wait(func(op *owner.Op) {
		begun := coordinator.SavepointAnswered{}
		if slices.ContainsFunc(j.m.Pending(), func(p owner.Pending) bool { return p.ID == op.ID && p.State == owner.PendingOpen }) {
			begun.Checkpoint = op.ID
		}
		j.coordinate(begun)
		if err := j.refusal(op); err != nil {
			reply(nil, err)
			return
		}
		saved, _ := j.told().Savepoint(op.ID)
		reply(&ckptdv1.TriggerSavepointResponse{Savepoint: j.savepoint(&saved)}, nil)
	})
	j.feed(owner.Event{Kind: owner.EventSavepoint, Caller: caller, Request: journal.RequestOf(req.GetRequestId()), Savepoint: want})
}

// Savepoints lists the last savepoints of the job.
func (j *Job) Savepoints(ctx context.Context) (*ckptdv1.ListSavepointsResponse, error) {
	return ask(ctx, j, func(reply func(*ckptdv1.ListSavepointsResponse, error)) {
		head := j.m.Head()
		if head == nil {
			reply(nil, api.NotAttached(j.id))
			return
		}
		res := &ckptdv1.ListSavepointsResponse{JobId: j.id}
		for i := range head.Savepoints {
			res.Savepoints = append(res.Savepoints, j.savepoint(&head.Savepoints[i]))
		}
		reply(res, nil)
	})
}

// savepoint describes a savepoint, with its progress if it is being taken.
func (j *Job) savepoint(p *journal.Savepoint) *ckptdv1.Savepoint {
	out := catalog.Savepoint(p)
	for _, q := range j.m.Pending() {
		if q.ID == p.ID {
			out.Pending, out.Acknowledged, out.Subtasks = true, uint32(q.Acked.Len()), j.told().Plan.Subtasks()
		}
	}
	return out
}

// tellSavepoint handles the Tells about savepoints.
func (j *Job) tellSavepoint(op *owner.Op) {
	if op.Kind == owner.TellSavepoint {
		j.answer(op)
		return
	}
	saved, _ := j.told().Savepoint(op.ID)
	text := "done: " + saved.Path
	if op.Reason != owner.ReasonNone {
		text = "came to nothing, and is deleted: " + saved.Path
	}
	if c := j.contents[op.ID]; op.Reason == owner.ReasonNone {
		j.recordCompleted(op.ID, c)
	} else if c != nil {
		j.recordFailed(op.ID, c, api.ReasonOut(op.Reason), api.ReasonText(op.Reason))
	}
	delete(j.contents, op.ID)
	j.uploads.forget(op.ID)
	j.coordinate(coordinator.SavepointDone{Checkpoint: op.ID})
	j.event(ckptdv1.JobEventKind_JOB_EVENT_KIND_SAVEPOINT, &ckptdv1.JobEvent{CheckpointId: op.ID, Text: text})
}

// onFolder carries out an operation in the folder of a savepoint.
func (j *Job) onFolder(op owner.Op, work func(ctx context.Context, f *savepointFolder, r *owner.Result) error) func(context.Context) {
	return func(ctx context.Context) {
		r := op.Result(journal.NotDone)
		f, err := j.env.openFolder(ctx, op.Savepoint.Path, false)
		if err == nil {
			r.Outcome = journal.Done
			err = errors.Join(work(ctx, f, &r), f.close())
		}
		if err != nil && r.Outcome != journal.Exists {
			j.warn(ctx, "cannot work on a savepoint", "checkpoint", op.ID, "folder", op.Savepoint.Path, "error", err)
		}
		j.result(r)
	}
}

// readSaved reads the _metadata of a savepoint, or its tombstone, to the end.
func (j *Job) readSaved(op owner.Op) func(context.Context) {
	return j.onFolder(op, func(ctx context.Context, f *savepointFolder, r *owner.Result) error {
		nonce, size, sum, err := readSavepoint(ctx, f)
		r.Outcome, r.Nonce, r.Meta.Size, r.Meta.CRC = journalio.ReadOutcome(err), nonce, size, sum
		return err
	})
}

func readSavepoint(ctx context.Context, f *savepointFolder) (nonce journal.Nonce, size uint64, sum uint32, err error) {
	body, err := f.place.Store.Open(ctx, f.metadata(), 0, -1)
	if err != nil {
		return nonce, 0, 0, err
	}
	defer body.Close()
	whole := &summed{Reader: body}
	r, err := layout.NewMetadataReader(whole)
	switch {
	case errors.Is(err, layout.ErrTombstone):
		return nonce, 0, 0, nil
	case err != nil:
		return nonce, 0, 0, err
	}
	if err = eachRecord(r, func(layout.Record) error { return nil }); err == nil {
		nonce, err = journal.ParseNonce(r.Header().Nonce)
	}
	return nonce, whole.size, whole.sum, err
}

// entomb occupies the _metadata of a savepoint that came to nothing.
func (j *Job) entomb(op owner.Op) func(context.Context) {
	return j.onFolder(op, func(ctx context.Context, f *savepointFolder, r *owner.Result) error {
		err := create(ctx, f.place.Store, f.metadata(), layout.Tombstone())
		if r.Outcome = journalio.WriteOutcome(err); err == nil {
			j.env.Step(StepTombstone)
		}
		return err
	})
}

func create(ctx context.Context, store storage.Store, key string, b []byte) error {
	w, err := store.Create(ctx, key, storage.CreateOptions{Size: int64(len(b)), HasSize: true, IfAbsent: true})
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := w.Write(b); err != nil {
		return err
	}
	return w.Commit()
}

// cleanFolder deletes all files of a savepoint that came to nothing. Its tombstone stays, and so does what ckptd has not put there.
func (j *Job) cleanFolder(op owner.Op) func(context.Context) {
	return j.onFolder(op, func(ctx context.Context, f *savepointFolder, r *owner.Result) error {
		ours := func(key string) bool { return layout.IsSavepointFile(key[len(f.prefix):]) }
		_, err := f.place.Store.AbortUnfinished(ctx, f.prefix, ours)
		var keys []string
		for info, e := range f.place.Store.List(ctx, f.prefix) {
			if e != nil {
				err = e
				break
			}
			if ours(info.Key) {
				keys = append(keys, info.Key)
			}
		}
		if err == nil && len(keys) > 0 {
			err = errors.Join(f.place.Store.Delete(ctx, keys)...)
		}
		if err != nil {
			r.Outcome = journal.Unknown
		}
		return err
	})
}

// save copies the state of a savepoint into its folder, and then writes its _metadata. The shell has all acknowledgements.
func (j *Job) save(op owner.Op) func(context.Context) {
	t, err := j.table(op.ID, op.Nonce)
	if err != nil {
		return func(context.Context) { j.result(op.Result(journal.NotDone)) }
	}
	t.header.Kind = layout.KindSavepoint
	from := make([]layout.File, len(t.files))
	for i := range t.files {
		from[i] = t.files[i]
		t.files[i].Key, t.files[i].Job = besideName(&from[i]), ""
	}
	return j.onFolder(op, func(ctx context.Context, f *savepointFolder, r *owner.Result) error {
		mover := copying.Mover{From: &copying.Place{Store: j.env.Restore, Opened: j.env.Root, Facts: j.env.Facts}, To: &f.place}
		g, groupCtx := errgroup.WithContext(ctx)
		g.SetLimit(copiesAtOnce)
		for i := range from {
			g.Go(func() error {
				source := catalog.Key(j.id, op.ID, from[i].Key, from[i].Job)
				_, err := mover.File(groupCtx, source, &from[i], f.prefix+t.files[i].Key)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			r.Outcome = journal.NotDone
			if ctx.Err() != nil {
				r.Outcome = journal.Unknown
			}
			return err
		}
		j.env.Step(StepSaved)
		meta, err := t.writeTo(ctx, f.place.Store, f.metadata())
		if r.Outcome, r.Meta = journalio.WriteOutcome(err), meta; err == nil {
			j.env.Step(StepSavedMetadata)
		}
		return err
	})
}

// besideName is the name of a file in the folder of a savepoint. A repeated attempt makes the same name.
func besideName(f *layout.File) string {
	name := path.Base(f.Key)
	if f.Job != "" {
		name = f.Job + "." + name
	}
	return name
}
