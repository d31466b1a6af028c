package service_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/copying"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/data"
	"github.com/ckptd/ckptd/service"
	"github.com/ckptd/ckptd/service/shell"
)

// memoryOf is a store for jobs in memory with a bound.
func memoryOf(limit int64) (*service.Memory, *mem.Store) {
	s := mem.Bounded(limit)
	return &service.Memory{Opened: s.Opened(), Holds: s.Holds, Usage: s.Usage, Cost: mem.Cost}, s
}

// memoryDaemon is a daemon over a root that keeps jobs in memory, too.
func memoryDaemon(t testing.TB, root storage.Opened, limit int64) (*daemon, *mem.Store) {
	t.Helper()
	m, s := memoryOf(limit)
	return startDaemonWith(t, root, "", service.Options{Memory: m}), s
}

func inJobManager(c *ckptdv1.JobConfig) { c.Storage = ckptdv1.Storage_STORAGE_JOBMANAGER }

// objects are the keys in a store.
func objects(t testing.TB, s storage.Store) (keys []string) {
	t.Helper()
	for info, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	slices.Sort(keys)
	return keys
}

// holdsNothing checks that a root holds nothing of jobs.
func holdsNothing(t testing.TB, root storage.Opened) {
	t.Helper()
	if keys := objects(t, root.Store); len(keys) != 0 {
		t.Errorf("the root holds %q, want nothing of a job in memory", keys)
	}
}

// state returns the piece that a subtask restores.
func (w *worker) restored(attempt uint64) string {
	w.t.Helper()
	res, err := w.d.engineService().Assignment(w.t.Context(), &ckptdv1.AssignmentRequest{JobId: w.job, Epoch: w.epoch, Attempt: attempt, Subtasks: w.subtasks})
	if err != nil {
		w.t.Fatal(err)
	}
	stream, err := w.d.state().GetState(w.t.Context(), &ckptdv1.GetStateRequest{JobId: w.job, File: res.GetStates()[0].GetHandles()[0].GetFile()})
	if err != nil {
		w.t.Fatal(err)
	}
	defer stream.Close()
	var out strings.Builder
	for stream.Receive() {
		out.Write(stream.Msg().GetChunk())
	}
	if err := stream.Err(); err != nil && !errors.Is(err, io.EOF) {
		w.t.Fatal(err)
	}
	return out.String()
}

// fileOf uploads one file for a checkpoint.
func (w *worker) fileOf(contents string) func(uint64) []*ckptdv1.SnapshotHandle {
	return func(id uint64) []*ckptdv1.SnapshotHandle {
		return []*ckptdv1.SnapshotHandle{uploaded("i", "f", w.put(shared, id, contents))}
	}
}

func happened(s *ckptdv1.JobState, kind ckptdv1.JobEventKind) (text string) {
	for _, e := range s.GetEvents() {
		if e.GetKind() == kind {
			text += e.GetText() + "\n"
		}
	}
	return text
}

