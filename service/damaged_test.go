package service_test

import (
	"errors"
	"fmt"
	"testing"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// TestRestoreOfADamagedCheckpoint: the newest checkpoint has lost a file. It is named, with the older one that is whole, and
// nothing goes back to that silently: it is taken when it is named.
func TestRestoreOfADamagedCheckpoint(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "a", func(c *ckptdv1.JobConfig) { c.NumRetained = 2 })
	older := w.checkpoint(w.ofAll)
	newest := w.checkpoint(w.ofAll)
	d.cancel(t, "a")
	d.waitReleased(t)
	lost := layout.JobPrefix("a") + filesOf(t, read(t, root.Store, layout.MetadataKey("a", newest)))[0].Key
	if err := errors.Join(root.Store.Delete(t.Context(), []string{lost})...); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{"a/latest", fmt.Sprintf("a/%s", layout.CheckpointDir(newest))} {
		_, err := d.engineService().AttachJob(t.Context(), restoreRequest("b", from))
		wantCode(t, err, connect.CodeDataLoss, lost)
		wantCode(t, err, connect.CodeDataLoss, fmt.Sprintf("a/%s is older and whole", layout.CheckpointDir(older)))
		if n := len(contents(t, root.Store, layout.JobPrefix("b"))); n > 0 {
			t.Errorf("the refused job has %d objects", n)
		}
	}
	b, _ := restoring(t, d, "b", fmt.Sprintf("a/%s", layout.CheckpointDir(older)))
	wantStates(t, b, "a")
}
