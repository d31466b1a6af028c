package client

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/data"
)

// segment is a piece that is a part of a file.
func segment(name string, scope Scope, p []byte, offset, length uint64) Piece {
	q := piece(name, scope, p)
	q.Segment = &Segment{Offset: offset, Length: length}
	return q
}

// Segments of one file travel in one file, however small it is; each handle names its own part and its own state.
func TestSnapshotSendsTheFileOfSegmentsOnce(t *testing.T) {
	c := newCluster(t)
	_, job := c.client([]string{c.start(daemonOptions{}).url})
	c.known["instance/known"] = 17
	merged := []byte("input and output")
	states := []*State{
		{Kind: InputChannel, Channel: &Channel{Gate: 1, Channel: 2}},
		{Kind: List, Name: "buffer", Serializer: "json", SchemaVersion: 2, Offsets: &Offsets{Mode: ModeSplit, Positions: []uint64{0, 1}}},
		nil,
	}
	pieces := []Piece{
		segment("merged", Exclusive, merged, 0, 5), segment("merged", Exclusive, merged, 6, 3), segment("merged", Exclusive, merged, 16, 0),
		segment("merged", Shared, merged, 0, 5), segment("merged", Shared, merged, 10, 6), segment("other", Exclusive, merged, 0, 5),
		segment("known", Shared, merged, 3, 4),
	}
	for i, s := range states {
		pieces[i].State = s
	}
	s := snapshotOf(pieces...)
	s.Subtasks = append(s.Subtasks, SubtaskSnapshot{Subtask: Subtask{"map", 1}, Finished: true})
	if err := job.Snapshot(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	keys := map[string]int{}
	for i, h := range c.lastAck() {
		if d := cmp.Diff(toState(pieces[i].State), h.GetState(), protocmp.Transform()); d != "" {
			t.Errorf("piece %d: state -want +got:\n%s", i, d)
		}
		got := h.GetSegment()
		if f := h.GetUploaded(); f != nil {
			keys[f.GetKey()]++
			if !bytes.Equal(c.stored(f), merged) {
				t.Errorf("piece %d: %q is stored, want %q", i, c.stored(f), merged)
			}
			if got != nil {
				t.Errorf("piece %d: the handle of an uploaded file has segment %v beside it, want it within", i, got)
			}
			got = f.GetSegment()
		}
		if d := cmp.Diff(toSegment(pieces[i].Segment), got, protocmp.Transform()); d != "" {
			t.Errorf("piece %d: segment -want +got:\n%s", i, d)
		}
	}
	if h := c.lastAck()[6]; h.GetKnown() != 17 {
		t.Errorf("the segment of a known file is %v, want it known as 17", h)
	}
	if len(keys) != 3 || len(c.keys()) != 3 {
		t.Errorf("handles name files %v, stored are %v; want 3", keys, c.keys())
	}
	if subtasks := c.acks[0].GetSnapshots(); subtasks[0].GetFinished() || !subtasks[1].GetFinished() {
		t.Errorf("acknowledged %v, want the second subtask finished", subtasks)
	}
}

// A compressed file goes with its frame table, and is a file even where its bytes would fit inline.
func TestSnapshotOfACompressedFile(t *testing.T) {
	c := newCluster(t)
	_, job := c.client([]string{c.start(daemonOptions{}).url})
	var pieces []Piece
	for _, scope := range []Scope{Exclusive, Shared} {
		p := piece("f", scope, []byte("abc"))
		p.Compression = &Compression{Codec: "zstd", Stored: []uint32{1, 2}, Plain: []uint32{10, 20}}
		pieces = append(pieces, p)
	}
	pieces = append(pieces, Piece{Name: "bytes", Inline: []byte("abc"), Compression: pieces[0].Compression})
	if err := job.Snapshot(t.Context(), snapshotOf(pieces...)); err != nil {
		t.Fatal(err)
	}
	for i, h := range c.lastAck() {
		if d := cmp.Diff(toCompression(pieces[i].Compression), h.GetUploaded().GetCompression(), protocmp.Transform()); d != "" {
			t.Errorf("piece %d: %v: frame table -want +got:\n%s", i, h, d)
		}
	}
}

func TestSnapshotRefusesSegmentsBeyondTheirFile(t *testing.T) {
	c := newCluster(t)
	_, job := c.client([]string{c.start(daemonOptions{}).url})
	for _, p := range []Piece{segment("a", Exclusive, []byte("abc"), 4, 0), segment("a", Shared, []byte("abc"), 2, 2), segment("a", Shared, []byte("abc"), 1, 1<<64-1)} {
		if err := job.Snapshot(t.Context(), snapshotOf(p)); !errors.Is(err, ErrInvalid) {
			t.Errorf("segment %v of 3 bytes: %v, want ErrInvalid", p.Segment, err)
		}
	}
}

// A segment is fetched, opened and read as if it were a file.
func TestFetchSegments(t *testing.T) {
	c := newCluster(t)
	_, job := c.client([]string{c.start(daemonOptions{network: "unix"}).url})
	p := randomBytes(9, 2*data.BlockSize+1000)
	whole := uploaded(t, c, job, p)
	of := func(offset, length uint64) Handle {
		h := whole
		f := *h.File
		h.File = &f
		h.File.Segment = &Segment{Offset: offset, Length: length}
		return h
	}
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		edge := rapid.SampledFrom([]int{0, data.BlockSize, 2 * data.BlockSize, len(p)}).Draw(rt, "near")
		from := min(len(p), max(0, edge+rapid.IntRange(-3, 3).Draw(rt, "from")))
		n := min(len(p)-from, rapid.SampledFrom([]int{0, 1, 5, data.BlockSize, len(p)}).Draw(rt, "n"))
		h, want := of(uint64(from), uint64(n)), p[from:from+n]
		if h.Size() != int64(n) {
			rt.Fatalf("Size() = %d, want %d", h.Size(), n)
		}
		path := filepath.Join(dir, "f")
		if err := job.Fetch(t.Context(), h, path); err != nil {
			rt.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			rt.Fatalf("fetched %d bytes, %v; want the %d from %d", len(got), err, n, from)
		}
		os.Remove(path)
		off := rapid.IntRange(0, n).Draw(rt, "off")
		r, err := job.Open(t.Context(), h, int64(off), -1)
		if err != nil {
			rt.Fatal(err)
		}
		defer r.Close()
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want[off:]) {
			rt.Fatalf("read %d bytes from %d of the segment, %v; want %d", len(got), off, err, n-off)
		}
		if _, err := job.Open(t.Context(), h, int64(off), int64(n-off)+1); !errors.Is(err, ErrInvalid) {
			rt.Fatalf("beyond the segment: %v, want ErrInvalid", err)
		}
	})
	for _, bad := range []Handle{of(uint64(len(p))+1, 0), of(1, uint64(len(p)))} {
		if err := job.Fetch(t.Context(), bad, filepath.Join(dir, "f")); !errors.Is(err, ErrCorrupt) {
			t.Errorf("segment %v beyond the file: %v, want ErrCorrupt", bad.File.Segment, err)
		}
	}
}