// TestJobManagerStorage: journal, _metadata and files of a job lie in the daemon's memory, and nothing of it in the
// root. An attempt restores from there. The job's end frees the memory, and refuses workers that come late.
func TestJobManagerStorage(t *testing.T) {
	t.Parallel()
	root := newRoot()
	d, memory := memoryDaemon(t, root, 1<<20)
	res := d.attach(t, "j", onePlan(), inJobManager)
	if len(res.GetWarnings()) != 1 || !strings.Contains(res.GetWarnings()[0], "lost with it") || res.GetConfig().GetStorage() != ckptdv1.Storage_STORAGE_JOBMANAGER || res.GetConfig().GetMaxStateSize() != 5<<20 {
		t.Errorf("attached with the warnings %q and %v", res.GetWarnings(), res.GetConfig())
	}
	w := d.register(t, "j", "w", 0, subtask("count"))
	w.begin()
	id := w.checkpoint(w.fileOf("the state"))
	state := d.status(t, "j")
	if !state.GetSummary().GetInMemory() || state.GetBeganAnew() != "" || !strings.Contains(happened(state, ckptdv1.JobEventKind_JOB_EVENT_KIND_IN_MEMORY), "lost with it") {
		t.Errorf("the status is %v", state)
	}
	whole, err := d.jobService().GetStatus(t.Context(), &ckptdv1.GetStatusRequest{})
	used, _ := memory.Usage()
	if err != nil || whole.GetMemoryUsed() != uint64(used) || whole.GetMemoryLimit() != 1<<20 || used == 0 {
		t.Errorf("the status says %d of %d, %v; want %d", whole.GetMemoryUsed(), whole.GetMemoryLimit(), err, used)
	}
	jobs, err := d.jobService().ListJobs(t.Context(), &ckptdv1.ListJobsRequest{})
	if err != nil || len(jobs.GetJobs()) != 1 || !jobs.GetJobs()[0].GetInMemory() || jobs.GetJobs()[0].GetRetained() != 1 {
		t.Errorf("the list is %v, %v", jobs, err)
	}
	list, err := d.jobService().ListCheckpoints(t.Context(), &ckptdv1.ListCheckpointsRequest{JobId: "j"})
	if err != nil || len(list.GetCheckpoints()) != 1 {
		t.Errorf("the checkpoints are %v, %v", list, err)
	}
	if shown, err := d.jobService().ShowCheckpoint(t.Context(), &ckptdv1.ShowCheckpointRequest{JobId: "j", CheckpointId: id}); err != nil || len(shown.GetFiles()) != 1 {
		t.Errorf("the checkpoint is %v, %v", shown, err)
	}
	again := d.register(t, "j", "fresh", 0, subtask("count"))
	start := again.begin()
	if got := again.restored(start.GetAttempt()); start.GetRestoreCheckpointId() != id || got != "the state" {
		t.Errorf("attempt %d restores checkpoint %d with %q", start.GetAttempt(), start.GetRestoreCheckpointId(), got)
	}
	t.Run("FS-28 metadata and state are in memory, and nothing is in the root", func(t *testing.T) {
		holdsNothing(t, root)
		if keys := objects(t, memory); !slices.Contains(keys, layout.MetadataKey("j", id)) || !slices.ContainsFunc(keys, func(k string) bool { return strings.HasPrefix(k, layout.SharedPrefix("j")) }) {
			t.Errorf("the memory holds %q", keys)
		}
	})

	if left := d.cancel(t, "j").GetRetained(); len(left) != 0 {
		t.Errorf("cancel retains %v, want nothing: it would be lost with the daemon", left)
	}
	again.leave()
	d.waitReleased(t)
	if keys := objects(t, memory); len(keys) != 2 || !strings.HasPrefix(keys[0], "j/_history/") || !strings.HasPrefix(keys[1], "j/_journal/") {
		t.Errorf("after the end the memory holds %q, want the newest segment of the history and the last entry", keys)
	}
	if used, _ := memory.Usage(); used > 4<<10 {
		t.Errorf("after the end %d bytes are taken", used)
	}
	cfg := defaultConfig(0)
	inJobManager(cfg)
	_, err = d.engineService().AttachJob(t.Context(), &ckptdv1.AttachJobRequest{JobId: "j", Plan: onePlan(), Config: cfg, HeardNumber: res.GetEpoch()})
	wantRefused(t, err, ckptdv1.Refused_REASON_JOB_TERMINAL)
	holdsNothing(t, root)
}

// TestDaemonOfAJobInMemoryDies: another daemon begins the job anew, above all numbers of its earlier life, and says so. The
// worker that lived on joins it with another attempt.
func TestDaemonOfAJobInMemoryDies(t *testing.T) {
	t.Parallel()
	root := newRoot()
	first, _ := memoryDaemon(t, root, 1<<20)
	was := first.attach(t, "j", onePlan(), inJobManager)
	w := first.register(t, "j", "w", 0, subtask("count"))
	w.begin()
	id := w.checkpoint(inlineState)
	first.kill()

	second, _ := memoryDaemon(t, root, 1<<20)
	cfg := defaultConfig(0)
	inJobManager(cfg)
	// The callers have heard of numbers that this daemon's clock has not reached.
	heard := id + uint64(24*time.Hour/time.Millisecond)
	res, err := second.engineService().AttachJob(t.Context(), &ckptdv1.AttachJobRequest{JobId: "j", Plan: onePlan(), Config: cfg, HeardNumber: heard})
	if err != nil || res.GetEpoch() <= heard || res.GetEpoch() <= was.GetEpoch() {
		t.Fatalf("epoch %d, %v; want one above %d", res.GetEpoch(), err, heard)
	}
	if !slices.ContainsFunc(res.GetWarnings(), func(s string) bool { return strings.Contains(s, "begins anew") }) {
		t.Errorf("the warnings are %q, want one that the job begins anew", res.GetWarnings())
	}
	lived := second.register(t, "j", "w", w.attempt, subtask("count"))
	start := lived.begin()
	if start.GetAttempt() <= heard || start.GetRestoreCheckpointId() != 0 {
		t.Errorf("attempt %d restores %d; want one above %d that restores nothing", start.GetAttempt(), start.GetRestoreCheckpointId(), heard)
	}
	state := second.status(t, "j")
	if want := "its state was in the memory of a daemon that is gone: the job begins anew"; state.GetBeganAnew() != want || happened(state, ckptdv1.JobEventKind_JOB_EVENT_KIND_BEGINS_ANEW) != want+"\n" {
		t.Errorf("the status says %q", state.GetBeganAnew())
	}
	if next := lived.checkpoint(inlineState); next <= heard {
		t.Errorf("checkpoint %d, want one above %d: no id is used twice", next, heard)
	}
	holdsNothing(t, root)
}

