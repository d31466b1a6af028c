// Package layouttest builds a small root of known content, for the tests of code that reads roots.
//
// It owns this one example. It must not know the code that reads it.
package layouttest

import (
	"bytes"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ckptd/ckptd/crc32c"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/keygroup"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// The jobs of the root. Running retains checkpoints 41 and 42 and has an owner. Ended has ended, was released, and retains
// nothing.
const (
	Running = "clicks"
	Ended   = "ended"
	// Old and New are the checkpoints of Running. Both use SharedFile; each has an exclusive file.
	Old, New = 41, 42
	OwnerURL = "unix:/run/ckptd.sock"
	// EndReason is why Ended is over, since At.
	EndReason = "canceled by a person"
)

// At is when checkpoint Old was triggered; New follows after a minute. Each takes 1.5 s.
var At = time.Date(2026, 11, 21, 17, 0, 0, 0, time.UTC)

const fileNonce = "aaaaaaaaaaaaaaaaaaaaaaaaa4"

// SharedFile is the key, relative to the job's folder, of the file that both checkpoints of Running use.
func SharedFile() string {
	return layout.JobKey{Place: layout.PlaceShared, File: layout.FileName{Epoch: 2, Checkpoint: Old, Nonce: fileNonce, Sequence: 1}}.String()
}

// ExclusiveFile returns the key, relative to the job's folder, of the file that only one checkpoint of Running uses.
func ExclusiveFile(checkpoint uint64) string {
	name := layout.FileName{Epoch: 2, Checkpoint: checkpoint, Nonce: fileNonce, Sequence: 2}
	return layout.JobKey{Place: layout.PlaceExclusive, Checkpoint: checkpoint, File: name}.String()
}

// sizes in bytes of a shared and of an exclusive file.
const (
	sharedSize    = 3000
	exclusiveSize = 200
)

// Build fills an empty store.
func Build(t testing.TB, s storage.Store) {
	t.Helper()
	if _, err := layout.OpenRoot(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	create(t, s, Running+"/"+SharedFile(), sharedSize)
	head := journal.Entry{
		Epoch: 2, Kind: journal.KindAttach, LeastReader: 1, LeastWriter: 1, Owner: nonce(1), URLs: []string{OwnerURL},
		Status: journal.StatusRunning, Reserved: 56, Plan: plan(),
		Config: config(t),
		About:  &journal.About{Job: Running, Labels: []journal.Label{{Key: "name", Value: "clicks"}}},
	}
	appendEntry(t, s, &head)
	head.Kind, head.Attempt = journal.KindAttempt, 1
	appendEntry(t, s, &head)
	for _, id := range []uint64{Old, New} {
		create(t, s, Running+"/"+ExclusiveFile(id), exclusiveSize)
		head.Kind = journal.KindCommit
		head.Retained = append(head.Retained, commit(t, s, id))
		appendEntry(t, s, &head)
	}
	ended := head
	ended.Slot, ended.Kind, ended.Owner, ended.URLs, ended.Status, ended.Retained = 0, journal.KindRelease, journal.Nonce{}, nil, journal.StatusCanceled, nil
	ended.About, ended.Ended = &journal.About{Job: Ended}, journal.EndedAt(uint64(At.UnixMilli()), EndReason)
	appendEntry(t, s, &ended)
}

func config(t testing.TB) *journal.Config {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(&ckptdv1.JobConfig{
		Mode: ckptdv1.CheckpointingMode_CHECKPOINTING_MODE_EXACTLY_ONCE, Interval: durationpb.New(time.Minute), NumRetained: 2,
		Retention:       ckptdv1.Retention_RETENTION_RETAIN_ON_CANCELLATION,
		RestartStrategy: &ckptdv1.RestartStrategy{Type: ckptdv1.RestartStrategy_TYPE_FIXED_DELAY, Attempts: 3},
	})
	if err != nil {
		t.Fatal(err)
	}
	return journal.NewConfig(b)
}

func plan() *journal.Plan {
	return journal.NewPlan([]journal.Operator{
		{ID: "source", UID: "Source: lines", Parallelism: 1, MaxParallelism: 128, Triggered: true},
		{ID: "sum", UID: "sum of clicks", Parallelism: 2, MaxParallelism: 128},
	})
}

// nonce returns the n-th nonce of the one process that wrote the root.
func nonce(n uint64) journal.Nonce {
	return journal.Nonce{Process: journal.Process{1, 2, 3}, Count: uint32(n)}
}

func contents(size int) []byte { return bytes.Repeat([]byte{'x'}, size) }

func sum(b []byte) uint32 { return crc32c.Sum(b) }

func create(t testing.TB, s storage.Store, key string, size int) {
	t.Helper()
	w, err := s.Create(t.Context(), key, storage.CreateOptions{})
	if err == nil {
		_, err = w.Write(contents(size))
	}
	if err == nil {
		err = w.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// appendEntry publishes the entry in the next slot.
func appendEntry(t testing.TB, s storage.Store, e *journal.Entry) {
	t.Helper()
	e.Slot++
	e.Nonce = nonce(100 + e.Slot)
	e.Ring = append(e.Ring[:len(e.Ring):len(e.Ring)], e.Nonce)
	data, err := journal.Encode(e)
	if err == nil {
		err = s.Publish(t.Context(), layout.SlotKey(e.About.Job, e.Slot), data)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// commit writes a checkpoint's _metadata and returns the journal's record of it.
func commit(t testing.TB, s storage.Store, id uint64) journal.Checkpoint {
	t.Helper()
	at := At.Add(time.Duration(id-Old) * time.Minute)
	var b bytes.Buffer
	m := layout.NewMetadataWriter(&b, layout.Header{
		JobID: Running, Checkpoint: id, Epoch: 2, Attempt: 1, Nonce: nonce(id).String(), TriggeredAt: at, CompletedAt: at.Add(1500 * time.Millisecond),
	})
	if err := records(m, id); err != nil {
		t.Fatal(err)
	}
	if err := s.Publish(t.Context(), layout.MetadataKey(Running, id), b.Bytes()); err != nil {
		t.Fatal(err)
	}
	return journal.Checkpoint{
		ID: id, Nonce: nonce(id), Size: uint64(m.Size()), CRC: m.Sum(), CompletedAt: uint64(at.Add(1500 * time.Millisecond).UnixMilli()), DurationMillis: 1500,
		StateBytes: m.Totals().StateBytes(), NewBytes: m.Totals().NewBytes(),
	}
}

func records(m *layout.MetadataWriter, id uint64) error {
	operators := plan().Operators
	for i := range operators {
		op := &operators[i]
		if i == 0 {
			if err := m.WriteJob(layout.Job{Labels: map[string]string{"name": "clicks"}}); err != nil {
				return err
			}
		}
		if err := m.WriteOperator(layout.Operator{
			ID: op.ID, UID: op.UID, Parallelism: int(op.Parallelism), MaxParallelism: int(op.MaxParallelism), Triggered: op.Triggered,
		}); err != nil {
			return err
		}
		for index := range int(op.Parallelism) {
			handles, err := handles(m, id, op.ID, index)
			if err != nil {
				return err
			}
			if err := m.WriteSubtask(layout.Subtask{OperatorID: op.ID, Index: index, Handles: handles}); err != nil {
				return err
			}
		}
	}
	return m.Close()
}

// handles returns the state of one subtask. The source has its offset, inline. The first half of the key groups has both
// files, the second half the shared one.
func handles(m *layout.MetadataWriter, id uint64, operator string, index int) ([]layout.Handle, error) {
	if operator == "source" {
		return []layout.Handle{{Inline: []byte("offset 7"), Name: "offsets", State: layout.State{Kind: layout.StateSourceReader}}}, nil
	}
	groups := keygroup.RangeOf(128, 2, index)
	counts := layout.State{Kind: layout.StateManagedKeyed, Name: "counts", Serializer: "varint", SchemaVersion: 2}
	if index == 1 {
		return []layout.Handle{{File: 1, KeyGroups: &groups, State: counts}}, nil
	}
	shared, err := m.WriteFile(layout.File{
		Key: SharedFile(), Length: sharedSize, CRC32C: sum(contents(sharedSize)), InstanceNonce: "backend-1", LocalName: "000004.sst",
	})
	if err != nil {
		return nil, err
	}
	exclusive, err := m.WriteFile(layout.File{
		Key: ExclusiveFile(id), Length: exclusiveSize, CRC32C: sum(contents(exclusiveSize)), InstanceNonce: "backend-1", LocalName: "MANIFEST-000001",
	})
	return []layout.Handle{
		{File: shared, KeyGroups: &groups, State: counts},
		{File: exclusive, Segment: &layout.Segment{Offset: 100, Length: 50}, KeyGroups: &groups, State: layout.State{Kind: layout.StateManagedKeyed}},
	}, err
}
