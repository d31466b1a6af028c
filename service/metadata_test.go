package service_test

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/keygroup"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// piece is one piece of state as a _metadata describes it, with the description of its file.
type piece struct {
	name, instance string
	groups         *keygroup.Range
	inline         string
	file           layout.File
	segment        *layout.Segment
	state          layout.State
}

// managedKeyed is the default description of a piece with key groups.
var managedKeyed = layout.State{Kind: layout.StateManagedKeyed}

// contentsTable holds the records of a _metadata.
type contentsTable struct {
	header    layout.Header
	labels    map[string]string
	operators []layout.Operator
	subtasks  []string // in their order
	finished  []string
	pieces    map[string][]piece
	files     []layout.File
}

// tableOf parses a _metadata. It fills in names that a handle leaves to its file.
func tableOf(t testing.TB, metadata string) *contentsTable {
	t.Helper()
	r, err := layout.NewMetadataReader(strings.NewReader(metadata))
	if err != nil {
		t.Fatal(err)
	}
	c := &contentsTable{header: r.Header(), pieces: map[string][]piece{}}
	for {
		record, err := r.Next()
		if errors.Is(err, io.EOF) {
			return c
		}
		if err != nil {
			t.Fatal(err)
		}
		switch record := record.(type) {
		case *layout.Job:
			c.labels = record.Labels
		case *layout.Operator:
			c.operators = append(c.operators, *record)
		case *layout.File:
			c.files = append(c.files, *record)
		case *layout.Subtask:
			subtask := fmt.Sprintf("%s[%d]", record.OperatorID, record.Index)
			c.subtasks = append(c.subtasks, subtask)
			if record.Finished {
				c.finished = append(c.finished, subtask)
			}
			for _, h := range record.Handles {
				c.pieces[subtask] = append(c.pieces[subtask], c.piece(h))
			}
		}
	}
}

func (c *contentsTable) piece(h layout.Handle) piece {
	p := piece{
		name: h.Name, instance: h.InstanceNonce, groups: h.KeyGroups, inline: string(h.Inline), segment: h.Segment, state: h.State,
	}
	if h.File == 0 {
		return p
	}
	f := c.files[h.File-1]
	if p.name == "" && p.instance == "" {
		p.name, p.instance = f.LocalName, f.InstanceNonce
	}
	f.LocalName, f.InstanceNonce = "", "" // whoever named it first
	p.file = f
	return p
}

// fileOf returns the description of an uploaded file in a _metadata, without its local name.
func fileOf(h *ckptdv1.FileHandle) layout.File {
	return layout.File{Key: h.GetKey(), Length: h.GetLength(), CRC32C: h.GetCrc32C(), Blocks: h.GetBlockCrc32C()}
}

// wantPieces checks the pieces of each subtask.
func wantPieces(t testing.TB, got *contentsTable, want map[string][]piece) {
	t.Helper()
	if diff := cmp.Diff(want, got.pieces, cmp.AllowUnexported(piece{})); diff != "" {
		t.Errorf("the pieces are not those acknowledged (-want +got):\n%s", diff)
	}
}

// kinds and modes map those of a _metadata to the API's.
var (
	kinds = map[layout.StateKind]ckptdv1.StateKind{
		layout.StateOpaque: ckptdv1.StateKind_STATE_KIND_OPAQUE, layout.StateManagedKeyed: ckptdv1.StateKind_STATE_KIND_MANAGED_KEYED,
		layout.StateRawKeyed: ckptdv1.StateKind_STATE_KIND_RAW_KEYED, layout.StateList: ckptdv1.StateKind_STATE_KIND_LIST,
		layout.StateUnion: ckptdv1.StateKind_STATE_KIND_UNION, layout.StateBroadcast: ckptdv1.StateKind_STATE_KIND_BROADCAST,
		layout.StateInputChannel:       ckptdv1.StateKind_STATE_KIND_INPUT_CHANNEL,
		layout.StateResultSubpartition: ckptdv1.StateKind_STATE_KIND_RESULT_SUBPARTITION,
		layout.StateSourceReader:       ckptdv1.StateKind_STATE_KIND_SOURCE_READER,
		layout.StateSinkTransactions:   ckptdv1.StateKind_STATE_KIND_SINK_TRANSACTIONS,
	}
	modes = map[layout.Mode]ckptdv1.DistributionMode{
		layout.ModeSplit: ckptdv1.DistributionMode_DISTRIBUTION_MODE_SPLIT, layout.ModeUnion: ckptdv1.DistributionMode_DISTRIBUTION_MODE_UNION,
		layout.ModeBroadcast: ckptdv1.DistributionMode_DISTRIBUTION_MODE_BROADCAST,
	}
)