// TestAJobInMemoryCountsFromTheTime: without anything that its callers have heard, a job that begins later has larger
// numbers than one that began earlier.
func TestAJobInMemoryCountsFromTheTime(t *testing.T) {
	t.Parallel()
	now := uint64(time.Now().UnixMilli())
	d, _ := memoryDaemon(t, newRoot(), 1<<20)
	w := oneWorker(t, d, "j", inJobManager)
	if id := w.checkpoint(inlineState); w.epoch < now || w.attempt < now || id < now {
		t.Errorf("epoch %d, attempt %d, checkpoint %d; want all above the time, %d", w.epoch, w.attempt, id, now)
	}
	if state := d.status(t, "j"); state.GetBeganAnew() != "" {
		t.Errorf("a job that nobody has heard of says %q", state.GetBeganAnew())
	}
}

// putSized stores a file whose length is announced.
func (w *worker) putSized(checkpoint uint64, size int) error {
	stream, err := w.d.state().PutState(w.t.Context())
	if err != nil {
		return err
	}
	_ = stream.Send(&ckptdv1.PutStateRequest{Part: &ckptdv1.PutStateRequest_Header{Header: &ckptdv1.PutStateHeader{
		JobId: w.job, Epoch: w.epoch, Attempt: w.attempt, CheckpointId: checkpoint, Scope: shared, Length: proto.Uint64(uint64(size)),
	}}})
	for chunk := range slices.Chunk(make([]byte, size), data.MaxChunk) {
		_ = stream.Send(&ckptdv1.PutStateRequest{Part: &ckptdv1.PutStateRequest_Chunk{Chunk: chunk}})
	}
	_, err = stream.CloseAndReceive()
	return err
}

// TestLargestStateInMemory: a piece of the limit's size is stored, one byte more is refused with Flink's words:
// announced or not, as a file or inline. The refused piece leaves nothing behind.
func TestLargestStateInMemory(t *testing.T) {
	t.Parallel()
	d, memory := memoryDaemon(t, newRoot(), 64<<20)
	begin := func(job string, limit uint64) (*worker, uint64) {
		w := oneWorker(t, d, job, func(c *ckptdv1.JobConfig) { inJobManager(c); c.MaxStateSize = limit })
		go func() { _ = d.trigger(t.Context(), job) }()
		return w, w.triggered()
	}
	refused := func(t *testing.T, err error, size, limit int) {
		t.Helper()
		wantRefused(t, err, ckptdv1.Refused_REASON_STATE_TOO_LARGE)
		wantCode(t, err, connect.CodeResourceExhausted, fmt.Sprintf("larger than the maximum permitted memory-backed state: size=%d, maxSize=%d", size, limit))
	}
	t.Run("FS-27 the default", func(t *testing.T) {
		const limit = 5 << 20
		w, id := begin("default", 0)
		if err := w.putSized(id, limit); err != nil {
			t.Error("of the limit's size:", err)
		}
		before, _ := memory.Usage()
		refused(t, w.putSized(id, limit+1), limit+1, limit)
		_, err := w.putAt(d, shared, id, strings.Repeat("x", limit+1))
		wantRefused(t, err, ckptdv1.Refused_REASON_STATE_TOO_LARGE)
		eventually(t, "the refused file's room", func() bool { after, _ := memory.Usage(); return after == before })
	})
	t.Run("FS-27 another", func(t *testing.T) {
		w, id := begin("small", 100)
		w.put(shared, id, strings.Repeat("x", 100))
		refused(t, w.putSized(id, 101), 101, 100)
		refused(t, w.ack(id, inline("n", strings.Repeat("x", 101))), 101, 100)
		w.mustAck(id, inline("n", strings.Repeat("x", 100)))
	})
}

