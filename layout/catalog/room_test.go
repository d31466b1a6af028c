package catalog_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/keygroup"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

var fileName = layout.FileName{Epoch: 7, Checkpoint: 7, Nonce: "aaaaaaaaaaaaaaaaaaaaaaaaa4", Sequence: 1}.String()

// store writes a _metadata of two subtasks: the first has the handles, the second has finished.
func store(t *testing.T, s *mem.Store, h layout.Header, files []layout.File, handles ...layout.Handle) {
	t.Helper()
	var b bytes.Buffer
	m := layout.NewMetadataWriter(&b, h)
	_ = m.WriteJob(layout.Job{})
	_ = m.WriteOperator(layout.Operator{ID: "a", Parallelism: 2, MaxParallelism: 8})
	for _, f := range files {
		_, _ = m.WriteFile(f)
	}
	_ = m.WriteSubtask(layout.Subtask{OperatorID: "a", Handles: handles})
	_ = m.WriteSubtask(layout.Subtask{OperatorID: "a", Index: 1, Finished: true})
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	put(t, s, layout.MetadataKey(h.JobID, h.Checkpoint), b.Bytes())
}

// Lent files are looked for in the folder of their job, files beside a savepoint in the folder of its _metadata.
func TestFilesOfOtherFolders(t *testing.T) {
	s := mem.New()
	c := catalog.New(s)
	store(t, s, layout.Header{JobID: "j", Checkpoint: 3, Epoch: 1, Nonce: "n", Kind: layout.KindSavepoint}, []layout.File{
		{Key: "shared/" + fileName, Job: "lender", Length: 3, Compression: &layout.Compression{Codec: "zstd", Stored: []uint32{3}, Plain: []uint32{9}}},
		{Key: "chk-7/" + fileName, Job: "lender", Length: 3},
		{Key: fileName, Length: 3},
	})
	there := func(want ...ckptdv1.FilePresence) {
		t.Helper()
		show, err := c.Files(t.Context(), "j", 3)
		if err != nil {
			t.Fatal(err)
		}
		var got []ckptdv1.FilePresence
		for _, f := range show.GetFiles() {
			got = append(got, f.GetPresence())
		}
		if !slices.Equal(got, want) {
			t.Errorf("files are %v, want %v", got, want)
		}
		if f := show.GetFiles()[0].GetFile(); f.GetJobId() != "lender" || f.GetCompression().GetPlain()[0] != 9 {
			t.Errorf("file %v, want it lent and compressed", f)
		}
		if n := show.GetOperators()[0].GetFinished(); n != 1 {
			t.Errorf("%d subtasks have finished, want 1", n)
		}
	}
	missing, present := ckptdv1.FilePresence_FILE_PRESENCE_MISSING, ckptdv1.FilePresence_FILE_PRESENCE_PRESENT
	for _, elsewhere := range []string{"j/shared/", "j/chk-7/", "lender/chk-3/", "lender/"} {
		put(t, s, elsewhere+fileName, []byte("abc"))
	}
	there(missing, missing, missing)
	put(t, s, "lender/shared/"+fileName, []byte("abc"))
	there(present, missing, missing)
	put(t, s, "lender/chk-7/"+fileName, []byte("abc"))
	there(present, present, missing)
	put(t, s, "j/chk-3/"+fileName, []byte("abc"))
	there(present, present, present)
}

// Pieces of the same state are summed up; what differs in kind, name, serializer or schema is another state.
func TestShowSumsUpStates(t *testing.T) {
	s := mem.New()
	groups := &keygroup.Range{Start: 0, End: 7}
	state := func(kind layout.StateKind, name, serializer string, schema uint32) layout.State {
		return layout.State{Kind: kind, Name: name, Serializer: serializer, SchemaVersion: schema}
	}
	of := func(s layout.State, bytes int) layout.Handle {
		h := layout.Handle{Inline: make([]byte, bytes), State: s}
		if s.Kind.Keyed() {
			h.KeyGroups = groups
		}
		return h
	}
	part := layout.Handle{File: 1, Segment: &layout.Segment{Offset: 10, Length: 20}, State: state(layout.StateList, "x", "json", 1)}
	part.State.Offsets = &layout.Offsets{Mode: layout.ModeSplit, Positions: []uint64{0}}
	handles := []layout.Handle{
		of(state(layout.StateList, "x", "json", 1), 1), of(state(layout.StateUnion, "x", "json", 1), 2), of(state(layout.StateList, "y", "json", 1), 4),
		of(state(layout.StateList, "x", "cbor", 1), 8), of(state(layout.StateList, "x", "json", 2), 16), of(state(layout.StateRawKeyed, "x", "json", 1), 32),
		part, of(state(layout.StateList, "x", "json", 1), 64),
	}
	for range 20 {
		handles = append(handles, layout.Handle{File: 1, State: state(layout.StateOpaque, "", "", 0)})
	}
	store(t, s, layout.Header{JobID: "j", Checkpoint: 8, Epoch: 8, Nonce: "n"}, []layout.File{{Key: "shared/" + fileName, Length: 100}}, handles...)
	show, err := catalog.New(s).Show(t.Context(), "j", 8)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, sum := range show.GetOperators()[0].GetStates() {
		st := sum.GetState()
		got = append(got, fmt.Sprint(st.GetKind(), " ", st.GetName(), " ", st.GetSerializer(), " ", st.GetSchemaVersion(), ": ", sum.GetPieces(), " of ", sum.GetBytes()))
	}
	want := []string{
		"STATE_KIND_LIST x json 1: 3 of 85", "STATE_KIND_UNION x json 1: 1 of 2", "STATE_KIND_LIST y json 1: 1 of 4", "STATE_KIND_LIST x cbor 1: 1 of 8",
		"STATE_KIND_LIST x json 2: 1 of 16", "STATE_KIND_RAW_KEYED x json 1: 1 of 32", "STATE_KIND_OPAQUE   0: 20 of 2000",
	}
	if !slices.Equal(got, want) {
		t.Errorf("states\n%q, want\n%q", got, want)
	}
	f := show.GetFiles()[0]
	if len(f.GetPieces()) != 16 || f.GetReferences() != 21 {
		t.Errorf("%d pieces of %d references are named, want the first 16 of 21", len(f.GetPieces()), f.GetReferences())
	}
	diff(t, &ckptdv1.PieceSummary{
		Subtask: &ckptdv1.Subtask{OperatorId: "a"}, Segment: &ckptdv1.Segment{Offset: 10, Length: 20},
		State: &ckptdv1.State{Kind: ckptdv1.StateKind_STATE_KIND_LIST, Name: "x", Serializer: "json", SchemaVersion: 1},
	}, f.GetPieces()[0])
}
