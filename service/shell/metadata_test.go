package shell

import (
	"bytes"
	"testing"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage/mem"
)

// An owner learns only of its job's own files. It may neither promise nor delete lent files and files beside a
// savepoint.
func TestReadMetadataFindsOwnFiles(t *testing.T) {
	name := layout.FileName{Epoch: 1, Checkpoint: 1, Nonce: layout.NewNonce(), Sequence: 1}.String()
	var b bytes.Buffer
	m := layout.NewMetadataWriter(&b, layout.Header{JobID: "j", Checkpoint: 2, Epoch: 1, Nonce: "n", Kind: layout.KindSavepoint})
	_ = m.WriteJob(layout.Job{})
	_ = m.WriteOperator(layout.Operator{ID: "a", Parallelism: 1, MaxParallelism: 1})
	for _, f := range []layout.File{{Key: "shared/" + name, Job: "lender"}, {Key: name}, {Key: "shared/" + name}, {Key: "chk-1/" + name, Job: "lender"}} {
		if _, err := m.WriteFile(f); err != nil {
			t.Fatal(err)
		}
	}
	_ = m.WriteSubtask(layout.Subtask{OperatorID: "a"})
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	s := mem.New()
	if err := s.Publish(t.Context(), layout.MetadataKey("j", 2), b.Bytes()); err != nil {
		t.Fatal(err)
	}
	got, outcome, err := readMetadata(t.Context(), s, "j", 2)
	if outcome != journal.Done || err != nil {
		t.Fatalf("%v, %v; want it read", outcome, err)
	}
	if len(got.files) != 1 || got.files[0].Key != "shared/"+name || got.files[0].Job != "" {
		t.Errorf("files %+v, want the own one alone", got.files)
	}
}