// TestMemoryIsBounded: what would exceed the bound of the daemon is refused with the cause. The checkpoint fails and is
// counted. What a newer checkpoint makes unnecessary frees its room. Streams that race for the last bytes never exceed it.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	d, memory := memoryDaemon(t, newRoot(), limit)
	w := oneWorker(t, d, "j", func(c *ckptdv1.JobConfig) { inJobManager(c); c.TolerableFailedCheckpoints = 5 })
	large := strings.Repeat("x", limit/2)
	w.checkpoint(w.fileOf(large))
	go func() { _ = d.trigger(t.Context(), "j") }()
	id := w.triggered()
	err := w.putSized(id, limit/2)
	wantCode(t, err, connect.CodeResourceExhausted, "the memory for state is full", "bytes are needed")
	if _, err := d.engineService().Decline(t.Context(), &ckptdv1.DeclineRequest{
		JobId: "j", Epoch: w.epoch, Attempt: w.attempt, CheckpointId: id, Subtasks: w.subtasks, Reason: "IO_EXCEPTION", Cause: err.Error(),
	}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the failed checkpoint is counted", func() bool {
		s := d.status(t, "j")
		return s.GetConsecutiveFailures() == 1 && strings.Contains(happened(s, ckptdv1.JobEventKind_JOB_EVENT_KIND_ABORTED), "the memory for state is full")
	})
	w.checkpoint(inlineState) // the large file is not needed any more
	eventually(t, "the room of the subsumed checkpoint", func() bool { used, _ := memory.Usage(); return used < limit/4 })
	w.checkpoint(w.fileOf(large))

	go func() { _ = d.trigger(t.Context(), "j") }()
	id = w.triggered()
	var group sync.WaitGroup
	won := make([]bool, 24)
	for i := range won {
		group.Go(func() {
			err := w.putSized(id, limit/16)
			if won[i] = err == nil; !won[i] && connect.CodeOf(err) != connect.CodeResourceExhausted {
				t.Error(err)
			}
		})
	}
	group.Wait()
	used, _ := memory.Usage()
	if n := len(slices.DeleteFunc(won, func(w bool) bool { return !w })); n == 0 || n > 8 || used > limit {
		t.Errorf("%d of the streams were stored, %d of %d bytes are taken", n, used, limit)
	}
	cfg := defaultConfig(0)
	inJobManager(cfg)
	if used+64<<10 > limit {
		_, err = d.engineService().AttachJob(t.Context(), &ckptdv1.AttachJobRequest{JobId: "more", Plan: onePlan(), Config: cfg})
		wantCode(t, err, connect.CodeResourceExhausted, "job more: the memory for state is full")
	}
}

// TestNoJobMovesToAnotherStorage: a job stays where it began; only when it has ended in memory, its id is free for the root.
func TestNoJobMovesToAnotherStorage(t *testing.T) {
	t.Parallel()
	root := newRoot()
	d, _ := memoryDaemon(t, root, 1<<20)
	disk, memory := defaultConfig(0), defaultConfig(0)
	inJobManager(memory)
	attach := func(id string, cfg *ckptdv1.JobConfig) error {
		_, err := d.engineService().AttachJob(t.Context(), &ckptdv1.AttachJobRequest{JobId: id, Plan: onePlan(), Config: cfg})
		return err
	}
	refused := func(err error, inEffect, asked string) {
		t.Helper()
		wantRefused(t, err, ckptdv1.Refused_REASON_CONFIG_MISMATCH)
		want := &ckptdv1.Difference{Key: "execution.checkpointing.storage", InEffect: inEffect, Asked: asked}
		if r := detail[*ckptdv1.Refused](err); len(r.GetDifferences()) != 1 || !proto.Equal(r.GetDifferences()[0], want) || !strings.Contains(err.Error(), "begin a new job id") {
			t.Errorf("%v with %v, want %v", err, r, want)
		}
	}
	if err := errors.Join(attach("disk", disk), attach("memory", memory)); err != nil {
		t.Fatal(err)
	}
	refused(attach("disk", memory), "filesystem", "jobmanager")
	refused(attach("memory", disk), "jobmanager", "filesystem")
	if err := errors.Join(attach("disk", nil), attach("memory", nil), attach("memory", memory)); err != nil {
		t.Error("attached as they are:", err)
	}
	d.cancel(t, "disk")
	d.cancel(t, "memory")
	d.waitReleased(t)
	refused(attach("disk", memory), "filesystem", "jobmanager")
	wantRefused(t, attach("memory", memory), ckptdv1.Refused_REASON_JOB_TERMINAL)
	if err := attach("memory", disk); err != nil {
		t.Error("a new job below the root, after the one in memory has ended:", err)
	}
	if keys := objects(t, root.Store); !slices.ContainsFunc(keys, func(k string) bool { return strings.HasPrefix(k, "memory/_journal/") }) {
		t.Errorf("the root holds %q, want the journal of the new job", keys)
	}

	without := startDaemon(t, newRoot(), "")
	_, err := without.engineService().AttachJob(t.Context(), &ckptdv1.AttachJobRequest{JobId: "j", Plan: onePlan(), Config: memory})
	wantCode(t, err, connect.CodeFailedPrecondition, "execution.checkpointing.storage is jobmanager, and this daemon keeps no state in memory")
}

