package service_test

import (
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/keygroup"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// described adds the description of its state to a handle.
func described(h *ckptdv1.SnapshotHandle, s layout.State) *ckptdv1.SnapshotHandle {
	h.State = stateOf(s)
	return h
}

// segmentOf returns the handle of a segment of a file.
func segmentOf(f *ckptdv1.FileHandle, offset, length uint64) *ckptdv1.FileHandle {
	f = proto.CloneOf(f)
	f.Segment = &ckptdv1.Segment{Offset: offset, Length: length}
	return f
}

// allStates returns a state of each kind, with all its fields set, for pieces of at least 20 bytes.
func allStates() []layout.State {
	offsets := func(m layout.Mode) *layout.Offsets { return &layout.Offsets{Mode: m, Positions: []uint64{0, 7, 7, 20}} }
	return []layout.State{
		{Kind: layout.StateOpaque, Name: "only the operator knows", Serializer: "bytes", SchemaVersion: math.MaxUint32},
		{Kind: layout.StateManagedKeyed, Name: "count", Serializer: "varint", SchemaVersion: 3},
		{Kind: layout.StateRawKeyed, Name: "timers"},
		{Kind: layout.StateList, Name: "buffer", Serializer: "json", Offsets: offsets(layout.ModeSplit)},
		{Kind: layout.StateUnion, Offsets: offsets(layout.ModeUnion)},
		{Kind: layout.StateBroadcast, Offsets: &layout.Offsets{Mode: layout.ModeBroadcast}},
		{Kind: layout.StateInputChannel, Channel: &layout.Channel{Gate: 1, Channel: 2}, Offsets: offsets(layout.ModeNone)},
		{Kind: layout.StateResultSubpartition, Channel: &layout.Channel{Partition: 3, Subpartition: 4}},
		{Kind: layout.StateSourceReader, Name: "splits", Offsets: offsets(layout.ModeSplit)},
		{Kind: layout.StateSinkTransactions, Name: "pending", Offsets: offsets(layout.ModeUnion)},
	}
}

// The _metadata holds everything that an acknowledgement can describe, and the subtasks restore it.
func TestMetadataHasAllThatCanBeAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := newRoot()
		d := startDaemon(t, root, inMemory)
		w := threeSubtasks(t, d)
		id := w.open()
		text := strings.Repeat("merged file.", 50)
		merged, packed := w.put(exclusive, id, text), w.put(shared, id, "abc")
		packed.Compression = &ckptdv1.Compression{Codec: "zstd", Stored: []uint32{1, 2}, Plain: []uint32{0, math.MaxUint32}}
		packed.JobId = "j" // its own name says no more
		packedFile := fileOf(packed)
		packedFile.Compression = &layout.Compression{Codec: "zstd", Stored: []uint32{1, 2}, Plain: []uint32{0, math.MaxUint32}}
		groups := &keygroup.Range{Start: 3, End: 90}
		var segments, inlines []*ckptdv1.SnapshotHandle
		var wantSegments, wantInlines []piece
		for i, s := range allStates() {
			at := layout.Segment{Offset: uint64(50 * i), Length: 30}
			part, small := described(uploaded("i", "merged", segmentOf(merged, at.Offset, at.Length)), s), described(inline("small", text[:20]), s)
			wantPart, wantSmall := piece{name: "merged", instance: "i", file: fileOf(merged), segment: &at, state: s}, piece{name: "small", inline: text[:20], state: s}
			if s.Kind.Keyed() {
				part, small = grouped(part, 3, 90), grouped(small, 3, 90)
				wantPart.groups, wantSmall.groups = groups, groups
			}
			segments, inlines = append(segments, part), append(inlines, small)
			wantSegments, wantInlines = append(wantSegments, wantPart), append(wantInlines, wantSmall)
		}
		nothing := described(uploaded("p", "packed", segmentOf(packed, 3, 0)), layout.State{})
		w.mustAckAll(id, subtaskState("source", 0, append(segments, uploaded("p", "packed", packed), nothing)...), subtaskState("source", 1, inlines...))
		w.mustAckAll(id, &ckptdv1.SubtaskSnapshot{Subtask: subtask("sink"), Finished: true})
		expect[complete](w)

		got := tableOf(t, read(t, root.Store, layout.MetadataKey("j", id)))
		wantPieces(t, got, map[string][]piece{
			"source[0]": append(wantSegments, piece{name: "packed", instance: "p", file: packedFile},
				piece{name: "packed", instance: "p", file: packedFile, segment: &layout.Segment{Offset: 3}}),
			"source[1]": wantInlines,
		})
		if want := []string{"sink[0]"}; !slices.Equal(got.finished, want) {
			t.Errorf("finished are %v, want %v", got.finished, want)
		}
		wantRestored(t, d, w, got)
	})
}

