package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// view gives a command its data: from a bare root, or from a daemon.
type view interface {
	Jobs(ctx context.Context) (*ckptdv1.ListJobsResponse, error)
	Checkpoints(ctx context.Context, job string) (*ckptdv1.ListCheckpointsResponse, error)
	Show(ctx context.Context, job string, id uint64) (*ckptdv1.ShowCheckpointResponse, error)
	Files(ctx context.Context, job string, id uint64) (*ckptdv1.ShowCheckpointResponse, error)
	Journal(ctx context.Context, job string) (*ckptdv1.ShowJournalResponse, error)
}

// target is the meaning of an argument: a view, and a job or checkpoint in it.
type target struct {
	view  view
	close func() error
	job   string
	// id of a checkpoint.
	id uint64
	// store is that of a bare root, or of a loose checkpoint; nil: the view is a daemon's.
	store storage.Store
	// root is the URL of a bare root.
	root string
}

// onStorage is the target in the storage itself: that of a daemon is looked for below the daemon's root. The caller
// closes only the new target.
func (t *target) onStorage(ctx context.Context) (*target, error) {
	r, ok := t.view.(*remote)
	if !ok {
		return t, nil
	}
	status, err := r.Status(ctx)
	if err = errors.Join(err, t.close()); err != nil {
		return nil, err
	}
	for _, j := range status.GetJobs() {
		if s := j.GetSummary(); s.GetJobId() == t.job && s.GetInMemory() {
			return nil, fmt.Errorf("job %s lies in the memory of this daemon, and nothing of it in the root: `ckptd savepoint %s DIR` copies its state to a store, "+
				"`ckptd cancel %s` ends it", t.job, t.job, t.job)
		}
	}
	bare, err := openBareRoot(ctx, status.GetRoot())
	if err != nil {
		return nil, err
	}
	bare.job, bare.id = t.job, t.id
	return bare, nil
}

// isID tells a job's id, or <id>/chk-<number>, from a path. With --server, an argument is an id if it has no scheme and
// does not begin with "/" or ".". An argument that can be neither may hold a password; the parser of roots refuses it.
func (at daemons) isID(arg string) bool {
	return at.server != "" && !strings.ContainsAny(arg, ":@?") && !strings.HasPrefix(arg, "/") && !strings.HasPrefix(arg, ".")
}

// openRootOrJob resolves the argument of ls: a root, a job, or nothing (all jobs of the daemon).
func openRootOrJob(ctx context.Context, at daemons, arg string) (*target, error) {
	switch {
	case arg == "" && at.server == "":
		return nil, exit.Usagef("ls: want a ROOT or a JOB, or --server")
	case arg == "":
		return openServer(at)
	case at.isID(arg):
		return openJob(ctx, at, arg)
	}
	place, err := drivers.Normal(arg)
	if err != nil {
		return nil, err
	}
	t, rootErr := openBareRoot(ctx, place)
	if rootErr == nil {
		return t, nil
	}
	parent, job := drivers.CutLast(place)
	if !absent(rootErr) || layout.ValidateJobID(job) != nil {
		return nil, rootErr
	}
	if t, err = openBareRoot(ctx, parent); err != nil {
		return nil, rootErr
	}
	t.job = job
	return t, nil
}

// openJob resolves a JOB.
func openJob(ctx context.Context, at daemons, arg string) (*target, error) {
	if at.isID(arg) {
		if err := layout.ValidateJobID(arg); err != nil {
			return nil, exit.Usagef("%w", err)
		}
		t, err := openServer(at)
		if err == nil {
			t.job = arg
		}
		return t, err
	}
	place, err := drivers.Normal(arg)
	if err != nil {
		return nil, err
	}
	root, job := drivers.CutLast(place)
	if err := layout.ValidateJobID(job); err != nil {
		return nil, exit.Usagef("job %q: want <root>/<job id>, such as file:///var/lib/ckptd/clicks, or <job id> with --server: %w", arg, err)
	}
	t, err := openBareRoot(ctx, root)
	if err == nil {
		t.job = job
	}
	return t, err
}

// openCheckpoint resolves a CHECKPOINT.
func openCheckpoint(ctx context.Context, at daemons, arg string) (*target, error) {
	if at.isID(arg) {
		job, dir, _ := strings.Cut(arg, "/")
		if dir == "" && layout.ValidateJobID(job) == nil {
			return nil, isJob(job, job+"/chk-42", "--server "+output.ShellWord(at.server))
		}
		id, err := layout.ParseCheckpointDir(dir)
		if err != nil {
			return nil, exit.Usagef("checkpoint %q: want <job id>/chk-<number>, such as clicks/chk-42: %w", arg, err)
		}
		t, err := openJob(ctx, at, job)
		if err == nil {
			t.id = id
		}
		return t, err
	}
	place, err := drivers.Normal(arg)
	if err != nil {
		return nil, err
	}
	if folder, last := drivers.CutLast(place); last == layout.MetadataName {
		place = folder
	}
	inJob, folder := drivers.CutLast(place)
	root, job := drivers.CutLast(inJob)
	id, err := layout.ParseCheckpointDir(folder)
	if err == nil && layout.ValidateJobID(job) == nil {
		t, err := openBareRoot(ctx, root)
		if err == nil {
			t.job, t.id = job, id
			return t, nil
		}
		if !absent(err) {
			return nil, err
		}
	}
	if list := checkpointsOf(ctx, inJob, folder); list != nil {
		n := len(list.GetCheckpoints())
		if n == 0 {
			return nil, exit.Usagef("%q is a job, and it keeps no checkpoint: `ckptd journal show %s` says what it did", arg, output.ShellWord(arg))
		}
		return nil, isJob(arg, drivers.Below(place, layout.CheckpointDir(list.GetCheckpoints()[n-1].GetCheckpointId())), "")
	}
	return openLoose(ctx, arg, inJob, folder)
}