// TestStorageOfTheDaemonsDefault: a job that names no storage gets the daemon's; one that exists keeps its own.
func TestStorageOfTheDaemonsDefault(t *testing.T) {
	t.Parallel()
	root := newRoot()
	m, memory := memoryOf(1 << 20)
	startDaemon(t, root, "").attach(t, "old", onePlan(), nil)
	d := startDaemonWith(t, root, "", service.Options{Memory: m, JobDefaults: &ckptdv1.JobConfig{Storage: ckptdv1.Storage_STORAGE_JOBMANAGER}})
	d.attach(t, "new", onePlan(), nil)
	if !memory.Holds("new") || memory.Holds("old") {
		t.Errorf("the memory holds %q", objects(t, memory))
	}
	d.attach(t, "disk", onePlan(), func(c *ckptdv1.JobConfig) { c.Storage = ckptdv1.Storage_STORAGE_FILESYSTEM })
	if memory.Holds("disk") {
		t.Error("a job that asks for filesystem is in memory")
	}
}

// TestWorkersOfOneAttemptHaveOneDaemon: two daemons of one root have each a job of this id in memory. An attempt starts only where
// all subtasks have registered, so the workers of one attempt are never split.
func TestWorkersOfOneAttemptHaveOneDaemon(t *testing.T) {
	t.Parallel()
	root := newRoot()
	a, _ := memoryDaemon(t, root, 1<<20)
	b, _ := memoryDaemon(t, root, 1<<20)
	a.attach(t, "j", twoPlan(), inJobManager)
	one, two := a.register(t, "j", "one", 0, subtask("source")), a.register(t, "j", "two", 0, subtask("sink"))
	one.begin()
	two.begin()
	one.leave() // it reaches only the other daemon
	b.attach(t, "j", twoPlan(), inJobManager)
	moved := b.register(t, "j", "one", one.attempt, subtask("source"))
	eventually(t, "the daemon that one worker came to waits for the other", func() bool {
		s := b.status(t, "j")
		return s.GetSubtasksMissing() == 1 && len(s.GetWorkers()) == 1
	})
	if _, err := a.jobService().TriggerCheckpoint(t.Context(), &ckptdv1.TriggerCheckpointRequest{JobId: "j"}); err == nil {
		t.Error("the first daemon completes a checkpoint without one of its workers")
	}
	if len(moved.commands) != 0 {
		t.Errorf("the worker that moved is told %v, want nothing before all have come", <-moved.commands)
	}
	two.leave()
	both := b.register(t, "j", "two", two.attempt, subtask("sink"))
	if x, y := moved.begin(), both.begin(); x.GetAttempt() != y.GetAttempt() || x.GetAttempt() <= one.attempt {
		t.Errorf("attempts %d and %d, want one above %d", x.GetAttempt(), y.GetAttempt(), one.attempt)
	}
}