// stateOf converts the description of a piece to the API's form.
func stateOf(s layout.State) *ckptdv1.State {
	out := &ckptdv1.State{Kind: kinds[s.Kind], Name: s.Name, Serializer: s.Serializer, SchemaVersion: s.SchemaVersion}
	if o := s.Offsets; o != nil {
		out.Offsets = &ckptdv1.Offsets{Mode: modes[o.Mode], Positions: o.Positions}
	}
	if c := s.Channel; c != nil {
		out.Channel = &ckptdv1.Channel{Gate: c.Gate, Channel: c.Channel, Partition: c.Partition, Subpartition: c.Subpartition}
	}
	return out
}

func crcOf(s string) uint32 { return crc32.Checksum([]byte(s), crc32.MakeTable(crc32.Castagnoli)) }

// subtaskState is the state that a subtask acknowledges.
func subtaskState(operator string, index uint32, handles ...*ckptdv1.SnapshotHandle) *ckptdv1.SubtaskSnapshot {
	return &ckptdv1.SubtaskSnapshot{Subtask: &ckptdv1.Subtask{OperatorId: operator, Index: index}, Handles: handles}
}

// ackAll acknowledges a checkpoint with the snapshots, unchanged.
func (w *worker) ackAll(checkpoint uint64, snapshots ...*ckptdv1.SubtaskSnapshot) error {
	_, err := w.d.engineService().Acknowledge(w.t.Context(), &ckptdv1.AcknowledgeRequest{
		JobId: w.job, Epoch: w.epoch, Attempt: w.attempt, CheckpointId: checkpoint, Snapshots: snapshots,
	})
	return err
}

func (w *worker) mustAckAll(checkpoint uint64, snapshots ...*ckptdv1.SubtaskSnapshot) {
	w.t.Helper()
	if err := w.ackAll(checkpoint, snapshots...); err != nil {
		w.t.Fatal("acknowledge:", err)
	}
}

// grouped adds key groups to a handle.
func grouped(h *ckptdv1.SnapshotHandle, start, end uint32) *ckptdv1.SnapshotHandle {
	h.KeyGroups = &ckptdv1.KeyGroupRange{Start: start, End: end}
	return h
}

// threeSubtasks attaches a job of three subtasks with labels. One worker runs all subtasks.
func threeSubtasks(t testing.TB, d *daemon) *worker {
	t.Helper()
	plan := &ckptdv1.Plan{Operators: []*ckptdv1.Operator{
		{Id: "source", Uid: "uid of source", Parallelism: 2, MaxParallelism: 128, Triggered: true}, {Id: "sink", Parallelism: 1, MaxParallelism: 64},
	}}
	if _, err := d.engineService().AttachJob(t.Context(), &ckptdv1.AttachJobRequest{
		JobId: "j", Plan: plan, Config: defaultConfig(0), Labels: map[string]string{"name": "clicks", "team": "ä"},
	}); err != nil {
		t.Fatal("attach:", err)
	}
	w := d.register(t, "j", "w", 0, subtask("source"), &ckptdv1.Subtask{OperatorId: "source", Index: 1}, subtask("sink"))
	w.begin()
	return w
}

