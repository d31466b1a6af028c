package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ckptd/ckptd/cmd/ckptd/demo"
	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/launch"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/coordinator"
)

// pollEvery is how often a test looks.
const pollEvery = 50 * time.Millisecond

// socketDir is a temporary folder whose name is short enough for sockets.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "ckptd-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// A rig is the demo's job in processes of its own, in the hands of a test.
type rig struct {
	*demo.Demo
	t   *testing.T
	ctx context.Context
	out buffer
	// bare is the root as the test looks at it: past any proxy.
	bare string
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// newRig settles a job with checkpoints every 100 ms, which reads its input in about a second unless o says otherwise.
func newRig(t *testing.T, o demo.Options, environment ...string) *rig {
	t.Helper()
	return newRigFor(t, time.Minute, o, environment...)
}

// newRigFor is newRig for a job that may take so long.
func newRigFor(t *testing.T, long time.Duration, o demo.Options, environment ...string) *rig {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), long)
	r := &rig{t: t, ctx: ctx}
	o.Parallelism, o.Users = 2, 500
	if o.Output == "" {
		o.Output = filepath.Join(t.TempDir(), "output")
	}
	if o.Interval == "" {
		o.Interval = "100ms"
	}
	if o.Root == "" {
		o.Root = filepath.Join(t.TempDir(), "root")
	}
	if o.Records == 0 {
		o.Records = 10_000
	}
	if o.Rate == 0 {
		o.Rate = 5000
	}
	var err error
	if r.Demo, err = demo.New(o, &r.out); err != nil {
		t.Fatal(err)
	}
	r.Environment, r.bare = environment, r.Root
	t.Cleanup(func() {
		r.must(r.Stop(ctx))
		cancel()
		t.Logf("%s", r.out.String())
		if t.Failed() {
			r.logs()
		}
		os.RemoveAll(r.Tmp)
	})
	return r
}

// logs shows the ends of the processes' logs.
func (r *rig) logs() {
	files, _ := filepath.Glob(filepath.Join(r.Tmp, "logs", "*"))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		r.t.Logf("%s:\n%s", filepath.Base(f), b[max(0, len(b)-6000):])
	}
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// tolerant lets the job survive as many failed checkpoints and attempts as there are, and leave nothing when it ends.
func (r *rig) tolerant() {
	job := r.Config.Job
	job.TolerableFailedCheckpoints, job.RestartStrategy.Attempts = coordinator.Never, coordinator.Never
	job.Retention = ckptdv1.Retention_RETENTION_DELETE_ON_CANCELLATION
}

// begin starts the processes.
func (r *rig) begin() {
	r.t.Helper()
	r.must(r.Count(r.ctx))
	r.must(r.StartDaemon(r.ctx))
	r.must(r.StartJob(r.ctx))
}

// await follows the job until something holds.
func (r *rig) await(what string, is func(*ckptdv1.JobState) bool) {
	r.t.Helper()
	for {
		if s := r.Poll(r.ctx); s != nil && is(s) {
			return
		}
		if !launch.Sleep(r.ctx, pollEvery/5) {
			r.t.Fatalf("never: %s", what)
		}
	}
}

// checkpoints waits until some have completed since now.
func (r *rig) awaitCheckpoints(n int) {
	r.t.Helper()
	begin := r.Watch.Newest
	r.await(fmt.Sprintf("%d more checkpoints", n), func(*ckptdv1.JobState) bool { return r.Watch.Running && r.Watch.Newest >= begin+uint64(n) })
}

// finish waits for the end of the job, and checks the counts and the objects on storage.
func (r *rig) finish() {
	r.t.Helper()
	r.must(r.Follow(r.ctx))
	r.end()
}

// end cancels a job that has read its input, and checks its counts, its restores and the objects on storage.
func (r *rig) end() {
	r.t.Helper()
	r.must(r.Cancel(r.ctx))
	r.ended()
}

// ended checks the counts of a job that has ended, its restores and the objects on storage.
func (r *rig) ended() {
	r.t.Helper()
	exact, err := r.Verdict()
	r.must(err)
	if !exact {
		r.t.Error("the counts are not exact")
	}
	r.checkRestores()
	r.checkStorage()
}

// logged are the lines of the daemons' logs in which a checkpoint completes or an attempt begins.
var logged = regexp.MustCompile(`(?m)^time=(\S+) .* msg=(completed|attempt) job=\S+(?: checkpoint=(\d+))?.*$`)

