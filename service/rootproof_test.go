package service_test

import (
	"errors"
	"testing"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
)

// TestRootCopiedByHand: a journal of the copy names the daemon of the original. That daemon owns nothing of the copy, and
// takes no call that means the copy.
func TestRootCopiedByHand(t *testing.T) {
	root, byHand := newRoot(), newRoot()
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", nil)
	id := w.checkpoint(w.ofAll)
	for key, content := range contents(t, root.Store, "") {
		if err := byHand.Store.Publish(t.Context(), key, []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	before := head(t, root, "j")

	proof, remove, err := layout.ProveRoot(t.Context(), byHand.Store)
	if err != nil {
		t.Fatal(err)
	}
	defer remove()
	c, err := client.New([]string{d.http.URL}, client.WithRootProof(proof))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Admin().Cancel(t.Context(), "j"); !errors.Is(err, client.ErrAnotherRoot) {
		t.Errorf("a cancel that means the copy: %v, want ErrAnotherRoot", err)
	}
	if err := newJanitor(t, byHand).Do(t.Context(), "j", true, sweep); err != nil {
		t.Fatal("a janitor of the copy:", err)
	}
	if e := atRest(t, byHand, "j"); e.Epoch != before.Epoch+1 || e.Newest() != id {
		t.Errorf("the copy's journal says epoch %d, newest %d; want %d, %d", e.Epoch, e.Newest(), before.Epoch+1, id)
	}
	if e := head(t, root, "j"); e.Slot != before.Slot || e.Status != journal.StatusRunning {
		t.Errorf("the original's journal has slot %d, %v; want %d and a running job", e.Slot, e.Status, before.Slot)
	}
	for _, root := range []map[string]string{contents(t, root.Store, layout.ProbePrefix), contents(t, byHand.Store, layout.ProbePrefix)} {
		for key := range root {
			if key != proof {
				t.Errorf("%s is left", key)
			}
		}
	}
	// In the daemon's own root, the proof is seen.
	proof, remove, err = layout.ProveRoot(t.Context(), root.Store)
	if err != nil {
		t.Fatal(err)
	}
	defer remove()
	mine, err := client.New([]string{d.http.URL}, client.WithRootProof(proof))
	if err != nil {
		t.Fatal(err)
	}
	defer mine.Close()
	if _, err := mine.Admin().JobStatus(t.Context(), "j", 0); err != nil {
		t.Error("a call that means the daemon's root:", err)
	}
	w.checkpoint(w.ofAll)
}