// What a checkpoint says of a subtask and its pieces reaches the engine.
func TestAssignmentHasAllThatWasAcknowledged(t *testing.T) {
	c := newCluster(t)
	_, job := c.client([]string{c.start(daemonOptions{}).url})
	file := &ckptdv1.FileHandle{Key: "shared/x", Length: 9, JobId: "lender", Segment: &ckptdv1.Segment{Offset: 1, Length: 2},
		Compression: &ckptdv1.Compression{Codec: "zstd", Stored: []uint32{9}, Plain: []uint32{10}}}
	state := &State{Kind: Union, Name: "offsets", Serializer: "json", SchemaVersion: 3, Offsets: &Offsets{Mode: ModeUnion, Positions: []uint64{0}}}
	c.states = []*ckptdv1.SubtaskState{
		{Subtask: toSubtask(Subtask{"map", 0}), Finished: true},
		{Subtask: toSubtask(Subtask{"map", 1}), Handles: []*ckptdv1.StateHandle{{Location: &ckptdv1.StateHandle_File{File: file}, State: toState(state)}}},
	}
	got, err := job.Assignment(t.Context(), 1, []Subtask{{"map", 0}, {"map", 1}})
	if err != nil {
		t.Fatal(err)
	}
	if !got[0].Finished || got[1].Finished {
		t.Errorf("got %v, want the first subtask finished", got)
	}
	h := got[1].Handles[0]
	if d := cmp.Diff(fromFile(file), h.File); d != "" {
		t.Errorf("file -want +got:\n%s", d)
	}
	if d := cmp.Diff(state, h.State); d != "" {
		t.Errorf("state -want +got:\n%s", d)
	}
}