// TestEndedJobsInMemoryDoNotLeak: of the jobs that have ended, the last entries of some stay; nothing else does.
func TestEndedJobsInMemoryDoNotLeak(t *testing.T) {
	t.Parallel()
	many := 1200
	if os.Getenv("CKPTD_NIGHTLY") != "" {
		many = 10_000
	}
	d, memory := memoryDaemon(t, newRoot(), 16<<20)
	var group sync.WaitGroup
	for part := range 4 {
		group.Go(func() {
			for i := part; i < many; i += 4 {
				id := fmt.Sprint("job-", i)
				d.attach(t, id, onePlan(), inJobManager)
				d.cancel(t, id)
			}
		})
	}
	group.Wait()
	d.waitReleased(t)
	if keys := objects(t, memory); len(keys) != 1000 {
		t.Errorf("%d objects are left, want the last entries of 1000 jobs", len(keys))
	}
	if used, _ := memory.Usage(); used > 2<<20 {
		t.Errorf("%d bytes are left", used)
	}
}

// TestSavepointOfAJobInMemory: a savepoint goes to a real store, which is the way out of the memory: another daemon's job, in
// memory or below a root, begins from it.
func TestSavepointOfAJobInMemory(t *testing.T) {
	t.Parallel()
	root, far := newRoot(), newRoot()
	m, _ := memoryOf(1 << 20)
	d := startDaemonWith(t, root, "", service.Options{Memory: m, Savepoints: farSavepoints(far)})
	w := oneWorker(t, d, "a", inJobManager)
	w.checkpoint(w.fileOf("abc"))
	_, err := d.savepoints().TriggerSavepoint(t.Context(), &ckptdv1.TriggerSavepointRequest{JobId: "a", Directory: root.Facts.Location + "/a/savepoints"})
	wantCode(t, err, connect.CodeInvalidArgument, "lies in the daemon's root, which holds nothing of a job in memory")
	saved := d.savepoint(t, "a", "r")
	id := w.triggered()
	n, err := w.ask(id, "i", "f", "abc")
	if n == 0 || err != nil {
		t.Fatalf("the file in memory is known as %d, %v", n, err)
	}
	w.mustAck(id, known("f", n))
	eventually(t, "the savepoint", func() bool { return d.outcome(t, "a", id) == done })
	holdsNothing(t, root)
	d.kill()

	for _, c := range []struct { // in this order: the last one disposes of the savepoint
		name   string
		change func(*ckptdv1.AttachJobRequest)
	}{
		{"in memory, NO_CLAIM", func(r *ckptdv1.AttachJobRequest) { inJobManager(r.GetConfig()) }},
		{"below the root, NO_CLAIM", func(*ckptdv1.AttachJobRequest) {}},
		{"in memory, CLAIM", func(r *ckptdv1.AttachJobRequest) { inJobManager(r.GetConfig()); claiming(r) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := objects(t, far.Store)
			root := newRoot()
			m, memory := memoryOf(1 << 20)
			d := startDaemonWith(t, root, "", service.Options{Memory: m, Savepoints: farSavepoints(far), Elsewhere: farFolder(far)})
			req := restoreRequest("b", saved.GetPath())
			c.change(req)
			b, start := begun(t, d, req)
			if got := b.restored(start.GetAttempt()); got != "abc" || start.GetRestoreCheckpointId() <= id {
				t.Errorf("it restores checkpoint %d with %q, want one above %d", start.GetRestoreCheckpointId(), got, id)
			}
			if in := strings.HasPrefix(c.name, "in memory"); memory.Holds("b") != in || (len(objects(t, root.Store)) == 0) != in {
				t.Errorf("in memory: %v; the root holds %q", memory.Holds("b"), objects(t, root.Store))
			}
			if req.GetClaimMode() != ckptdv1.ClaimMode_CLAIM_MODE_CLAIM {
				if after := objects(t, far.Store); !slices.Equal(after, before) {
					t.Errorf("the savepoint is %q, was %q", after, before)
				}
				return
			}
			b.checkpoint(inlineState)
			eventually(t, "the end of the claimed savepoint", func() bool { return len(objects(t, far.Store)) == 0 })
		})
	}
}