// The _metadata holds what was acknowledged, in the order of the plan, whatever the order of the acknowledgements.
// Workers restore the same.
func TestMetadataIsWhatWasAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := newRoot()
		d := startDaemon(t, root, inMemory)
		w := threeSubtasks(t, d)
		var a *ckptdv1.FileHandle
		one := w.open()
		a = w.put(shared, one, "abc")
		w.mustAckAll(one, subtaskState("source", 1, uploaded("i1", "a", a)), subtaskState("sink", 0), subtaskState("source", 0))
		expect[complete](w)

		id, triggered := w.open(), time.Now()
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		big := w.put(shared, id, strings.Repeat("big", 1<<19))
		stored := map[*ckptdv1.FileHandle]string{a: "abc", big: strings.Repeat("big", 1<<19)}
		put := func(scope ckptdv1.Scope, s string) *ckptdv1.FileHandle {
			f := w.put(scope, id, s)
			stored[f] = s
			return f
		}
		blocks := put(shared, strings.Repeat("b", layout.BlockSize)+"more")
		own, empty, sinks := put(exclusive, "own"), put(shared, ""), put(shared, "sink's")
		n, err := w.ask(id, "i1", "a", "abc")
		if n == 0 || err != nil {
			t.Fatalf("the file of checkpoint %d is known as %d, %v", one, n, err)
		}
		w.mustAckAll(id, subtaskState("sink", 0, uploaded("is", "s", sinks), uploaded("is", "s", sinks), inline("offsets", string(all))))
		time.Sleep(1500 * time.Millisecond)
		w.mustAckAll(id,
			subtaskState("source", 1, grouped(uploaded("i1", "big", big), 64, 127), known("", n), inline("", "")),
			subtaskState("source", 0, grouped(inline("timers", "\x00\xff"), 0, 63), uploaded("i0", "blocks", blocks)),
			// These are the other handles of the same subtask.
			subtaskState("source", 0, uploaded("i0", "own", own), uploaded("i0", "empty", empty), uploaded("i0", "big of another", big),
				uploaded("i0", "empty again", empty), uploaded("i9", "own", own), grouped(known("renamed", n), 5, 5)),
		)
		expect[complete](w)
		if got := len(blocks.GetBlockCrc32C()); got != 2 {
			t.Fatalf("a file of two blocks has %d block sums", got)
		}

		e := head(t, root, "j")
		entry, _ := e.Checkpoint(id)
		metadata := read(t, root.Store, layout.MetadataKey("j", id))
		got := tableOf(t, metadata)
		if diff := cmp.Diff(layout.Header{
			JobID: "j", Checkpoint: id, Epoch: w.epoch, Attempt: w.attempt, Nonce: entry.Nonce.String(), Kind: layout.KindCheckpoint,
			TriggeredAt: triggered.UTC(), CompletedAt: triggered.Add(1500 * time.Millisecond).UTC(),
		}, got.header); diff != "" {
			t.Errorf("header (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]layout.Operator{
			{ID: "source", UID: "uid of source", Parallelism: 2, MaxParallelism: 128, Triggered: true}, {ID: "sink", Parallelism: 1, MaxParallelism: 64},
		}, got.operators); diff != "" {
			t.Errorf("operators (-want +got):\n%s", diff)
		}
		if want := map[string]string{"name": "clicks", "team": "ä"}; !maps.Equal(got.labels, want) {
			t.Errorf("labels %v, want %v", got.labels, want)
		}
		if want := []string{"source[0]", "source[1]", "sink[0]"}; !slices.Equal(got.subtasks, want) {
			t.Errorf("subtasks %v, want %v", got.subtasks, want)
		}
		wantPieces(t, got, map[string][]piece{
			"source[0]": {
				{name: "timers", groups: &keygroup.Range{Start: 0, End: 63}, inline: "\x00\xff", state: managedKeyed},
				{name: "blocks", instance: "i0", file: fileOf(blocks)}, {name: "own", instance: "i0", file: fileOf(own)},
				{name: "empty", instance: "i0", file: fileOf(empty)}, {name: "big of another", instance: "i0", file: fileOf(big)},
				{name: "empty again", instance: "i0", file: fileOf(empty)}, {name: "own", instance: "i9", file: fileOf(own)},
				{name: "renamed", groups: &keygroup.Range{Start: 5, End: 5}, file: fileOf(a), state: managedKeyed},
			},
			"source[1]": {
				{name: "big", instance: "i1", groups: &keygroup.Range{Start: 64, End: 127}, file: fileOf(big), state: managedKeyed},
				{name: "a", instance: "i1", file: fileOf(a)}, {},
			},
			"sink[0]": {{name: "s", instance: "is", file: fileOf(sinks)}, {name: "s", instance: "is", file: fileOf(sinks)}, {name: "offsets", inline: string(all)}},
		})
		wantFiles(t, root.Store, got, stored)

		state := uint64(2 + 256)
		for _, s := range stored {
			state += uint64(len(s))
		}
		if entry.Size != uint64(len(metadata)) || entry.CRC != crcOf(metadata) || entry.DurationMillis != 1500 ||
			entry.CompletedAt != uint64(triggered.Add(1500*time.Millisecond).UnixMilli()) || entry.StateBytes != state || entry.NewBytes != state-3 {
			t.Errorf("the journal says %+v; want %d bytes with sum %08x, %d bytes of state, %d of them new, after 1500 ms",
				entry, len(metadata), crcOf(metadata), state, state-3)
		}
		wantRestored(t, d, w, got)
	})
}

