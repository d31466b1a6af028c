package main

import (
	"bytes"
	"testing"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// files names the job that lends a file, and each use of a file once.
func TestFilesText(t *testing.T) {
	of := func(kind ckptdv1.StateKind, name string, s *ckptdv1.Segment) *ckptdv1.PieceSummary {
		return &ckptdv1.PieceSummary{State: &ckptdv1.State{Kind: kind, Name: name}, Segment: s}
	}
	list, keyed := ckptdv1.StateKind_STATE_KIND_LIST, ckptdv1.StateKind_STATE_KIND_MANAGED_KEYED
	at := func(offset, length uint64) *ckptdv1.Segment { return &ckptdv1.Segment{Offset: offset, Length: length} }
	for want, f := range map[string]*ckptdv1.FileSummary{
		"":                                  {},
		"list buffer [5:25], managed keyed": {Pieces: []*ckptdv1.PieceSummary{of(list, "buffer", at(5, 20)), of(keyed, "", nil), of(keyed, "", nil)}},
		"list [3:3]":                        {Pieces: []*ckptdv1.PieceSummary{of(list, "", at(3, 0))}, References: 1},
		"list a, list b, list c, list d, …": {Pieces: []*ckptdv1.PieceSummary{of(list, "a", nil), of(list, "b", nil), of(list, "c", nil), of(list, "d", nil), of(list, "e", nil)}},
	} {
		if got := holdsText(f); got != want {
			t.Errorf("%v holds %q, want %q", f, got, want)
		}
	}
	var b bytes.Buffer
	lent := &ckptdv1.FileSummary{File: &ckptdv1.FileHandle{Key: "shared/x", JobId: "lender"}}
	if err := printFiles(&b, []*ckptdv1.FileSummary{lent}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"job lender: shared/x", "not looked for"} {
		if !bytes.Contains(b.Bytes(), []byte(want)) {
			t.Errorf("%s\nwant %q in it", &b, want)
		}
	}
	if err := judgeFiles([]*ckptdv1.FileSummary{lent}); err != nil {
		t.Errorf("a file that was not looked for: %v, want no verdict", err)
	}
}

// A savepoint's folder is whole in itself, wherever it lies. Other jobs' folders are not looked into from there.
func TestFilesOfALooseSavepoint(t *testing.T) {
	s := mem.New()
	var b bytes.Buffer
	m := layout.NewMetadataWriter(&b, layout.Header{JobID: "j", Checkpoint: 3, Epoch: 1, Nonce: "n", Kind: layout.KindSavepoint})
	_ = m.WriteJob(layout.Job{})
	_ = m.WriteOperator(layout.Operator{ID: "a", Parallelism: 1, MaxParallelism: 1})
	_, _ = m.WriteFile(layout.File{Key: "beside", Length: 3})
	_, _ = m.WriteFile(layout.File{Key: "shared/" + layout.FileName{Nonce: layout.NewNonce()}.String(), Job: "lender"})
	_ = m.WriteSubtask(layout.Subtask{OperatorID: "a"})
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	for key, data := range map[string][]byte{"savepoint-1/_metadata": b.Bytes(), "savepoint-1/beside": []byte("abc")} {
		if err := s.Publish(t.Context(), key, data); err != nil {
			t.Fatal(err)
		}
	}
	show, err := (&loose{store: s, arg: "savepoint-1", folder: "savepoint-1"}).Files(t.Context(), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := show.GetFiles()[0].GetPresence(); got != ckptdv1.FilePresence_FILE_PRESENCE_PRESENT {
		t.Errorf("the file beside is %v, want it present", got)
	}
	if got := show.GetFiles()[1].GetPresence(); got != ckptdv1.FilePresence_FILE_PRESENCE_UNSPECIFIED {
		t.Errorf("the lent file is %v, want it not looked for", got)
	}
}