// checkRestores compares the checkpoint that each attempt restored with the newest one complete by then: a checkpoint
// that a daemon has reported complete is never lost.
func (r *rig) checkRestores() {
	r.t.Helper()
	var lines [][]string
	logs, _ := filepath.Glob(filepath.Join(r.Tmp, "logs", "daemon*"))
	for _, path := range logs {
		b, err := os.ReadFile(path)
		r.must(err)
		lines = append(lines, logged.FindAllStringSubmatch(string(b), -1)...)
	}
	slices.SortStableFunc(lines, func(a, b []string) int { return strings.Compare(a[1], b[1]) })
	newest, began := uint64(0), 0
	for _, line := range lines {
		var id uint64 // 0: an attempt without a checkpoint
		if line[3] != "" {
			var err error
			id, err = strconv.ParseUint(line[3], 10, 64)
			r.must(err)
		}
		switch {
		case line[2] == "completed":
			newest = max(newest, id)
		case id < newest && !strings.Contains(line[0], "adopted"):
			r.t.Errorf("checkpoint %d was complete, and an attempt began with %d", newest, id)
			fallthrough
		default:
			began++
		}
	}
	if newest == 0 || began == 0 {
		r.t.Errorf("the logs tell of no checkpoint, or no attempt: %q", lines)
	}
}

// head is the last entry of the job's journal.
func (r *rig) head() *ckptdv1.JournalEntry {
	r.t.Helper()
	opened, err := drivers.Open(r.ctx, r.bare, true)
	r.must(err)
	defer opened.Close()
	j, err := catalog.New(opened.Store).Journal(r.ctx, r.ID)
	r.must(err)
	return j.GetEntries()[len(j.GetEntries())-1]
}

// checkStorage compares the objects of a released job with the objects that its journal reaches.
func (r *rig) checkStorage() {
	r.t.Helper()
	opened, err := drivers.Open(r.ctx, r.bare, false)
	r.must(err)
	defer opened.Close()
	keys := listed(r.ctx, r.t, opened.Store)
	if strings.HasPrefix(r.bare, "file:") {
		keys = r.files()
	}
	compareStorage(r.ctx, r.t, opened.Store, r.ID, keys)
}

// listed are all objects of a store, and those whose writing was begun and not ended.
func listed(ctx context.Context, t *testing.T, s storage.Store) (keys []string) {
	t.Helper()
	for info, err := range s.List(ctx, "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	_, err := s.AbortUnfinished(ctx, "", func(key string) bool {
		keys = append(keys, key+" (unfinished)")
		return false
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)
	return keys
}

// compareStorage compares the keys with the journal of the root's only job. It fails if the journal does not reach a
// key, or if an object that the journal reaches is missing or has another size.
func compareStorage(ctx context.Context, t *testing.T, s storage.Store, job string, got []string) {
	t.Helper()
	c := catalog.New(s)
	entries, err := c.Journal(ctx, job)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{layout.RootMarkerKey}
	for _, e := range entries.GetEntries() {
		if e.GetError() != "" {
			t.Errorf("slot %d: %s", e.GetSlot(), e.GetError())
		}
		want = append(want, layout.SlotKey(job, e.GetSlot()))
	}
	if n := len(entries.GetEntries()); n > slotsKept {
		t.Errorf("%d slots", n)
	}
	head := entries.GetEntries()[len(entries.GetEntries())-1]
	if head.GetOwnerNonce() != "" {
		t.Errorf("the job was not let go: %v", head.GetOwnerUrls())
	}
	for _, k := range head.GetRetained() {
		id := k.GetSummary().GetCheckpointId()
		want = append(want, layout.MetadataKey(job, id))
		show, err := c.Files(ctx, job, id)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range show.GetFiles() {
			if lender := f.GetFile().GetJobId(); lender == "" || lender == job {
				want = append(want, layout.JobPrefix(job)+f.GetFile().GetKey())
			}
			if f.GetPresence() != ckptdv1.FilePresence_FILE_PRESENCE_PRESENT {
				t.Errorf("checkpoint %d: %s is %v", id, f.GetFile().GetKey(), f.GetPresence())
			}
		}
	}
	slices.Sort(want)
	want = slices.Compact(want)
	for _, key := range got {
		if layout.ParseJobKey(strings.TrimPrefix(key, layout.JobPrefix(job))).Place == layout.PlaceHistory {
			continue // it stays until the job is purged
		}
		if _, ok := slices.BinarySearch(want, key); !ok {
			t.Errorf("left on storage: %s", key)
		}
	}
	for _, key := range want {
		if _, ok := slices.BinarySearch(got, key); !ok {
			t.Errorf("missing on storage: %s", key)
		}
	}
}

// slotsKept is how many slots a journal at rest has at most: 17, and one for the owner's release.
const slotsKept = 18

// files are all files below the root, as the file system has them, and folders that are empty.
func (r *rig) files() []string {
	r.t.Helper()
	root := strings.TrimPrefix(r.bare, "file://")
	var keys []string
	r.must(filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		key, err := filepath.Rel(root, path)
		if err != nil || !d.IsDir() {
			keys = append(keys, filepath.ToSlash(key))
			return err
		}
		if entries, err := os.ReadDir(path); err != nil || len(entries) > 0 {
			return err
		}
		keys = append(keys, filepath.ToSlash(key)+"/")
		return nil
	}))
	slices.Sort(keys)
	return keys
}