// wantFiles checks that each file is in the table once, with the sums of its bytes, and lies under the name that
// PutState returned.
func wantFiles(t testing.TB, s storage.Store, got *contentsTable, want map[*ckptdv1.FileHandle]string) {
	t.Helper()
	seen := map[string]bool{}
	for _, f := range got.files {
		if seen[f.Key] {
			t.Errorf("%s is in the table twice, want it once", f.Key)
		}
		seen[f.Key] = true
	}
	if len(seen) != len(want) {
		t.Errorf("%d files, want %d", len(seen), len(want))
	}
	for h, text := range want {
		if h.GetLength() != uint64(len(text)) || h.GetCrc32C() != crcOf(text) {
			t.Errorf("PutState returned %s with %d bytes, sum %08x; want %d, %08x", h.GetKey(), h.GetLength(), h.GetCrc32C(), len(text), crcOf(text))
		}
		if stored := read(t, s, "j/"+h.GetKey()); stored != text {
			t.Errorf("%s holds %d bytes, want the %d bytes that were uploaded", h.GetKey(), len(stored), len(text))
		}
	}
}

// wantRestored begins a new attempt and checks that each subtask is assigned its state in the _metadata.
func wantRestored(t testing.TB, d *daemon, w *worker, c *contentsTable) {
	t.Helper()
	if _, err := d.engineService().NewAttempt(t.Context(), &ckptdv1.NewAttemptRequest{JobId: "j", Attempt: w.attempt}); err != nil {
		t.Fatal(err)
	}
	w.begin()
	for _, s := range w.subtasks {
		res, err := d.engineService().Assignment(t.Context(), &ckptdv1.AssignmentRequest{JobId: "j", Attempt: w.attempt, Subtasks: []*ckptdv1.Subtask{s}})
		if err != nil {
			t.Fatal(err)
		}
		var want []*ckptdv1.StateHandle
		for _, p := range c.pieces[fmt.Sprintf("%s[%d]", s.GetOperatorId(), s.GetIndex())] {
			h := &ckptdv1.StateHandle{Name: p.name, InstanceNonce: p.instance, Scope: exclusive, State: stateOf(p.state)}
			if p.groups != nil {
				h.KeyGroups = &ckptdv1.KeyGroupRange{Start: uint32(p.groups.Start), End: uint32(p.groups.End)}
			}
			h.Location = &ckptdv1.StateHandle_Inline{Inline: []byte(p.inline)}
			if f := p.file; f.Key != "" {
				handle := &ckptdv1.FileHandle{Key: f.Key, Length: f.Length, Crc32C: f.CRC32C, BlockCrc32C: f.Blocks, JobId: f.Job}
				if c := f.Compression; c != nil {
					handle.Compression = &ckptdv1.Compression{Codec: c.Codec, Stored: c.Stored, Plain: c.Plain}
				}
				if s := p.segment; s != nil {
					handle.Segment = &ckptdv1.Segment{Offset: s.Offset, Length: s.Length}
				}
				h.Location = &ckptdv1.StateHandle_File{File: handle}
				if strings.HasPrefix(f.Key, "shared/") {
					h.Scope = shared
				}
			}
			want = append(want, h)
		}
		states := res.GetStates()
		if len(states) != 1 || !proto.Equal(states[0].GetSubtask(), s) {
			t.Fatalf("subtask %v is assigned the state of %v", s, states)
		}
		if want := slices.Contains(c.finished, fmt.Sprintf("%s[%d]", s.GetOperatorId(), s.GetIndex())); states[0].GetFinished() != want {
			t.Errorf("subtask %v is told that it had finished: %v, want %v", s, states[0].GetFinished(), want)
		}
		if diff := cmp.Diff(want, states[0].GetHandles(), protocmp.Transform()); diff != "" {
			t.Errorf("subtask %v restores other pieces (-want +got):\n%s", s, diff)
		}
	}
}

