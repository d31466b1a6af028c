package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/proto/data"
)

// table is all that is needed to write the _metadata of a checkpoint. No other goroutine changes it.
type table struct {
	header layout.Header
	job    layout.Job
	plan   *journal.Plan
	pieces map[uint32][]piece
	// finished has the subtasks that have finished.
	finished map[uint32]bool
	// files are the files that the pieces name. places maps a file's number to its position in files.
	files  []layout.File
	places map[incremental.File]int
}

// table collects what is needed to write the _metadata of checkpoint id. A repeated call returns the same.
func (j *Job) table(id uint64, nonce journal.Nonce) (*table, error) {
	c, head := j.contents[id], j.m.Head()
	if c == nil || head == nil {
		return nil, fmt.Errorf("shell: checkpoint %d has no content", id)
	}
	if c.completedAt.IsZero() {
		c.completedAt = time.Now()
	}
	t := &table{
		header: layout.Header{
			JobID: j.id, Checkpoint: id, Epoch: head.Epoch, Attempt: head.Attempt, Nonce: nonce.String(),
			TriggeredAt: c.triggeredAt, CompletedAt: c.completedAt,
		},
		job: layout.Job{Labels: catalog.Labels(head.About)}, plan: head.Plan, pieces: c.pieces, finished: c.finished,
	}
	most := 0
	for _, pieces := range c.pieces {
		most += len(pieces)
	}
	t.files, t.places = make([]layout.File, 0, most), make(map[incremental.File]int, most)
	for _, pieces := range c.pieces {
		for i := range pieces {
			if !pieces[i].isFile {
				continue
			}
			number := pieces[i].file
			if _, ok := t.places[number]; ok {
				continue
			}
			d, ok := j.names.Describe(number)
			if !ok {
				return nil, fmt.Errorf("shell: checkpoint %d: file %d has no description", id, number)
			}
			t.places[number] = len(t.files)
			t.files = append(t.files, layout.File{
				Key: d.Key, Job: d.Job, Length: d.Size, CRC32C: d.CRC, Blocks: d.Blocks, InstanceNonce: d.Instance, LocalName: d.Name,
				Compression: (*layout.Compression)(d.Compression),
			})
		}
	}
	return t, nil
}

// write creates the _metadata and returns its description for the journal.
func (t *table) write(ctx context.Context, store storage.Store) (journal.Checkpoint, error) {
	return t.writeTo(ctx, store, layout.MetadataKey(t.header.JobID, t.header.Checkpoint))
}

// writeTo is write with another key.
func (t *table) writeTo(ctx context.Context, store storage.Store, key string) (journal.Checkpoint, error) {
	w, err := store.Create(ctx, key, storage.CreateOptions{IfAbsent: true})
	if err != nil {
		return journal.Checkpoint{}, err
	}
	defer w.Abort()
	m := layout.NewMetadataWriter(w, t.header)
	if err := t.records(m); err != nil {
		return journal.Checkpoint{}, err
	}
	if err := w.Commit(); err != nil {
		return journal.Checkpoint{}, err
	}
	return entryOf(uint64(m.Size()), m.Sum(), t.header, m.Totals()), nil
}

// entryOf describes a _metadata for the journal. size and crc are its bytes and their CRC32C.
func entryOf(size uint64, crc uint32, h layout.Header, totals layout.Totals) journal.Checkpoint {
	return journal.Checkpoint{
		Size: size, CRC: crc,
		CompletedAt: uint64(h.CompletedAt.UnixMilli()),
		// The duration is not negative even if the clock was set back between the two times.
		DurationMillis: uint64(max(0, h.CompletedAt.Sub(h.TriggeredAt).Milliseconds())),
		StateBytes:     totals.StateBytes(), NewBytes: totals.NewBytes(),
	}
}

// records writes all records of the _metadata.
func (t *table) records(m *layout.MetadataWriter) error {
	if err := m.WriteJob(t.job); err != nil {
		return err
	}
	refs := make([]layout.FileRef, len(t.files))
	number := uint32(0)
	for _, op := range t.plan.Operators {
		err := m.WriteOperator(layout.Operator{
			ID: op.ID, UID: op.UID, Parallelism: int(op.Parallelism), MaxParallelism: int(op.MaxParallelism), Triggered: op.Triggered,
		})
		if err != nil {
			return err
		}
		for index := range op.Parallelism {
			handles, err := t.handles(m, number, refs)
			if err != nil {
				return err
			}
			s := layout.Subtask{OperatorID: op.ID, Index: int(index), Handles: handles, Finished: t.finished[number]}
			if err := m.WriteSubtask(s); err != nil {
				return err
			}
			number++
		}
	}
	return m.Close()
}

// handles returns the handles of a subtask. It first writes the records of its files, except those of earlier subtasks.
func (t *table) handles(m *layout.MetadataWriter, subtask uint32, refs []layout.FileRef) ([]layout.Handle, error) {
	pieces := t.pieces[subtask]
	handles := make([]layout.Handle, len(pieces))
	for i := range pieces {
		p := &pieces[i]
		h := p.handle(0)
		if p.isFile {
			place := t.places[p.file]
			file := &t.files[place]
			if refs[place] == 0 {
				ref, err := m.WriteFile(*file)
				if err != nil {
					return nil, err
				}
				refs[place] = ref
			}
			h.File = refs[place]
			if h.Name == file.LocalName && h.InstanceNonce == file.InstanceNonce {
				h.Name, h.InstanceNonce = "", ""
			}
		}
		handles[i] = h
	}
	return handles, nil
}

// metadataFiles is what an owner needs of a retained checkpoint's _metadata.
type metadataFiles struct {
	header layout.Header
	// files are the job's own files, and borrowed those in other jobs' folders.
	files, borrowed []layout.File
	// entry describes the _metadata for the journal. It is set only if the whole _metadata could be read.
	entry journal.Checkpoint
}

// summed counts the bytes that are read through it and computes their CRC32C.
type summed struct {
	io.Reader
	size uint64
	sum  uint32
}

// Read implements io.Reader.
func (s *summed) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	s.size += uint64(n)
	s.sum = data.CRC32C(s.sum, p[:n])
	return n, err
}

// readMetadata reads a whole _metadata. If the bytes are damaged, it returns the files before the damage and the error.
func readMetadata(ctx context.Context, store storage.Store, job string, id uint64) (metadataFiles, journal.Outcome, error) {
	var m metadataFiles
	body, err := store.Open(ctx, layout.MetadataKey(job, id), 0, -1)
	if err != nil {
		return m, journalio.ReadOutcome(err), err
	}
	defer body.Close()
	whole := &summed{Reader: body}
	r, err := layout.NewMetadataReader(whole)
	if err != nil {
		return m, journalio.ReadOutcome(err), err
	}
	m.header = r.Header()
	for {
		record, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return m, journalio.ReadOutcome(err), err
		}
		switch f, ok := record.(*layout.File); {
		case ok && f.Own():
			m.files = append(m.files, *f)
		case ok && f.Job != "":
			m.borrowed = append(m.borrowed, *f)
		}
	}
	m.entry = entryOf(whole.size, whole.sum, m.header, r.Totals())
	if m.header.JobID != job || m.header.Checkpoint != id {
		err := fmt.Errorf("shell: the _metadata of job %s, checkpoint %d, names job %s, checkpoint %d: %w", job, id, m.header.JobID, m.header.Checkpoint, layout.ErrCorrupt)
		return m, journal.Corrupt, err
	}
	return m, journal.Done, nil
}
