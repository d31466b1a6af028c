package catalog

import (
	"context"
	"errors"
	"io"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ckptd/ckptd/crc32c"
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
	whole := &summed{r: body}
	show, err := describe(whole)
	if err = errors.Join(err, body.Close()); err != nil {
		return nil, err
	}
	show.MetadataBytes, show.MetadataCrc32C = whole.size, whole.sum
	return show, nil
}

// summed counts and sums the bytes that are read through it.
type summed struct {
	r    io.Reader
	size uint64
	sum  uint32
}

func (s *summed) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.size += uint64(n)
	s.sum = crc32c.Update(s.sum, p[:n])
	return n, err
}

// maxPieces is how many pieces a shown file names.
const maxPieces = 16

// describer gathers a ShowCheckpointResponse from records.
type describer struct {
	show *ckptdv1.ShowCheckpointResponse
	// counted[i] is the number of the operator, from 1, that counted file i's bytes last.
	counted []int
	// states are the operator's summaries so far.
	states map[stateKey]*ckptdv1.StateSummary
}

// stateKey is what makes two pieces of an operator the same state.
type stateKey struct {
	kind             layout.StateKind
	name, serializer string
	schema           uint32
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
		d.states = map[stateKey]*ckptdv1.StateSummary{}
		d.show.Operators = append(d.show.Operators, &ckptdv1.OperatorSummary{Operator: &ckptdv1.Operator{
			Id: r.ID, Uid: r.UID, Parallelism: uint32(r.Parallelism), MaxParallelism: uint32(r.MaxParallelism), Triggered: r.Triggered,
		}})
	case *layout.File:
		f := &ckptdv1.FileSummary{
			File:          File(r),
			Scope:         ckptdv1.Scope_SCOPE_EXCLUSIVE,
			InstanceNonce: r.InstanceNonce, LocalName: r.LocalName,
		}
		if layout.ParseJobKey(r.Key).Place == layout.PlaceShared {
			f.Scope = ckptdv1.Scope_SCOPE_SHARED
		}
		d.show.Files, d.counted = append(d.show.Files, f), append(d.counted, 0)
	case *layout.Subtask:
		op := d.show.GetOperators()[len(d.show.GetOperators())-1]
		if r.Finished {
			op.Finished++
		}
		for i := range r.Handles {
			op.Keyed = op.Keyed || r.Handles[i].KeyGroups != nil
			d.addHandle(op, r, &r.Handles[i])
		}
	}
}

// addHandle adds a handle to the operator op. A file that several of the operator's subtasks share counts once.
func (d *describer) addHandle(op *ckptdv1.OperatorSummary, s *layout.Subtask, h *layout.Handle) {
	if h.File == 0 {
		op.InlineBytes += uint64(len(h.Inline))
		op.StateBytes += uint64(len(h.Inline))
		d.addState(op, &h.State, uint64(len(h.Inline)))
		return
	}
	f := d.show.GetFiles()[h.File-1]
	f.References++
	op.FileReferences++
	if len(f.GetPieces()) < maxPieces {
		piece := &ckptdv1.PieceSummary{
			Subtask: &ckptdv1.Subtask{OperatorId: s.OperatorID, Index: uint32(s.Index)}, State: State(&h.State), Segment: Segment(h.Segment),
		}
		piece.State.Offsets = nil
		f.Pieces = append(f.Pieces, piece)
	}
	length := f.GetFile().GetLength()
	if h.Segment != nil {
		length = h.Segment.Length
	}
	d.addState(op, &h.State, length)
	n := len(d.show.GetOperators())
	if d.counted[h.File-1] != n {
		d.counted[h.File-1] = n
		op.StateBytes += f.GetFile().GetLength()
	}
}

// addState counts a piece of so many bytes for its state.
func (d *describer) addState(op *ckptdv1.OperatorSummary, s *layout.State, bytes uint64) {
	key := stateKey{s.Kind, s.Name, s.Serializer, s.SchemaVersion}
	sum := d.states[key]
	if sum == nil {
		sum = &ckptdv1.StateSummary{State: State(&layout.State{Kind: s.Kind, Name: s.Name, Serializer: s.Serializer, SchemaVersion: s.SchemaVersion})}
		d.states[key] = sum
		op.States = append(op.States, sum)
	}
	sum.Pieces++
	sum.Bytes += bytes
}