// A new owner knows a file as its predecessor did. A checkpoint that reuses the file describes it in the same way.
func TestATakeOverKeepsWhatIsSaidOfAFile(t *testing.T) {
	for name, text := range map[string]string{
		"of two blocks":        strings.Repeat("b", layout.BlockSize) + "more",
		"of one block":         strings.Repeat("o", layout.BlockSize),
		"of less than a block": "abc",
		"without a byte":       "",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				root := newRoot()
				a := startDaemon(t, root, inMemory)
				w := oneWorker(t, a, "j", nil)
				var f *ckptdv1.FileHandle
				w.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
					f = w.put(shared, id, text)
					return []*ckptdv1.SnapshotHandle{uploaded("i", "a", f)}
				})
				a.kill()
				b := startDaemon(t, root, inMemory)
				b.attach(t, "j", onePlan(), nil)
				fresh := b.register(t, "j", "fresh", 0, w.subtasks...)
				fresh.begin()
				id := fresh.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
					res, err := b.engineService().BeginSnapshot(t.Context(), &ckptdv1.BeginSnapshotRequest{
						JobId: "j", Epoch: fresh.epoch, Attempt: fresh.attempt, CheckpointId: id, Subtasks: fresh.subtasks,
						Files: []*ckptdv1.LocalFile{{InstanceNonce: "i", Name: "a", Size: f.GetLength()}},
					})
					if err != nil || res.GetKnown()[0] == 0 {
						t.Fatalf("the new owner answers %v, %v; want that it knows the file", res, err)
					}
					return []*ckptdv1.SnapshotHandle{known("", res.GetKnown()[0])}
				})
				wantPieces(t, tableOf(t, read(t, root.Store, layout.MetadataKey("j", id))),
					map[string][]piece{"count[0]": {{name: "a", instance: "i", file: fileOf(f)}}})
			})
		})
	}
}

// heldMetadata delays the first write of a _metadata until go is closed, and signals its beginning.
type heldMetadata struct {
	storage.Store
	begun, goOn chan struct{}
}

func (s *heldMetadata) Create(ctx context.Context, key string, opts storage.CreateOptions) (storage.Writer, error) {
	if strings.HasSuffix(key, layout.MetadataName) {
		close(s.begun)
		<-s.goOn
	}
	return s.Store.Create(ctx, key, opts)
}

