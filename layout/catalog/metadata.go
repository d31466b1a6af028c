package catalog

import (
	"context"
	"errors"
	"hash/crc32"
	"io"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// ReadMetadata describes the checkpoint whose _metadata has the given key, from this object alone. It returns the
// errors of layout.MetadataReader and of the store.
func ReadMetadata(ctx context.Context, s storage.Store, key string) (*ckptdv1.ShowCheckpointResponse, error) {
	body, err := s.Open(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	whole := &summed{r: body, table: crc32.MakeTable(crc32.Castagnoli)}
	show, err := describe(whole)
	if err = errors.Join(err, body.Close()); err != nil {
		return nil, err
	}
	show.MetadataBytes, show.MetadataCrc32C = whole.size, whole.sum
	return show, nil
}

// summed counts and sums the bytes that are read through it.
type summed struct {
	r     io.Reader
	table *crc32.Table
	size  uint64
	sum   uint32
}

func (s *summed) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.size += uint64(n)
	s.sum = crc32.Update(s.sum, s.table, p[:n])
	return n, err
}

// describer gathers a ShowCheckpointResponse from records.
type describer struct {
	show *ckptdv1.ShowCheckpointResponse
	// counted[i] is the number of the operator, from 1, that counted file i's bytes last.
	counted []int
}

func describe(r io.Reader) (*ckptdv1.ShowCheckpointResponse, error) {
	m, err := layout.NewMetadataReader(r)
	if err != nil {
		return nil, err
	}
	d := &describer{show: &ckptdv1.ShowCheckpointResponse{FormatVersion: m.Version()}}
	for {
		record, err := m.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		d.add(record)
	}
	h, t := m.Header(), m.Totals()
	d.show.JobId, d.show.Epoch, d.show.Attempt, d.show.Nonce = h.JobID, h.Epoch, h.Attempt, h.Nonce
	d.show.Summary = &ckptdv1.CheckpointSummary{
		CheckpointId: h.Checkpoint, Path: h.JobID + "/" + layout.CheckpointDir(h.Checkpoint),
		StateBytes: t.StateBytes(), NewBytes: t.NewBytes(), ReusedBytes: t.ReusedBytes(), Savepoint: h.Kind == layout.KindSavepoint,
	}
	if !h.TriggeredAt.IsZero() {
		d.show.TriggeredAt = timestamppb.New(h.TriggeredAt)
	}
	if !h.CompletedAt.IsZero() {
		d.show.Summary.CompletedAt = timestamppb.New(h.CompletedAt)
	}
	if !h.TriggeredAt.IsZero() && !h.CompletedAt.IsZero() {
		d.show.Summary.Duration = durationpb.New(h.CompletedAt.Sub(h.TriggeredAt))
	}
	return d.show, nil
}

func (d *describer) add(record layout.Record) {
	switch r := record.(type) {
	case *layout.Job:
		d.show.Labels = r.Labels
	case *layout.Operator:
		d.show.Operators = append(d.show.Operators, &ckptdv1.OperatorSummary{Operator: &ckptdv1.Operator{
			Id: r.ID, Uid: r.UID, Parallelism: uint32(r.Parallelism), MaxParallelism: uint32(r.MaxParallelism), Triggered: r.Triggered,
		}})
	case *layout.File:
		f := &ckptdv1.FileSummary{
			File:          &ckptdv1.FileHandle{Key: r.Key, Length: r.Length, Crc32C: r.CRC32C, BlockCrc32C: r.Blocks},
			Scope:         ckptdv1.Scope_SCOPE_EXCLUSIVE,
			InstanceNonce: r.InstanceNonce, LocalName: r.LocalName,
		}
		if layout.ParseJobKey(r.Key).Place == layout.PlaceShared {
			f.Scope = ckptdv1.Scope_SCOPE_SHARED
		}
		d.show.Files, d.counted = append(d.show.Files, f), append(d.counted, 0)
	case *layout.Subtask:
		for i := range r.Handles {
			d.addHandle(&r.Handles[i])
		}
	}
}

// addHandle adds a handle to the current operator. A file that several of the operator's subtasks share counts once.
func (d *describer) addHandle(h *layout.Handle) {
	n := len(d.show.GetOperators())
	op := d.show.GetOperators()[n-1]
	if h.File == 0 {
		op.InlineBytes += uint64(len(h.Inline))
		op.StateBytes += uint64(len(h.Inline))
		return
	}
	f := d.show.GetFiles()[h.File-1]
	f.References++
	op.FileReferences++
	if d.counted[h.File-1] != n {
		d.counted[h.File-1] = n
		op.StateBytes += f.GetFile().GetLength()
	}
}