// A known file keeps its frame table in the checkpoints of this owner and of the next one. A handle can name a segment
// of it.
func TestKnownFilesKeepTheirFrames(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", nil)
	var f *ckptdv1.FileHandle
	w.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
		f = w.put(shared, id, "abc")
		f.Compression = &ckptdv1.Compression{Codec: "lz4", Stored: []uint32{3}, Plain: []uint32{100}}
		return []*ckptdv1.SnapshotHandle{uploaded("i", "a", f)}
	})
	want := fileOf(f)
	want.Compression = &layout.Compression{Codec: "lz4", Stored: []uint32{3}, Plain: []uint32{100}}
	again := func(w *worker) {
		t.Helper()
		id := w.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
			n, err := w.ask(id, "i", "a", "abc")
			if n == 0 || err != nil {
				t.Fatalf("shared file known as %d: %v; want it known", n, err)
			}
			part := described(known("", n), layout.State{Kind: layout.StateList, Name: "buffer"})
			part.Segment = &ckptdv1.Segment{Offset: 1, Length: 2}
			return []*ckptdv1.SnapshotHandle{part, known("", n)}
		})
		wantPieces(t, tableOf(t, read(t, root.Store, layout.MetadataKey("j", id))), map[string][]piece{"count[0]": {
			{name: "a", instance: "i", file: want, segment: &layout.Segment{Offset: 1, Length: 2}, state: layout.State{Kind: layout.StateList, Name: "buffer"}},
			{name: "a", instance: "i", file: want},
		}})
	}
	again(w)
	d.kill()
	d = startDaemon(t, root, "")
	d.attach(t, "j", onePlan(), nil)
	w2 := d.register(t, "j", w.nonce, w.attempt, w.subtasks...)
	w2.report(ckptdv1.ReportRequest_KIND_RUNNING, nil)
	again(w2)
}