// Only the pieces that were accepted first count, whatever a repeated or refused acknowledgement names.
func TestOnlyThePiecesAcceptedFirstCount(t *testing.T) {
	source := func(h ...*ckptdv1.SnapshotHandle) *ckptdv1.SubtaskSnapshot { return subtaskState("source", 0, h...) }
	sink := func(h ...*ckptdv1.SnapshotHandle) *ckptdv1.SubtaskSnapshot { return subtaskState("sink", 0, h...) }
	refusal := func(t *testing.T, err error) {
		t.Helper()
		wantRefused(t, err, ckptdv1.Refused_REASON_UNKNOWN_HANDLE)
	}
	big := strings.Repeat("x", 600<<10)
	type story struct {
		t    *testing.T
		w    *worker
		id   uint64
		a, b *ckptdv1.SnapshotHandle // files; a is what counts for the source
		held *heldMetadata
	}
	inA := func(s *story) piece { return piece{name: "a", instance: "i", file: fileOf(s.a.GetUploaded())} }
	cases := map[string]func(s *story) (source, sink []piece){
		"another upload": func(s *story) (_, _ []piece) {
			s.w.mustAckAll(s.id, source(s.a))
			s.w.mustAckAll(s.id, source(s.b))
			s.w.mustAckAll(s.id, sink())
			return []piece{inA(s)}, nil
		},
		"more uploads": func(s *story) (_, _ []piece) {
			s.w.mustAckAll(s.id, source(s.a))
			s.w.mustAckAll(s.id, source(s.b, s.a))
			s.w.mustAckAll(s.id, sink(s.b))
			return []piece{inA(s)}, []piece{{name: "b", instance: "i", file: fileOf(s.b.GetUploaded())}}
		},
		"nothing": func(s *story) (_, _ []piece) {
			s.w.mustAckAll(s.id, source(s.a))
			s.w.mustAckAll(s.id, source())
			s.w.mustAckAll(s.id, sink())
			return []piece{inA(s)}, nil
		},
		"other inline state": func(s *story) (_, _ []piece) {
			s.w.mustAckAll(s.id, source(inline("n", "first")))
			s.w.mustAckAll(s.id, source(inline("n", "second")))
			s.w.mustAckAll(s.id, sink(s.a))
			return []piece{{name: "n", inline: "first"}}, []piece{inA(s)}
		},
		"state after none": func(s *story) (_, _ []piece) {
			s.w.mustAckAll(s.id, sink())
			s.w.mustAckAll(s.id, sink(s.b))
			s.w.mustAckAll(s.id, source(s.a))
			return []piece{inA(s)}, nil
		},
		"one subtask again beside a new one": func(s *story) (_, _ []piece) {
			s.w.mustAckAll(s.id, source(s.a))
			refusal(s.t, s.w.ackAll(s.id, source(s.a), sink(s.b)))
			refusal(s.t, s.w.ackAll(s.id, sink(s.b), source(s.b)))
			s.w.mustAckAll(s.id, sink(inline("n", "sink's")))
			return []piece{inA(s)}, []piece{{name: "n", inline: "sink's"}}
		},
		"both again after both": func(s *story) (_, _ []piece) {
			s.w.mustAckAll(s.id, sink(inline("n", "sink's")), source(s.a))
			s.w.mustAckAll(s.id, sink(s.b), source(s.b))
			return []piece{inA(s)}, []piece{{name: "n", inline: "sink's"}}
		},
		"what was refused": func(s *story) (_, _ []piece) {
			refusal(s.t, s.w.ackAll(s.id, source(s.b, known("", 4711))))
			refusal(s.t, s.w.ackAll(s.id, source(s.b), sink(known("", 4711))))
			s.w.mustAckAll(s.id, source(s.a))
			s.w.mustAckAll(s.id, sink())
			return []piece{inA(s)}, nil
		},
		"another upload while the _metadata is written": func(s *story) (_, _ []piece) {
			s.w.mustAckAll(s.id, source(s.a), sink())
			<-s.held.begun
			s.w.mustAckAll(s.id, source(s.b))
			s.w.mustAckAll(s.id, sink(s.b))
			return []piece{inA(s)}, nil
		},
		"inline state that would not fit twice": func(s *story) (_, _ []piece) {
			s.w.mustAckAll(s.id, source(inline("n", big)))
			s.w.mustAckAll(s.id, source(inline("n", big)))
			s.w.mustAckAll(s.id, source(inline("n", big)))
			s.w.mustAckAll(s.id, sink(inline("n", big[:400<<10]), s.a))
			return []piece{{name: "n", inline: big}}, []piece{{name: "n", inline: big[:400<<10]}, inA(s)}
		},
	}
	for name, play := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				root := newRoot()
				held := &heldMetadata{Store: root.Store, begun: make(chan struct{}), goOn: make(chan struct{})}
				way := root
				way.Store = held
				d := startDaemon(t, way, inMemory)
				d.attach(t, "j", twoPlan(), nil)
				w := d.register(t, "j", "w", 0, subtask("source"), subtask("sink"))
				w.begin()
				id := w.open()
				s := &story{t: t, w: w, id: id, held: held, a: uploaded("i", "a", w.put(shared, id, "abc")), b: uploaded("i", "b", w.put(exclusive, id, "abc"))}
				ofSource, ofSink := play(s)
				close(held.goOn)
				expect[complete](w)
				want := map[string][]piece{}
				for subtask, p := range map[string][]piece{"source[0]": ofSource, "sink[0]": ofSink} {
					if p != nil {
						want[subtask] = p
					}
				}
				wantPieces(t, tableOf(t, read(t, root.Store, layout.MetadataKey("j", id))), want)
				d.cancel(t, "j")
				w.ended()
				d.waitReleased(t)
				atRest(t, root, "j")
			})
		})
	}
}

// An upload is stored under the name that PutState returned. The name contains the epoch, checkpoint and scope. No
// other upload has the same name.
func TestUploadsAreStoredUnderNamesOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := newRoot()
		d := startDaemon(t, root, inMemory)
		w := oneWorker(t, d, "j", nil)
		id := w.open()
		names := map[string]string{}
		for i := range 50 {
			for scope, place := range map[ckptdv1.Scope]layout.Place{shared: layout.PlaceShared, exclusive: layout.PlaceExclusive} {
				text := fmt.Sprint(scope, i)
				f := w.put(scope, id, text)
				k := layout.ParseJobKey(f.GetKey())
				if k.Place != place || k.File.Epoch != w.epoch || k.File.Checkpoint != id || place == layout.PlaceExclusive && k.Checkpoint != id {
					t.Errorf("%s is not the name of a file of checkpoint %d, epoch %d, %v", f.GetKey(), id, w.epoch, scope)
				}
				key := "j/" + f.GetKey()
				if was, taken := names[key]; taken {
					t.Fatalf("%s is the name of %q and of %q", key, was, text)
				}
				names[key] = text
			}
		}
		stored := contents(t, root.Store, layout.SharedPrefix("j"))
		maps.Copy(stored, contents(t, root.Store, layout.CheckpointPrefix("j", id)))
		if !maps.Equal(stored, names) {
			t.Errorf("%d files are stored, want the %d uploaded under their names", len(stored), len(names))
		}
	})
}
