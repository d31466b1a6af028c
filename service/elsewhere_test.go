package service_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/copying"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service"
	"github.com/ckptd/ckptd/service/shell"
)

// otherRoot opens checkpoints of job a in another root.
func otherRoot(root storage.Opened, opened *int) shell.OpenElsewhere {
	return func(_ context.Context, text string) (*shell.Elsewhere, error) {
		folder, ok := strings.CutPrefix(text, "far://other/a/")
		id, err := layout.ParseCheckpointDir(folder)
		if !ok || err != nil {
			return nil, errors.New("this daemon may not read there")
		}
		*opened++
		return &shell.Elsewhere{
			From: copying.Place{Store: root.Store, Opened: root, Facts: root.Facts}, URL: text, Metadata: layout.MetadataKey("a", id),
			Locate: func(f *layout.File, _ layout.Header) string { return catalog.Key("a", id, f.Key, f.Job) },
			Close:  func() error { *opened--; return nil },
		}, nil
	}
}

// TestRestoreFromElsewhere: a job begins from a checkpoint of another root. Its files are copied first; then they are the
// job's own, so that its next checkpoint reuses them, and the other root may go.
func TestRestoreFromElsewhere(t *testing.T) {
	from, root, opened := newRoot(), newRoot(), 0
	first := oneWorker(t, startDaemon(t, from, ""), "a", nil)
	id := first.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
		return []*ckptdv1.SnapshotHandle{uploaded("i", "s", first.put(shared, id, "abc")), uploaded("i", "e", first.put(exclusive, id, "exclusive")), inline("n", "inline")}
	})
	url := "far://other/a/" + layout.CheckpointDir(id)
	d := startDaemonWith(t, root, "", service.Options{Elsewhere: otherRoot(from, &opened)})
	b, start := restoring(t, d, "b", url)
	if start.GetRestoreCheckpointId() <= id || start.GetAttempt() != 1 {
		t.Fatalf("attempt %d restores checkpoint %d, want attempt 1 and an id above %d", start.GetAttempt(), start.GetRestoreCheckpointId(), id)
	}
	if got, want := b.states(), (map[string]string{"s": "abc", "e": "exclusive", "n": "inline"}); !maps.Equal(got, want) {
		t.Errorf("job b restores %q, want %q", got, want)
	}
	for _, f := range filesOf(t, read(t, root.Store, layout.MetadataKey("b", start.GetRestoreCheckpointId()))) {
		if f.Job != "" || !layout.IsShared(f.Key) {
			t.Errorf("the import names %s of job %q, want files in its own shared/", f.Key, f.Job)
		}
	}
	if e := head(t, root, "b"); e.Import.Source != url || e.Import.Job != "" || len(e.Borrowed)+len(head(t, from, "a").Lent) > 0 {
		t.Errorf("import %+v, borrowed %+v", e.Import, e.Borrowed)
	}
	// A caller that comes back finds the job, whether or not the other root is there.
	if _, err := d.engineService().AttachJob(t.Context(), restoreRequest("b", url)); err != nil {
		t.Errorf("attach again: %v", err)
	}
	b.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
		n, err := b.ask(id, "i", "s", "abc")
		if n == 0 || err != nil {
			t.Errorf("the copied file is known as %d, %v; want it known", n, err)
		}
		return []*ckptdv1.SnapshotHandle{known("s", n)}
	})
	eventually(t, "the import's deletion", func() bool {
		return len(contents(t, root.Store, layout.SharedPrefix("b"))) == 1 && len(contents(t, root.Store, layout.CheckpointPrefix("b", start.GetRestoreCheckpointId()))) == 0
	})
	if opened != 0 {
		t.Errorf("%d places were not closed", opened)
	}
}

// TestRestoreFromElsewhereRefused: a place that is not allowed, and a source that is damaged.
func TestRestoreFromElsewhereRefused(t *testing.T) {
	from, root, opened := newRoot(), newRoot(), 0
	first := oneWorker(t, startDaemon(t, from, ""), "a", nil)
	id := first.checkpoint(first.ofAll)
	url := "far://other/a/" + layout.CheckpointDir(id)
	d := startDaemonWith(t, root, "", service.Options{Elsewhere: otherRoot(from, &opened)})
	attach := func(d *daemon, job, from string, mode ckptdv1.ClaimMode) error {
		req := restoreRequest(job, from)
		req.ClaimMode = mode
		_, err := d.engineService().AttachJob(t.Context(), req)
		return err
	}
	wantCode(t, attach(startDaemon(t, newRoot(), ""), "b", url, 0), connect.CodeInvalidArgument, "another root")
	wantCode(t, attach(d, "b", "file:///etc/passwd", 0), connect.CodeFailedPrecondition, "may not read there")
	wantCode(t, attach(d, "b", url, ckptdv1.ClaimMode_CLAIM_MODE_CLAIM), connect.CodeInvalidArgument, "its files are copied, so nothing there can be claimed")
	t.Run("SP-9: an unknown path is not found", func(t *testing.T) {
		wantCode(t, attach(d, "b", "far://other/a/chk-77", 0), connect.CodeNotFound)
	})
	for key := range contents(t, from.Store, layout.SharedPrefix("a")) {
		overwrite(t, from.Store, key, func(b []byte) []byte { b[0]++; return b })
	}
	if err := attach(d, "c", url, 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the job's end", func() bool { return head(t, root, "c").Status.Terminal() })
	if e := head(t, root, "c"); !strings.Contains(e.Ended.Why, "cannot begin from") || !strings.Contains(e.Ended.Why, url) {
		t.Errorf("ended: %q", e.Ended.Why)
	}
}