// State that cannot be written to a _metadata is refused when it is acknowledged. The checkpoint stays open.
func TestAcknowledgeRefusesWhatAMetadataCannotHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := newRoot()
		d := startDaemon(t, root, inMemory)
		w := oneWorker(t, d, "j", nil)
		id := w.open()
		f := w.put(shared, id, "abc")
		changed := func(change func(f *ckptdv1.FileHandle)) *ckptdv1.SnapshotHandle {
			g := proto.CloneOf(f)
			change(g)
			return uploaded("i", "a", g)
		}
		small := func(s *ckptdv1.State) *ckptdv1.SnapshotHandle {
			h := inline("n", "abc")
			h.State = s
			return h
		}
		count := &ckptdv1.Subtask{OperatorId: "count"}
		one := func(h *ckptdv1.SnapshotHandle) []*ckptdv1.SubtaskSnapshot {
			return []*ckptdv1.SubtaskSnapshot{{Subtask: count, Handles: []*ckptdv1.SnapshotHandle{h}}}
		}
		inlineSegment := inline("n", "abc")
		inlineSegment.Segment = &ckptdv1.Segment{Length: 1}
		uploadSegment := uploaded("i", "a", f)
		uploadSegment.Segment = &ckptdv1.Segment{Length: 1}
		for what, c := range map[string]struct {
			snapshots []*ckptdv1.SubtaskSnapshot
			words     string
		}{
			"a name that is too long":      {one(inline(strings.Repeat("x", 4097), "")), "name of 4097 bytes"},
			"key groups above the plan's":  {one(grouped(inline("n", ""), 0, 128)), "key groups"},
			"keyed state without groups":   {one(small(&ckptdv1.State{Kind: ckptdv1.StateKind_STATE_KIND_MANAGED_KEYED})), "without key groups"},
			"opaque state with groups":     {one(grouped(small(&ckptdv1.State{Kind: ckptdv1.StateKind_STATE_KIND_OPAQUE}), 0, 1)), "with key groups"},
			"a kind of tomorrow":           {one(small(&ckptdv1.State{Kind: 11})), "kind"},
			"a kind below all":             {one(small(&ckptdv1.State{Kind: -1})), "kind"},
			"offsets beyond the piece":     {one(small(&ckptdv1.State{Kind: ckptdv1.StateKind_STATE_KIND_LIST, Offsets: &ckptdv1.Offsets{Mode: 1, Positions: []uint64{4}}})), "offset"},
			"offsets of another mode":      {one(small(&ckptdv1.State{Kind: ckptdv1.StateKind_STATE_KIND_LIST, Offsets: &ckptdv1.Offsets{Mode: 2}})), "mode union"},
			"channel state of no channel":  {one(small(&ckptdv1.State{Kind: ckptdv1.StateKind_STATE_KIND_INPUT_CHANNEL})), "channel"},
			"a segment beyond the file":    {one(changed(func(f *ckptdv1.FileHandle) { f.Segment = &ckptdv1.Segment{Offset: 2, Length: 2} })), "segment"},
			"a segment of inline state":    {one(inlineSegment), "segment"},
			"a segment beside an upload's": {one(uploadSegment), "segment"},
			"frames of another length": {one(changed(func(f *ckptdv1.FileHandle) {
				f.Compression = &ckptdv1.Compression{Codec: "zstd", Stored: []uint32{2}, Plain: []uint32{2}}
			})), "frames of 2"},
			"frames of no codec": {one(changed(func(f *ckptdv1.FileHandle) {
				f.Compression = &ckptdv1.Compression{Stored: []uint32{3}, Plain: []uint32{2}}
			})), "codec"},
			"block sums of a small file": {one(changed(func(f *ckptdv1.FileHandle) { f.BlockCrc32C = []uint32{1} })), "block sums"},
			"finished with state":        {[]*ckptdv1.SubtaskSnapshot{{Subtask: count, Finished: true, Handles: []*ckptdv1.SnapshotHandle{inline("n", "")}}}, "finished"},
			"finished and not":           {[]*ckptdv1.SubtaskSnapshot{{Subtask: count, Finished: true}, {Subtask: count}}, "finished"},
			"not finished and finished":  {[]*ckptdv1.SubtaskSnapshot{{Subtask: count}, {Subtask: count, Finished: true}}, "finished"},
		} {
			err := w.ackAll(id, c.snapshots...)
			if connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), c.words) {
				t.Errorf("%s: %v, want an error that says %q", what, err, c.words)
			}
		}
		wantRefused(t, w.ack(id, changed(func(f *ckptdv1.FileHandle) { f.JobId = "lender" })), ckptdv1.Refused_REASON_UNKNOWN_HANDLE)
		w.mustAck(id, uploaded("i", "a", f))
		expect[complete](w)
	})
}

// The assignment of a file that another job lends names that job.
func TestLentFilesAreAssignedWithTheirJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := newRoot()
		d := startDaemon(t, root, inMemory)
		w := oneWorker(t, d, "j", nil)
		id := w.open()
		w.mustAck(id)
		expect[complete](w)
		key := layout.MetadataKey("j", id)
		header := tableOf(t, read(t, root.Store, key)).header
		root.Store.Delete(t.Context(), []string{key})
		lent := layout.File{Job: "lender", Length: 3, CRC32C: 7, InstanceNonce: "i", LocalName: "a"}
		lent.Key = "chk-99/" + layout.FileName{Epoch: 77, Checkpoint: 99, Nonce: layout.NewNonce(), Sequence: 1}.String()
		storeMetadata(t, root.Store, key, header, lent)
		wantRestored(t, d, w, tableOf(t, read(t, root.Store, key)))
	})
}

// storeMetadata stores a _metadata of operator "count" with a file that its only subtask uses.
func storeMetadata(t testing.TB, s storage.Store, key string, h layout.Header, f layout.File) {
	t.Helper()
	var b strings.Builder
	m := layout.NewMetadataWriter(io.Writer(&b), h)
	_ = m.WriteJob(layout.Job{})
	op := onePlan().GetOperators()[0]
	_ = m.WriteOperator(layout.Operator{ID: op.GetId(), Parallelism: int(op.GetParallelism()), MaxParallelism: int(op.GetMaxParallelism())})
	ref, _ := m.WriteFile(f)
	_ = m.WriteSubtask(layout.Subtask{OperatorID: op.GetId(), Handles: []layout.Handle{{File: ref}}})
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Publish(t.Context(), key, []byte(b.String())); err != nil {
		t.Fatal(err)
	}
}