// isJob is the error for a job where a checkpoint is wanted. checkpoint is the name of one.
func isJob(job, checkpoint, flags string) error {
	run := func(verb, word string) string {
		return strings.TrimSpace("ckptd " + verb + " " + output.ShellWord(word) + " " + flags)
	}
	return exit.Usagef("%q is a job: `%s` lists its checkpoints, and `%s` describes one", job, run("ls", job), run("show", checkpoint))
}

// checkpointsOf lists the checkpoints of a job in a root; nil: there is no such root or job.
func checkpointsOf(ctx context.Context, root, job string) *ckptdv1.ListCheckpointsResponse {
	if layout.ValidateJobID(job) != nil {
		return nil
	}
	t, err := openBareRoot(ctx, root)
	if err != nil {
		return nil
	}
	list, err := t.view.Checkpoints(ctx, job)
	if errors.Join(err, t.close()) != nil {
		return nil
	}
	return list
}

// absent tells whether the error means that there is no root, and not that a root cannot be read.
func absent(err error) bool {
	return errors.Is(err, layout.ErrNotRoot) || errors.Is(err, fs.ErrNotExist)
}

// openBareRoot opens a root for reading.
func openBareRoot(ctx context.Context, root string) (*target, error) {
	opened, err := drivers.Open(ctx, root, true)
	if err != nil {
		return nil, err
	}
	if _, err := layout.ReadRoot(ctx, opened.Store); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", root, err), opened.Close())
	}
	return &target{view: catalog.New(opened.Store), close: opened.Close, store: opened.Store, root: root}, nil
}

// openLoose opens the folder of a checkpoint outside of any root.
func openLoose(ctx context.Context, arg, parent, folder string) (*target, error) {
	if folder == "" {
		return nil, exit.Usagef("checkpoint %q: want <job>/chk-<number>, or the path or URL of a _metadata or its folder", arg)
	}
	folder, err := url.PathUnescape(folder)
	if err != nil {
		return nil, exit.Usagef("checkpoint %q: %w", arg, err)
	}
	opened, err := drivers.Open(ctx, parent, true)
	switch {
	case errors.Is(err, fs.ErrNotExist): // ls prints <job>/chk-<number>, which is no path
		return nil, fmt.Errorf("checkpoint %q: want <root>/<job>/chk-<number>, or with --server <job>/chk-<number>: %w", arg, err)
	case err != nil:
		return nil, err
	}
	return &target{view: &loose{store: opened.Store, arg: arg, folder: folder}, close: opened.Close, store: opened.Store}, nil
}

// loose is the view of one checkpoint's folder, wherever it lies. It knows no jobs.
type loose struct {
	store storage.Store
	// arg is the user's argument, folder its last element.
	arg, folder string
}

func (l *loose) Jobs(context.Context) (*ckptdv1.ListJobsResponse, error) {
	return nil, layout.ErrNotRoot
}

func (l *loose) Checkpoints(context.Context, string) (*ckptdv1.ListCheckpointsResponse, error) {
	return nil, layout.ErrNotRoot
}

func (l *loose) Journal(context.Context, string) (*ckptdv1.ShowJournalResponse, error) {
	return nil, layout.ErrNotRoot
}

func (l *loose) Show(ctx context.Context, _ string, _ uint64) (*ckptdv1.ShowCheckpointResponse, error) {
	show, err := catalog.ReadMetadata(ctx, l.store, l.folder+"/"+layout.MetadataName)
	if err != nil {
		return nil, fmt.Errorf("checkpoint %s: %w", l.arg, err)
	}
	return show, nil
}

// Files looks for exclusive files, and for those of a savepoint, beside the _metadata, under any name of the folder. It
// looks for shared files in shared/ beside the folder. It does not look for files in the folders of other jobs.
func (l *loose) Files(ctx context.Context, job string, id uint64) (*ckptdv1.ShowCheckpointResponse, error) {
	show, err := l.Show(ctx, job, id)
	if err != nil {
		return nil, err
	}
	return show, catalog.CheckFiles(ctx, l.store, show, func(f *ckptdv1.FileHandle) string {
		return catalog.LooseKey(l.folder, show.GetSummary().GetCheckpointId(), f.GetKey(), f.GetJobId())
	})
}
