// Package catalog describes what lies under a root, for commands and for the page: which jobs and checkpoints there
// are, the content of a checkpoint, and whether its files exist. It reads storage and needs no daemon.
//
// It owns the conversion of stored formats (journal, _metadata) to the API's messages, so that daemon and command
// line answer with the same messages. It must not know daemons or drivers, it decides nothing, and it never writes.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

var (
	// ErrNoJob: the root has no such job.
	ErrNoJob = errors.New("no such job")
	// ErrNoCheckpoint: the job has no such checkpoint.
	ErrNoCheckpoint = errors.New("no such checkpoint")
	// ErrDamaged: an object is missing, unreadable, or differs from what the journal says.
	ErrDamaged = errors.New("damaged")
)

// parallel is the number of jobs that are read at once.
const parallel = 8

// Catalog reads one root. All methods are safe for concurrent use.
type Catalog struct {
	store storage.Store
}

// New returns a catalog of the root in s.
func New(s storage.Store) *Catalog { return &Catalog{store: s} }

// Jobs lists all jobs by id, each with the checkpoints that its journal retains. A job whose journal cannot be read
// is listed with the error.
func (c *Catalog) Jobs(ctx context.Context) (*ckptdv1.ListJobsResponse, error) {
	ids, err := c.JobIDs(ctx)
	if err != nil {
		return nil, fmt.Errorf("catalog: list jobs: %w", err)
	}
	out := &ckptdv1.ListJobsResponse{Jobs: make([]*ckptdv1.JobSummary, len(ids))}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, id := range ids {
		g.Go(func() error {
			e, err := Head(ctx, c.store, id)
			if err != nil && ctx.Err() != nil {
				return err
			}
			if errors.Is(err, ErrNoJob) || err == nil && e.Status == journal.StatusRemoved {
				return nil // an empty folder, or a tombstone
			}
			if err != nil {
				out.Jobs[i] = &ckptdv1.JobSummary{JobId: id, Error: err.Error()}
				return nil
			}
			out.Jobs[i] = Job(e)
			out.Jobs[i].Checkpoints = Checkpoints(e)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("catalog: list jobs: %w", err)
	}
	out.Jobs = slices.DeleteFunc(out.Jobs, func(j *ckptdv1.JobSummary) bool { return j == nil })
	return out, nil
}

// JobIDs returns the folders that have a job's name, in order. It reads no journal, so that some may be empty.
func (c *Catalog) JobIDs(ctx context.Context) ([]string, error) {
	var ids []string
	for id, err := range storage.Folders(ctx, c.store, "") {
		if err != nil {
			return nil, err
		}
		if layout.ValidateJobID(id) == nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// Checkpoints lists the checkpoints that a job's journal retains, oldest first.
func (c *Catalog) Checkpoints(ctx context.Context, job string) (*ckptdv1.ListCheckpointsResponse, error) {
	e, err := Head(ctx, c.store, job)
	if err != nil {
		return nil, fmt.Errorf("catalog: list checkpoints: %w", err)
	}
	return &ckptdv1.ListCheckpointsResponse{Checkpoints: Checkpoints(e)}, nil
}

// Show describes one checkpoint by its _metadata and compares it with the journal. A checkpoint that the journal does
// not retain, or that has no journal, is shown as long as its _metadata exists; State says so.
func (c *Catalog) Show(ctx context.Context, job string, id uint64) (*ckptdv1.ShowCheckpointResponse, error) {
	show, err := c.show(ctx, job, id)
	if err != nil {
		return nil, fmt.Errorf("catalog: show %s/%s: %w", job, layout.CheckpointDir(id), err)
	}
	return show, nil
}

func (c *Catalog) show(ctx context.Context, job string, id uint64) (*ckptdv1.ShowCheckpointResponse, error) {
	if err := layout.ValidateJobID(job); err != nil {
		return nil, err
	}
	head, headErr := Head(ctx, c.store, job)
	show, err := ReadMetadata(ctx, c.store, layout.MetadataKey(job, id))
	switch {
	case errors.Is(err, storage.ErrNotFound) && headErr != nil:
		return nil, headErr
	case errors.Is(err, storage.ErrNotFound):
		return nil, missing(head, id)
	case err != nil:
		return nil, err
	case show.GetJobId() != job || show.GetSummary().GetCheckpointId() != id:
		return nil, fmt.Errorf("%w: its _metadata is that of %s/%s", ErrDamaged, show.GetJobId(), layout.CheckpointDir(show.GetSummary().GetCheckpointId()))
	case headErr != nil:
		return show, nil
	}
	return show, compare(show, head, id)
}

// missing returns the error for an absent _metadata.
func missing(head *journal.Entry, id uint64) error {
	if _, retained := head.Checkpoint(id); retained {
		return fmt.Errorf("%w: the journal retains it, but its _metadata is missing", ErrDamaged)
	}
	var ids []string
	for _, r := range head.Retained {
		ids = append(ids, layout.CheckpointDir(r.ID))
	}
	if len(ids) == 0 {
		return fmt.Errorf("%w: the job retains none", ErrNoCheckpoint)
	}
	return fmt.Errorf("%w: the job retains %s", ErrNoCheckpoint, strings.Join(ids, ", "))
}

// compare sets the checkpoint's state in the journal. It returns an error if the _metadata differs from the one that
// the journal names.
func compare(show *ckptdv1.ShowCheckpointResponse, head *journal.Entry, id uint64) error {
	r, retained := head.Checkpoint(id)
	if !retained {
		show.State = ckptdv1.CheckpointState_CHECKPOINT_STATE_NOT_RETAINED
		return nil
	}
	show.State = CheckpointState(r.State)
	if show.GetNonce() != r.Nonce.String() || show.GetMetadataBytes() != r.Size || show.GetMetadataCrc32C() != r.CRC {
		return fmt.Errorf("%w: the journal means the _metadata %s of %d bytes with CRC32C %08x, but this is %s of %d bytes with %08x", ErrDamaged,
			r.Nonce, r.Size, r.CRC, show.GetNonce(), show.GetMetadataBytes(), show.GetMetadataCrc32C())
	}
	return nil
}

// Files is Show with the presence of each file on storage. It does not read the files.
func (c *Catalog) Files(ctx context.Context, job string, id uint64) (*ckptdv1.ShowCheckpointResponse, error) {
	show, err := c.Show(ctx, job, id)
	if err != nil {
		return nil, err
	}
	locate := func(f *ckptdv1.FileHandle) string { return Key(job, id, f.GetKey(), f.GetJobId()) }
	if err := CheckFiles(ctx, c.store, show, locate); err != nil {
		return nil, fmt.Errorf("catalog: files of %s/%s: %w", job, layout.CheckpointDir(id), err)
	}
	return show, nil
}

// Key is the key, in the root, of a file that a checkpoint of the job names by its relative key and, if another job lends
// it, that job.
func Key(job string, checkpoint uint64, relative, lender string) string {
	switch {
	case lender != "":
		return layout.JobPrefix(lender) + relative
	case isBeside(relative):
		return layout.CheckpointPrefix(job, checkpoint) + relative
	}
	return layout.JobPrefix(job) + relative
}

// LooseKey is Key for a checkpoint whose folder lies outside of any root, under any name. Its exclusive files, and those
// of a savepoint, lie in that folder; shared files lie in shared/ beside it. LooseKey is "" for the files of other jobs.
func LooseKey(folder string, checkpoint uint64, relative, lender string) string {
	if lender != "" {
		return ""
	}
	if name, ok := strings.CutPrefix(relative, layout.CheckpointDir(checkpoint)+"/"); ok || isBeside(relative) {
		return folder + "/" + name
	}
	return relative
}

// isBeside reports whether a file lies in the folder of the _metadata itself, as in savepoints.
func isBeside(relative string) bool { return !strings.Contains(relative, "/") }

// CheckFiles looks for every file of a shown checkpoint and sets its presence. locate turns a file's handle into the key
// in the store. It returns "" for a file that the store cannot have; CheckFiles does not look for such a file.
func CheckFiles(ctx context.Context, s storage.Store, show *ckptdv1.ShowCheckpointResponse, locate func(f *ckptdv1.FileHandle) string) error {
	wanted := make(map[string]*ckptdv1.FileSummary, len(show.GetFiles()))
	folders := map[string]bool{}
	for _, f := range show.GetFiles() {
		key := locate(f.GetFile())
		if key == "" {
			continue
		}
		f.Presence = ckptdv1.FilePresence_FILE_PRESENCE_MISSING
		wanted[key] = f
		folders[key[:strings.LastIndexByte(key, '/')+1]] = true
	}
	for folder := range folders {
		for info, err := range s.List(ctx, folder) {
			if err != nil {
				return err
			}
			f, ok := wanted[info.Key]
			if !ok {
				continue
			}
			f.Presence = ckptdv1.FilePresence_FILE_PRESENCE_PRESENT
			if uint64(info.Size) != f.GetFile().GetLength() {
				f.Presence, f.FoundLength = ckptdv1.FilePresence_FILE_PRESENCE_WRONG_SIZE, uint64(info.Size)
			}
		}
	}
	return nil
}

// Journal reads every slot of a job's journal, oldest first. A slot that cannot be read is listed with the reason.
func (c *Catalog) Journal(ctx context.Context, job string) (*ckptdv1.ShowJournalResponse, error) {
	out, err := c.journal(ctx, job)
	if err != nil {
		return nil, fmt.Errorf("catalog: journal of %s: %w", job, err)
	}
	return out, nil
}

func (c *Catalog) journal(ctx context.Context, job string) (*ckptdv1.ShowJournalResponse, error) {
	if err := layout.ValidateJobID(job); err != nil {
		return nil, err
	}
	there, err := journalio.List(ctx, c.store, job)
	if err != nil {
		return nil, err
	}
	slices.Sort(there)
	out := &ckptdv1.ShowJournalResponse{JobId: job}
	for _, slot := range there {
		e, err := journalio.Read(ctx, c.store, job, slot)
		switch {
		case errors.Is(err, storage.ErrNotFound): // trimmed meanwhile
		case errors.Is(err, journal.ErrCorrupt) || errors.Is(err, journal.ErrNewer):
			out.Entries = append(out.Entries, &ckptdv1.JournalEntry{Slot: slot, Error: err.Error()})
		case err != nil:
			return nil, err
		default:
			out.Entries = append(out.Entries, entryOut(e))
		}
	}
	if len(out.GetEntries()) == 0 {
		_, err := Head(ctx, c.store, job)
		return nil, err
	}
	return out, nil
}