// TestRestoreIntoMemory: a job in memory begins from a checkpoint below the daemon's root, whose files are copied and count for
// the bound; from a job in the same memory it borrows. A job below the root begins from no job in memory.
func TestRestoreIntoMemory(t *testing.T) {
	t.Parallel()
	root := newRoot()
	root.Facts.Location = "mem://root" // as a real one
	d, memory := memoryDaemon(t, root, 1<<20)
	large := strings.Repeat("x", 100_000)
	disk := oneWorker(t, d, "disk", nil)
	id := disk.checkpoint(disk.fileOf(large))
	for name, from := range map[string]string{
		"by name": fmt.Sprintf("disk/chk-%d", id), "by URL": fmt.Sprintf("%s/disk/chk-%d", root.Facts.Location, id), "the latest": "disk/latest",
	} {
		t.Run(name, func(t *testing.T) {
			job := strings.ReplaceAll(name, " ", "-")
			before, _ := memory.Usage()
			req := restoreRequest(job, from)
			inJobManager(req.GetConfig())
			w, start := begun(t, d, req)
			if got := w.restored(start.GetAttempt()); got != large {
				t.Errorf("%d bytes are restored, want %d", len(got), len(large))
			}
			if used, _ := memory.Usage(); used < before+int64(len(large)) {
				t.Errorf("%d bytes are taken, were %d: the copy does not count", used, before)
			}
			if _, err := d.engineService().AttachJob(t.Context(), req); err != nil {
				t.Error("attach again:", err)
			}
			if pins := head(t, root, "disk").Lent; len(pins) != 0 {
				t.Errorf("the root's job lends %v to one in memory", pins)
			}
		})
	}
	refused := func(job, from string, change func(*ckptdv1.AttachJobRequest), words ...string) {
		t.Helper()
		req := restoreRequest(job, from)
		change(req)
		_, err := d.engineService().AttachJob(t.Context(), req)
		if err == nil {
			t.Fatalf("%s from %s is not refused, want %q", job, from, words)
		}
		wantCode(t, err, connect.CodeOf(err), words...)
	}
	into := func(r *ckptdv1.AttachJobRequest) { inJobManager(r.GetConfig()) }
	refused("r1", "by-name/chk-1", func(*ckptdv1.AttachJobRequest) {}, "job by-name is in the memory of this daemon", "ckptd savepoint by-name DIR")
	refused("r2", "name=clicks", into, "`ckptd latest` prints its name")
	refused("r3", fmt.Sprintf("disk/chk-%d", id), func(r *ckptdv1.AttachJobRequest) { into(r); claiming(r) }, "its files are copied, so nothing there can be claimed: use NO_CLAIM")
	refused("r4", "disk/chk-77", into, "job disk does not retain chk-77")
	refused("r5", "nojob/chk-1", into, "job nojob")
	refused("r6", "disk/shared", into, "is no checkpoint: want <job id>/chk-<number>")

	own := oneWorker(t, d, "own", inJobManager)
	from := own.checkpoint(own.fileOf("small"))
	req := restoreRequest("heir", fmt.Sprintf("own/chk-%d", from))
	inJobManager(req.GetConfig())
	w, start := begun(t, d, req)
	if got := d.status(t, "own"); got.GetSummary().GetRetained() != 1 || start.GetRestoreCheckpointId() <= from {
		t.Errorf("job own is %v, its heir restores %d", got, start.GetRestoreCheckpointId())
	}
	w.checkpoint(inlineState)

	tight, small := memoryDaemon(t, root, 100_000)
	req = restoreRequest("tight", fmt.Sprintf("disk/chk-%d", id))
	inJobManager(req.GetConfig())
	if _, err := tight.engineService().AttachJob(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	used, limit := small.Usage()
	if phase := tight.status(t, "tight").GetPhase(); phase != ckptdv1.JobPhase_JOB_PHASE_IMPORTING || used > limit {
		t.Errorf("a copy that does not fit: %v, %d of %d bytes; want that it waits for room", phase, used, limit)
	}
}

// begun attaches a job with a request, and begins its first attempt.
func begun(t testing.TB, d *daemon, req *ckptdv1.AttachJobRequest) (*worker, *ckptdv1.Start) {
	t.Helper()
	if _, err := d.engineService().AttachJob(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	w := d.register(t, req.GetJobId(), "w-"+req.GetJobId(), 0, subtask("count"))
	return w, w.begin()
}

// farFolder opens savepoints that farSavepoints wrote.
func farFolder(store storage.Opened) shell.OpenElsewhere {
	return func(_ context.Context, text string) (*shell.Elsewhere, error) {
		folder := path.Base(text)
		return &shell.Elsewhere{
			From: copying.Place{Store: store.Store, Opened: store, Facts: store.Facts}, URL: text, Metadata: folder + "/" + layout.MetadataName,
			Locate: func(f *layout.File, _ layout.Header) string { return folder + "/" + f.Key }, Close: func() error { return nil },
		}, nil
	}
}
