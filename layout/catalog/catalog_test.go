package catalog_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/layouttest"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

func example(t *testing.T) (*mem.Store, *catalog.Catalog) {
	s := mem.New()
	layouttest.Build(t, s)
	return s, catalog.New(s)
}

func object(t *testing.T, s storage.Store, key string) []byte {
	t.Helper()
	r, err := s.Open(t.Context(), key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// put replaces an object, which ckptd never does.
func put(t *testing.T, s storage.Store, key string, data []byte) {
	t.Helper()
	s.Delete(t.Context(), []string{key})
	if err := s.Publish(t.Context(), key, data); err != nil {
		t.Fatal(err)
	}
}

func summary(id uint64) *ckptdv1.CheckpointSummary {
	c := &ckptdv1.CheckpointSummary{
		CheckpointId: id, Path: "clicks/chk-41", CompletedAt: timestamppb.New(layouttest.At.Add(1500 * time.Millisecond)),
		StateBytes: 3208, NewBytes: 3208, Duration: durationpb.New(1500 * time.Millisecond),
	}
	if id == layouttest.New {
		c.Path, c.NewBytes, c.ReusedBytes = "clicks/chk-42", 208, 3000
		c.CompletedAt = timestamppb.New(layouttest.At.Add(time.Minute + 1500*time.Millisecond))
	}
	return c
}

func diff(t *testing.T, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestJobs(t *testing.T) {
	s, c := example(t)
	put(t, s, "lost/shared/x", nil)
	put(t, s, "no job/x", nil)
	got, err := c.Jobs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	diff(t, &ckptdv1.ListJobsResponse{Jobs: []*ckptdv1.JobSummary{
		{
			JobId: "clicks", Status: ckptdv1.JobStatus_JOB_STATUS_RUNNING, Labels: map[string]string{"name": "clicks"}, Epoch: 2, Attempt: 1,
			OwnerUrls: []string{layouttest.OwnerURL}, Retained: 2, LatestCheckpointId: 42, LatestCompletedAt: summary(42).GetCompletedAt(),
			Checkpoints: []*ckptdv1.CheckpointSummary{summary(41), summary(42)},
		},
		{JobId: "ended", Status: ckptdv1.JobStatus_JOB_STATUS_CANCELED, Epoch: 2, Attempt: 1,
			EndedAt: timestamppb.New(layouttest.At), EndReason: layouttest.EndReason},
		{JobId: "lost", Error: "damaged: the folder of job lost is not empty, but has no journal"},
	}}, got)
}

func TestCheckpoints(t *testing.T) {
	_, c := example(t)
	got, err := c.Checkpoints(t.Context(), layouttest.Running)
	if err != nil {
		t.Fatal(err)
	}
	diff(t, &ckptdv1.ListCheckpointsResponse{Checkpoints: []*ckptdv1.CheckpointSummary{summary(41), summary(42)}}, got)
}

func TestShowAndFiles(t *testing.T) {
	s, c := example(t)
	meta := object(t, s, layout.MetadataKey(layouttest.Running, 42))
	show, err := c.Show(t.Context(), layouttest.Running, 42)
	if err != nil {
		t.Fatal(err)
	}
	crc := show.GetFiles()[0].GetFile().GetCrc32C()
	crc2 := show.GetFiles()[1].GetFile().GetCrc32C()
	keyed := &ckptdv1.State{Kind: ckptdv1.StateKind_STATE_KIND_MANAGED_KEYED}
	counts := &ckptdv1.State{Kind: ckptdv1.StateKind_STATE_KIND_MANAGED_KEYED, Name: "counts", Serializer: "varint", SchemaVersion: 2}
	sum := func(index uint32) *ckptdv1.Subtask { return &ckptdv1.Subtask{OperatorId: "sum", Index: index} }
	want := &ckptdv1.ShowCheckpointResponse{
		Summary: summary(42), FormatVersion: 1, Epoch: 2, Attempt: 1, JobId: "clicks", Labels: map[string]string{"name": "clicks"},
		TriggeredAt: timestamppb.New(layouttest.At.Add(time.Minute)), Nonce: "010203000000000000000000-42", State: ckptdv1.CheckpointState_CHECKPOINT_STATE_KEPT,
		MetadataBytes: uint64(len(meta)), MetadataCrc32C: show.GetMetadataCrc32C(),
		Operators: []*ckptdv1.OperatorSummary{
			{Operator: &ckptdv1.Operator{Id: "source", Uid: "Source: lines", Parallelism: 1, MaxParallelism: 128, Triggered: true}, StateBytes: 8, InlineBytes: 8,
				States: []*ckptdv1.StateSummary{{State: &ckptdv1.State{Kind: ckptdv1.StateKind_STATE_KIND_SOURCE_READER}, Pieces: 1, Bytes: 8}}},
			{Operator: &ckptdv1.Operator{Id: "sum", Uid: "sum of clicks", Parallelism: 2, MaxParallelism: 128}, StateBytes: 3200, FileReferences: 3, Keyed: true,
				States: []*ckptdv1.StateSummary{{State: counts, Pieces: 2, Bytes: 6000}, {State: keyed, Pieces: 1, Bytes: 50}}},
		},
		Files: []*ckptdv1.FileSummary{
			{File: &ckptdv1.FileHandle{Key: layouttest.SharedFile(), Length: 3000, Crc32C: crc}, Scope: ckptdv1.Scope_SCOPE_SHARED,
				InstanceNonce: "backend-1", LocalName: "000004.sst", References: 2,
				Pieces: []*ckptdv1.PieceSummary{{Subtask: sum(0), State: counts}, {Subtask: sum(1), State: counts}}},
			{File: &ckptdv1.FileHandle{Key: layouttest.ExclusiveFile(42), Length: 200, Crc32C: crc2}, Scope: ckptdv1.Scope_SCOPE_EXCLUSIVE,
				InstanceNonce: "backend-1", LocalName: "MANIFEST-000001", References: 1,
				Pieces: []*ckptdv1.PieceSummary{{Subtask: sum(0), State: keyed, Segment: &ckptdv1.Segment{Offset: 100, Length: 50}}}},
		},
	}
	diff(t, want, show)

	for _, f := range want.GetFiles() {
		f.Presence = ckptdv1.FilePresence_FILE_PRESENCE_PRESENT
	}
	files, err := c.Files(t.Context(), layouttest.Running, 42)
	if err != nil {
		t.Fatal(err)
	}
	diff(t, want, files)

	s.Delete(t.Context(), []string{"clicks/" + layouttest.SharedFile()})
	put(t, s, "clicks/"+layouttest.ExclusiveFile(42), []byte("short"))
	want.Files[0].Presence = ckptdv1.FilePresence_FILE_PRESENCE_MISSING
	want.Files[1].Presence, want.Files[1].FoundLength = ckptdv1.FilePresence_FILE_PRESENCE_WRONG_SIZE, 5
	if files, err = c.Files(t.Context(), layouttest.Running, 42); err != nil {
		t.Fatal(err)
	}
	diff(t, want, files)
}

func TestShowRefuses(t *testing.T) {
	for _, c := range []struct {
		name, job string
		id        uint64
		damage    func(t *testing.T, s *mem.Store)
		want      error
		message   string
	}{
		{"no such job", "nobody", 1, nil, catalog.ErrNoJob, "nobody"},
		{"not a job's name", "../etc", 1, nil, layout.ErrName, "../etc"},
		{"no such checkpoint", "clicks", 7, nil, catalog.ErrNoCheckpoint, "retains chk-41, chk-42"},
		{"none at all", "ended", 7, nil, catalog.ErrNoCheckpoint, "retains none"},
		{"_metadata missing", "clicks", 42, func(t *testing.T, s *mem.Store) {
			s.Delete(t.Context(), []string{layout.MetadataKey("clicks", 42)})
		}, catalog.ErrDamaged, "is missing"},
		{"_metadata corrupt", "clicks", 42, func(t *testing.T, s *mem.Store) {
			data := object(t, s, layout.MetadataKey("clicks", 42))
			data[len(data)/2] ^= 1
			put(t, s, layout.MetadataKey("clicks", 42), data)
		}, layout.ErrCorrupt, "near byte"},
		{"_metadata of another checkpoint", "clicks", 42, func(t *testing.T, s *mem.Store) {
			put(t, s, layout.MetadataKey("clicks", 42), object(t, s, layout.MetadataKey("clicks", 41)))
		}, catalog.ErrDamaged, "that of clicks/chk-41"},
		{"_metadata of another writer", "clicks", 42, func(t *testing.T, s *mem.Store) {
			other := mem.New()
			layouttest.Build(t, other)
			m := layout.NewMetadataWriter(&publisher{t, s, layout.MetadataKey("clicks", 42)}, layout.Header{JobID: "clicks", Checkpoint: 42, Epoch: 2, Nonce: "other"})
			_ = m.WriteJob(layout.Job{})
			_ = m.WriteOperator(layout.Operator{ID: "a", Parallelism: 1, MaxParallelism: 1})
			_ = m.WriteSubtask(layout.Subtask{OperatorID: "a"})
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
		}, catalog.ErrDamaged, "the journal means"},
	} {
		s, cat := example(t)
		if c.damage != nil {
			c.damage(t, s)
		}
		_, err := cat.Show(t.Context(), c.job, c.id)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: %v, want %v, %q", c.name, err, c.want, c.message)
		}
	}
}

// publisher is a writer that publishes its bytes at once, and replaces the object.
type publisher struct {
	t   *testing.T
	s   storage.Store
	key string
}

func (p *publisher) Write(b []byte) (int, error) {
	put(p.t, p.s, p.key, b)
	return len(b), nil
}

// A checkpoint that no journal names can still be shown.
func TestShowWithoutJournal(t *testing.T) {
	s, c := example(t)
	put(t, s, layout.MetadataKey("clicks", 40), nil)
	for info, err := range s.List(t.Context(), layout.JournalPrefix("clicks")) {
		if err != nil {
			t.Fatal(err)
		}
		s.Delete(t.Context(), []string{info.Key})
	}
	show, err := c.Show(t.Context(), "clicks", 42)
	if err != nil || show.GetState() != ckptdv1.CheckpointState_CHECKPOINT_STATE_UNSPECIFIED || len(show.GetFiles()) != 2 {
		t.Errorf("show without a journal: %v, %v; want 2 files, and no state", show, err)
	}
	if _, err := c.Show(t.Context(), "clicks", 39); !errors.Is(err, catalog.ErrDamaged) {
		t.Errorf("show without _metadata and journal: %v, want ErrDamaged", err)
	}
}

func TestJournal(t *testing.T) {
	s, c := example(t)
	got, err := c.Journal(t.Context(), layouttest.Running)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, e := range got.GetEntries() {
		kinds = append(kinds, e.GetKind())
	}
	if d := cmp.Diff([]string{"attach", "attempt", "commit", "commit"}, kinds); d != "" {
		t.Error(d)
	}
	head := got.GetEntries()[3]
	if head.GetSlot() != 4 || head.GetEpoch() != 2 || head.GetReserved() != 56 || len(head.GetRetained()) != 2 || len(head.GetPlan().GetOperators()) != 2 ||
		head.GetConfig().GetInterval().AsDuration() != time.Minute || head.GetOwnerNonce() == "" || head.GetRetained()[1].GetState() != ckptdv1.CheckpointState_CHECKPOINT_STATE_KEPT {
		t.Errorf("head %v, want the entry of slot 4", head)
	}

	put(t, s, layout.SlotKey("clicks", 4), []byte("rotten"))
	if got, err = c.Journal(t.Context(), layouttest.Running); err != nil || !strings.Contains(got.GetEntries()[3].GetError(), journal.ErrCorrupt.Error()) {
		t.Errorf("journal with a damaged head: %v, %v; want it listed with the error", got, err)
	}
	if _, err := c.Checkpoints(t.Context(), layouttest.Running); !errors.Is(err, catalog.ErrDamaged) || !errors.Is(err, journal.ErrCorrupt) {
		t.Errorf("checkpoints with a damaged head: %v, want ErrDamaged and ErrCorrupt", err)
	}
	put(t, s, layout.SlotKey("clicks", 4), object(t, s, layout.SlotKey("clicks", 3)))
	if _, err := c.Checkpoints(t.Context(), layouttest.Running); !errors.Is(err, catalog.ErrDamaged) {
		t.Errorf("checkpoints with an entry in a wrong slot: %v, want ErrDamaged", err)
	}
	if got, err = c.Journal(t.Context(), layouttest.Running); err != nil || !strings.Contains(got.GetEntries()[3].GetError(), "says that it is slot 3") {
		t.Errorf("journal with an entry in a wrong slot: %v, %v; want it listed with the error", got, err)
	}
	if _, err := c.Journal(t.Context(), "nobody"); !errors.Is(err, catalog.ErrNoJob) {
		t.Errorf("journal of an absent job: %v, want ErrNoJob", err)
	}
}

// An error of the store is returned as it is; it says nothing about the root.
func TestStoreTrouble(t *testing.T) {
	s, _ := example(t)
	down := mem.NewFaults(s, nil)
	down.Freeze()
	c := catalog.New(down)
	if _, err := c.Show(t.Context(), "clicks", 42); err == nil || errors.Is(err, catalog.ErrDamaged) || errors.Is(err, catalog.ErrNoJob) {
		t.Errorf("show: %v, want the store's own error", err)
	}
	if _, err := c.Checkpoints(t.Context(), "clicks"); err == nil || strings.Contains(err.Error(), "faster") {
		t.Errorf("checkpoints: %v, want the store's error", err)
	}
	if _, err := c.Jobs(t.Context()); err == nil {
		t.Error("jobs: no error, want the store's own error")
	}
}
