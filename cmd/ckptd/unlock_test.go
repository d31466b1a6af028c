package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/file"
)

// appendThird puts an entry into a job's journal, as another job's daemon does.
func appendThird(t *testing.T, s storage.Store, job string, change func(*journal.Entry)) {
	t.Helper()
	head, err := catalog.Head(t.Context(), s, job)
	if err != nil {
		t.Fatal(err)
	}
	next := *head
	change(&next)
	_, verdict, err := journalio.Append(t.Context(), s, storage.Facts{}, job, journalio.Appending{Base: head, Next: next,
		Nonce: journal.Nonce{Process: journal.NewProcess(), Count: 1}, Role: journal.RoleThird, Effect: func(*journal.Entry) bool { return false }})
	if err != nil || verdict != journal.Won {
		t.Fatal(verdict, err)
	}
}

// TestUnlock: the list says of each pin whether it is stale, and why. --yes drops the stale ones alone: a pin that its holder lists stays,
// and so does a tool's pin whose time is not over.
func TestUnlock(t *testing.T) {
	v := newVerbs(t)
	root := filepath.Join(v.dir, "root")
	opened, err := file.Open(t.Context(), root, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	pin := func(n uint32) journal.Nonce { return journal.Nonce{Process: journal.Process{5}, Count: n} }
	appendThird(t, opened.Store, "clicks", func(e *journal.Entry) {
		e.Kind = journal.KindLend
		e.Lent = []journal.Lent{
			{Pin: pin(1), Checkpoint: 42, Holder: "ended", HolderEpoch: 1},                                                     // listed
			{Pin: pin(2), Checkpoint: 42, Holder: "ended"},                                                                     // leaked
			{Pin: pin(3), Checkpoint: 42, Holder: "nobody", HolderEpoch: 7, Mode: journal.Claim},                               // no journal
			{Pin: pin(4), Checkpoint: 42, Holder: ".tool-copy", Expires: 1000},                                                 // its time is over
			{Pin: pin(5), Checkpoint: 42, Holder: ".tool-copy", Expires: uint64(time.Now().Add(1000 * time.Hour).UnixMilli())}, // it is not
			{Pin: pin(6), Checkpoint: 42, Holder: "ended", HolderEpoch: 1 << 40},                                               // its owner may list it yet
		}
	})
	appendThird(t, opened.Store, "ended", func(e *journal.Entry) {
		e.Borrowed = []journal.Borrowed{{Pin: pin(1), Job: "clicks", Checkpoint: 42}}
	})
	type report struct {
		Pins []struct {
			Pin            struct{ Pin, JobID string }
			Since          string
			Stale, Dropped bool
			Why            string
		}
	}
	try := func(args ...string) (string, int) {
		var out bytes.Buffer
		code := run(t.Context(), append([]string{"unlock", root + "/clicks"}, args...), &out, &out)
		return out.String(), code
	}
	text, code := try("--json")
	var r report
	if err := json.Unmarshal([]byte(text), &r); err != nil || code != exit.Done || len(r.Pins) != 6 {
		t.Fatalf("exit code %d, %v:\n%s", code, err, text)
	}
	var stale []bool
	for _, p := range r.Pins {
		stale = append(stale, p.Stale)
		if p.Since == "" || p.Why == "" || p.Dropped {
			t.Errorf("%+v, want a time and a reason, and nothing dropped", p)
		}
	}
	if want := []bool{false, true, true, true, false, false}; !slices.Equal(stale, want) {
		t.Errorf("stale: %v, want %v:\n%s", stale, want, text)
	}
	if text, code = try(); code != exit.Done || !strings.Contains(text, "nothing was changed") || !strings.Contains(text, "its holder has no journal") {
		t.Errorf("exit code %d:\n%s", code, text)
	}
	if text, code = try("--yes", "--take-over"); code != exit.Done || strings.Count(text, " dropped ") != 3 {
		t.Errorf("exit code %d, want three dropped:\n%s", code, text)
	}
	head, err := catalog.Head(t.Context(), opened.Store, "clicks")
	if err != nil {
		t.Fatal(err)
	}
	if len(head.Lent) != 3 || !head.HasLent(pin(1)) || !head.HasLent(pin(5)) || !head.HasLent(pin(6)) || head.Newest() != 42 {
		t.Errorf("the job lends %+v, want the pins 1, 5 and 6", head.Lent)
	}
	if holder, err := catalog.Head(t.Context(), opened.Store, "nobody"); err != nil || holder.Status != journal.StatusRemoved || holder.Epoch <= 7 {
		t.Errorf("the holder without journal has %+v (%v), want a tombstone above epoch 7", holder, err)
	}
	if text, code = try("--yes", "--take-over"); code != exit.Done || strings.Contains(text, " dropped ") {
		t.Errorf("once more: exit code %d:\n%s", code, text)
	}
}
