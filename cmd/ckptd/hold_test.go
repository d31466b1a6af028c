package main

import (
	"bytes"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage/file"
	"github.com/ckptd/ckptd/retention"
)

// TestForgetHoldsTheNewest: while forget removes others, a pin with an expiry is on what stays as the newest; then it is returned. While
// anybody has a pin on a checkpoint, rm is refused.
func TestForgetHoldsTheNewest(t *testing.T) {
	v := newVerbs(t)
	root := filepath.Join(v.dir, "root")
	opened, err := file.Open(t.Context(), root, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	try := func(want int, args ...string) {
		t.Helper()
		var out bytes.Buffer
		if code := run(t.Context(), args, &out, &out); code != want {
			t.Fatalf("ckptd %q: exit code %d, want %d\n%s", args, code, want, &out)
		}
	}
	appendThird(t, opened.Store, "clicks", func(e *journal.Entry) { e.Status = journal.StatusCanceled })
	p, err := journalio.Hold(t.Context(), opened.Store, opened.Facts, "clicks", 41, "test", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	try(exit.Failed, "rm", root+"/clicks/chk-41", "--yes")
	if err := p.Return(t.Context()); err != nil {
		t.Fatal(err)
	}
	try(exit.Done, "forget", root, "--keep-last", "1", "--yes", "--now")
	slots, err := journalio.List(t.Context(), opened.Store, "clicks")
	if err != nil {
		t.Fatal(err)
	}
	held := false
	for _, slot := range slots {
		e, err := journalio.Read(t.Context(), opened.Store, "clicks", slot)
		if err != nil {
			t.Fatal(err)
		}
		_, both := e.Checkpoint(41)
		for _, l := range e.Lent {
			held = held || !both && l.Holder == ".tool-forget" && l.Checkpoint == 42 && l.OfTool()
		}
	}
	head, err := catalog.Head(t.Context(), opened.Store, "clicks")
	if err != nil {
		t.Fatal(err)
	}
	ids := []uint64{}
	for _, c := range head.Retained {
		ids = append(ids, c.ID)
	}
	if !held || len(head.Lent) != 0 || !slices.Equal(ids, []uint64{42}) {
		t.Errorf("checkpoint 42 was held when 41 went: %t; the job lends %+v and retains %d; want it held, then no pin, and 42", held, head.Lent, ids)
	}
}

// TestCopyHoldsWhatItCopies: while a checkpoint of a job that has not ended is copied, a pin is on it. Afterwards it is returned. A source that
// cannot be written is copied, too.
func TestCopyHoldsWhatItCopies(t *testing.T) {
	v := newVerbs(t)
	root := filepath.Join(v.dir, "root")
	opened, err := file.Open(t.Context(), root, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	source := &heldSource{url: "file://" + root}
	lent := func() []journal.Lent {
		head, err := catalog.Head(t.Context(), opened.Store, "clicks")
		if err != nil {
			t.Fatal(err)
		}
		return head.Lent
	}
	release := source.hold(t.Context(), "clicks", 42)
	if l := lent(); len(l) != 1 || l[0].Holder != ".tool-copy" || !l[0].OfTool() || l[0].Checkpoint != 42 {
		t.Errorf("lent %+v, want a pin of copy on checkpoint 42", l)
	}
	if release(); len(lent()) != 0 {
		t.Errorf("lent %+v after the release", lent())
	}
	source.hold(t.Context(), "clicks", 99)()
	if source.denied {
		t.Error("a checkpoint that is gone says that the root cannot be written")
	}
	if err := source.close(); err != nil {
		t.Error(err)
	}
	nowhere := &heldSource{url: "file://" + root + "/clicks/nowhere"}
	nowhere.hold(t.Context(), "clicks", 42)()
	if len(lent()) != 0 {
		t.Errorf("lent %+v, want nothing", lent())
	}
	before, err := journalio.List(t.Context(), opened.Store, "clicks")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if code := run(t.Context(), []string{"copy", root + "/clicks/chk-42", filepath.Join(v.dir, "other")}, &out, &out); code != exit.Done {
		t.Fatalf("exit code %d\n%s", code, &out)
	}
	after, err := journalio.List(t.Context(), opened.Store, "clicks")
	if err != nil || len(after) != len(before)+2 || len(lent()) != 0 {
		t.Errorf("%v: the source's journal grew from %d to %d entries, and lends %+v; want a lend and a return", err, len(before), len(after), lent())
	}
}

// TestForgetWhileAJobDrops: a checkpoint of the plan has left its job meanwhile. The others are removed, and the report is silent about it.
func TestForgetWhileAJobDrops(t *testing.T) {
	v := newVerbs(t)
	v.end(t, "clicks")
	head, err := catalog.Head(t.Context(), v.opened(t), "clicks")
	if err != nil {
		t.Fatal(err)
	}
	earlier := *head
	dropped := head.Retained[0]
	dropped.ID--
	earlier.Retained = append([]journal.Checkpoint{dropped}, head.Retained...)
	f := &forgetter{rules: retention.Rules{Last: 1}, groupBy: "name", yes: true}
	f.plan([]*journal.Entry{&earlier}, "")
	if f.report.GetRemoved() != 2 {
		t.Fatalf("the plan removes %d, want 2", f.report.GetRemoved())
	}
	cmd := newForgetCmd()
	cmd.SetContext(t.Context())
	if err := f.execute(cmd, filepath.Join(v.dir, "root")); err != nil {
		t.Fatal(err)
	}
	if head, err = catalog.Head(t.Context(), v.opened(t), "clicks"); err != nil {
		t.Fatal(err)
	}
	if len(head.Retained) != 1 || head.Retained[0].ID != 42 || f.report.GetRemoved() != 1 || len(f.stuck) != 0 {
		t.Errorf("the job retains %d checkpoints; %d removed, %d stuck; want checkpoint 42; 1, 0", len(head.Retained), f.report.GetRemoved(), len(f.stuck))
	}
}
