package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/layouttest"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/file"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// opened opens the root of the world for a test.
func (v *verbs) opened(t *testing.T) storage.Store {
	t.Helper()
	o, err := file.Open(t.Context(), filepath.Join(v.dir, "root"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	return o.Store
}

// TestGCListsExpiredTrash: the plan names what has lain in the trash for its time, with its bytes. What a job has borrowed, and what may
// still be brought back, is not in the plan. The collection deletes what the plan says.
func TestGCListsExpiredTrash(t *testing.T) {
	v := newVerbs(t)
	root := v.opened(t)
	trashed := func(until time.Time, lent []journal.Lent) {
		appendThird(t, root, layouttest.Running, func(e *journal.Entry) {
			e.Status, e.Owner, e.URLs, e.Lent = journal.StatusCanceled, journal.Nonce{}, nil, lent
			e.Retained = slices.Clone(e.Retained)
			e.Retained[0].State, e.Retained[0].TrashedAt, e.Retained[0].TrashUntil = journal.StateTrashed, 1000, uint64(until.UnixMilli())
		})
	}
	plan := func() *ckptdv1.CollectedJob {
		report := &ckptdv1.CollectReport{}
		if err := protojson.Unmarshal([]byte(v.try(t, 0, "gc ROOT/clicks --json")), report); err != nil {
			t.Fatal(err)
		}
		return report.GetJobs()[0]
	}
	trashed(time.Now().Add(time.Hour), nil)
	if j := plan(); j.GetObjects() != 0 || len(j.GetDue()) != 0 {
		t.Errorf("before its time: %v, want an empty plan", j)
	}
	trashed(time.Now().Add(-time.Hour), []journal.Lent{{Pin: journal.Nonce{Count: 9}, Checkpoint: layouttest.Old, Holder: "ended", HolderEpoch: 1 << 40}})
	if j := plan(); j.GetObjects() != 0 || len(j.GetDue()) != 0 {
		t.Errorf("while it is lent: %v, want an empty plan", j)
	}
	trashed(time.Now().Add(-time.Hour), nil)
	j := plan()
	want := []string{"clicks/" + layouttest.ExclusiveFile(layouttest.Old), layout.MetadataKey("clicks", layouttest.Old)}
	if len(j.GetGroups()) != 1 || len(j.GetDue()) != 1 {
		t.Fatalf("the plan is %v, want one group and one checkpoint that is due", j)
	}
	if g := j.GetGroups()[0]; g.GetReason() != ckptdv1.CollectReason_COLLECT_REASON_EXPIRED_TRASH || !slices.Equal(sorted(g.GetKeys()), sorted(want)) || g.GetBytes() <= 200 {
		t.Errorf("the plan is %v, want %q with their bytes", j, want)
	}
	if d := j.GetDue()[0]; d.GetKind() != ckptdv1.CollectDueKind_COLLECT_DUE_KIND_EXPIRED_TRASH || d.GetCheckpointId() != layouttest.Old || d.GetBytes() == 0 {
		t.Errorf("due is %v, want checkpoint %d with its bytes", d, layouttest.Old)
	}
	contains(t, v.try(t, 0, "gc ROOT"), "its time in the trash is over", "checkpoint 41 leaves the trash: its time there was over at", "it added ")
	contains(t, v.try(t, 0, "gc ROOT --yes"), "checkpoint 41 leaves the trash")
	for _, key := range want {
		if _, err := root.Stat(t.Context(), key); err == nil {
			t.Errorf("%s is still there", key)
		}
	}
	contains(t, v.try(t, 0, "audit ROOT"), want...)
	if j := plan(); j.GetObjects() != 0 || len(j.GetDue()) != 0 {
		t.Errorf("after the collection: %v, want an empty plan", j)
	}
	v.try(t, 0, "verify ROOT --read-data")
}

// TestGCOfARemovedJob: of a job that was purged, only the tombstone is left, and nothing is due.
func TestGCOfARemovedJob(t *testing.T) {
	v := newVerbs(t)
	contains(t, v.try(t, 0, "purge ROOT/ended --yes"), "is removed")
	for _, command := range []string{"gc ROOT/ended", "gc ROOT/ended --yes"} {
		if out := v.try(t, 0, command); strings.Contains(out, "wants all of the job deleted") {
			t.Errorf("%s says %q, though the job is removed", command, out)
		}
	}
}

func sorted(all []string) []string { return slices.Sorted(slices.Values(all)) }

// TestTheAuditLogIsCkptdsOwn: no command takes the folder of the audit log for a job or for a stranger's, and a copy leaves it out.
func TestTheAuditLogIsCkptdsOwn(t *testing.T) {
	v := newVerbs(t)
	plantOrphans(t, filepath.Join(v.dir, "root"), 2)
	v.try(t, 0, "gc ROOT/clicks --yes --take-over")
	root := v.opened(t)
	records := func() (all []string) {
		for info, err := range root.List(t.Context(), layout.AuditPrefix) {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, info.Key)
		}
		return all
	}
	before := records()
	if len(before) == 0 {
		t.Fatal("nothing was recorded")
	}
	for line, want := range map[string]string{
		"ls ROOT": "clicks", "verify ROOT --read-data": "checkpoints: 2, jobs: 2", "gc ROOT": "in 2 jobs", "trash ROOT": "", "doctor ROOT --quick": "",
		"copy ROOT DIR/other": "clicks/chk-42", "forget ROOT --keep-last 5": "", "why ROOT/" + before[0]: "audit log",
	} {
		out := v.try(t, 0, line)
		if !strings.Contains(out, want) || !strings.HasPrefix(line, "why") && strings.Contains(out, strings.Trim(layout.AuditPrefix, "/")) || strings.Contains(out, "stranger") {
			t.Errorf("%s printed\n%s\nwant %q, and no word of the audit log", line, out, want)
		}
	}
	for _, line := range []string{"ls ROOT/_audit", "gc ROOT/_audit --yes", "rm ROOT/_audit --yes", "purge ROOT/_audit --yes", "forget ROOT/_audit --keep-last 1 --yes", "copy ROOT/_audit DIR/more"} {
		var out bytes.Buffer
		if code := run(t.Context(), strings.Fields(v.replace.Replace(line)), &out, &out); code == exit.Done {
			t.Errorf("%s was carried out, and printed\n%s", line, &out)
		}
	}
	if after := records(); !slices.Equal(after, before) {
		t.Errorf("the records were %q, and are %q", before, after)
	}
	if _, err := os.Stat(filepath.Join(v.dir, "other", layout.AuditPrefix)); err == nil {
		t.Error("the copy has the records of its source")
	}
}
