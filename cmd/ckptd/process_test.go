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

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/coordinator"
)

// A rig is the demo's job in processes of its own, in the hands of a test.
type rig struct {
	*demo
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
func newRig(t *testing.T, o demoOptions, environment ...string) *rig {
	t.Helper()
	return newRigFor(t, time.Minute, o, environment...)
}

// newRigFor is newRig for a job that may take so long.
func newRigFor(t *testing.T, long time.Duration, o demoOptions, environment ...string) *rig {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), long)
	r := &rig{t: t, ctx: ctx}
	o.parallelism, o.users, o.output = 2, 500, filepath.Join(t.TempDir(), "output")
	if o.interval == "" {
		o.interval = "100ms"
	}
	if o.root == "" {
		o.root = filepath.Join(t.TempDir(), "root")
	}
	if o.records == 0 {
		o.records = 10_000
	}
	if o.rate == 0 {
		o.rate = 5000
	}
	var err error
	if r.demo, err = newDemo(o, &r.out); err != nil {
		t.Fatal(err)
	}
	r.environment, r.bare = environment, r.root
	t.Cleanup(func() {
		if r.launch != nil {
			r.must(r.hangUp())
			r.launch.Stop(ctx)
		}
		cancel()
		t.Logf("%s", r.out.String())
		if t.Failed() {
			r.logs()
		}
		os.RemoveAll(r.tmp)
	})
	return r
}

// logs shows the ends of the processes' logs.
func (r *rig) logs() {
	files, _ := filepath.Glob(filepath.Join(r.tmp, "logs", "*"))
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
	job := r.config.Job
	job.TolerableFailedCheckpoints, job.RestartStrategy.Attempts = coordinator.Never, coordinator.Never
	job.Retention = ckptdv1.Retention_RETENTION_DELETE_ON_CANCELLATION
}

// begin starts the processes.
func (r *rig) begin() {
	r.t.Helper()
	r.must(r.count(r.ctx))
	r.must(r.startDaemon(r.ctx))
	r.must(r.startJob(r.ctx))
}

// await follows the job until something holds.
func (r *rig) await(what string, is func(*ckptdv1.JobState) bool) {
	r.t.Helper()
	for {
		if s := r.poll(r.ctx); s != nil && is(s) {
			return
		}
		if !sleep(r.ctx, pollEvery/5) {
			r.t.Fatalf("never: %s", what)
		}
	}
}

// checkpoints waits until some have completed since now.
func (r *rig) awaitCheckpoints(n int) {
	r.t.Helper()
	begin := r.watch.newest
	r.await(fmt.Sprintf("%d more checkpoints", n), func(*ckptdv1.JobState) bool { return r.watch.running && r.watch.newest >= begin+uint64(n) })
}

// finish lets the job come to its end, and checks the counts and what is left on storage.
func (r *rig) finish() {
	r.t.Helper()
	r.must(r.follow(r.ctx))
	r.end()
}

// end cancels a job that has come to its end, and checks what it has done and left.
func (r *rig) end() {
	r.t.Helper()
	r.must(r.cancel(r.ctx))
	exact, err := r.verdict()
	r.must(err)
	if !exact {
		r.t.Error("the counts are not exact")
	}
	r.checkRestores()
	r.checkStorage()
}

// logged are the lines of the daemons' logs in which a checkpoint completes or an attempt begins.
var logged = regexp.MustCompile(`(?m)^time=(\S+) .* msg=(completed|attempt) .* checkpoint=(\d+) .*$`)

// checkRestores compares what attempts began with with what was complete by then: a checkpoint that a daemon has said to be complete is
// never lost.
func (r *rig) checkRestores() {
	r.t.Helper()
	var lines [][]string
	logs, _ := filepath.Glob(filepath.Join(r.tmp, "logs", "daemon*"))
	for _, path := range logs {
		b, err := os.ReadFile(path)
		r.must(err)
		lines = append(lines, logged.FindAllStringSubmatch(string(b), -1)...)
	}
	slices.SortStableFunc(lines, func(a, b []string) int { return strings.Compare(a[1], b[1]) })
	newest, began := uint64(0), 0
	for _, line := range lines {
		id, err := strconv.ParseUint(line[3], 10, 64)
		r.must(err)
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
	opened, err := openStore(r.ctx, r.bare, true)
	r.must(err)
	defer opened.Close()
	j, err := catalog.New(opened.Store).Journal(r.ctx, r.id)
	r.must(err)
	return j.GetEntries()[len(j.GetEntries())-1]
}

// checkStorage compares what lies under the root of a job that was let go with what its journal reaches.
func (r *rig) checkStorage() {
	r.t.Helper()
	opened, err := openStore(r.ctx, r.bare, false)
	r.must(err)
	defer opened.Close()
	keys := listed(r.ctx, r.t, opened.Store)
	if strings.HasPrefix(r.bare, "file:") {
		keys = r.files()
	}
	compareStorage(r.ctx, r.t, opened.Store, r.id, keys)
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

// compareStorage fails if a key is there that the journal of the root's only job does not reach, or if one that it reaches is missing
// or of another size.
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
			want = append(want, layout.JobPrefix(job)+f.GetFile().GetKey())
			if f.GetPresence() != ckptdv1.FilePresence_FILE_PRESENCE_PRESENT {
				t.Errorf("checkpoint %d: %s is %v", id, f.GetFile().GetKey(), f.GetPresence())
			}
		}
	}
	slices.Sort(want)
	want = slices.Compact(want)
	for _, key := range got {
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
