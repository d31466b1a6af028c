package copying_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ckptd/ckptd/crc32c"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/copying"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
	"github.com/ckptd/ckptd/layout/verify"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// world is a source root that a test changes as a running job would.
type world struct {
	t     *testing.T
	store *mem.Store
	heads map[string]*journal.Entry
	n     uint32
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, store: mem.New(), heads: map[string]*journal.Entry{}}
	if _, err := layout.OpenRoot(t.Context(), w.store); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) nonce() journal.Nonce {
	w.n++
	return journal.Nonce{Process: journal.Process{7}, Count: w.n}
}

var operators = []journal.Operator{{ID: "op", Parallelism: 1, MaxParallelism: 128, Triggered: true}}

// edit appends an entry to a job's journal; the first one begins the job.
func (w *world) edit(job string, change func(*journal.Entry)) {
	w.t.Helper()
	next := journal.Entry{Epoch: 1, Kind: journal.KindAttach, Status: journal.StatusRunning, Reserved: 16, Owner: journal.Nonce{Count: 5}, URLs: []string{"http://source"},
		Plan: journal.NewPlan(operators), Config: journal.NewConfig(nil), About: &journal.About{Job: job}}
	base := w.heads[job]
	if base != nil {
		next = *base
	}
	if change != nil {
		change(&next)
	}
	head, verdict, err := journalio.Append(w.t.Context(), w.store, storage.Facts{}, job,
		journalio.Appending{Base: base, Next: next, Nonce: w.nonce(), Role: journal.RoleOwner, Effect: func(*journal.Entry) bool { return false }})
	w.must(err)
	if verdict != journal.Won {
		w.t.Fatalf("verdict %v", verdict)
	}
	w.heads[job] = head
}

// file makes a shared file of a job, and returns what a _metadata says of it.
func (w *world) file(job string, checkpoint uint64, size int) layout.File {
	w.t.Helper()
	name := layout.FileName{Epoch: 1, Checkpoint: checkpoint, Nonce: layout.NewNonce(), Sequence: 1}
	f := layout.File{Key: layout.JobKey{Place: layout.PlaceShared, File: name}.String()}
	data := bytes.Repeat([]byte{byte(size), byte(w.n)}, size)[:size]
	f.Length, f.CRC32C = uint64(size), crc32c.Sum(data)
	w.must(w.store.Publish(w.t.Context(), layout.JobPrefix(job)+f.Key, data))
	return f
}

// checkpoint completes a checkpoint of these files, and drops all but the newest so many.
func (w *world) checkpoint(job string, id uint64, keep int, files ...layout.File) {
	w.t.Helper()
	if w.heads[job] == nil {
		w.edit(job, nil)
	}
	nonce := w.nonce()
	var b bytes.Buffer
	m := layout.NewMetadataWriter(&b, layout.Header{JobID: job, Checkpoint: id, Epoch: w.heads[job].Epoch, Attempt: 1, Nonce: nonce.String()})
	w.must(m.WriteJob(layout.Job{Labels: map[string]string{"name": "a", "team": "b"}}))
	w.must(m.WriteOperator(layout.Operator{ID: "op", Parallelism: 1, MaxParallelism: 128, Triggered: true}))
	s := layout.Subtask{OperatorID: "op"}
	for _, f := range files {
		ref, err := m.WriteFile(f)
		w.must(err)
		s.Handles = append(s.Handles, layout.Handle{File: ref})
	}
	w.must(m.WriteSubtask(s))
	w.must(m.Close())
	w.must(w.store.Publish(w.t.Context(), layout.MetadataKey(job, id), b.Bytes()))
	c := journal.Checkpoint{ID: id, Nonce: nonce, Size: uint64(m.Size()), CRC: m.Sum()}
	w.edit(job, func(e *journal.Entry) {
		e.Kind = journal.KindCommit
		e.Retained = append(slices.Clone(e.Retained), c)
		e.Retained = e.Retained[max(0, len(e.Retained)-keep):]
	})
}

func place(t *testing.T, opened storage.Opened) *copying.Place {
	t.Helper()
	root, err := layout.OpenRoot(t.Context(), opened.Store)
	if err != nil {
		t.Fatal(err)
	}
	return &copying.Place{Store: opened.Store, Opened: opened, Facts: opened.Facts, Root: root}
}

// copyTo copies, and returns the report.
func (w *world) copyTo(to *copying.Place, opts copying.Options) *ckptdv1.CopyReport {
	w.t.Helper()
	report, err := copying.Run(w.t.Context(), place(w.t, w.store.Opened()), to, opts)
	w.must(err)
	return report
}

func keys(t *testing.T, s storage.Store) (all []string) {
	t.Helper()
	for info, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, info.Key)
	}
	slices.Sort(all)
	return all
}

// isWhole verifies every byte of every checkpoint in a root, and returns the checkpoints of each job.
func isWhole(t *testing.T, s storage.Store) map[string][]uint64 {
	t.Helper()
	report, err := verify.Run(t.Context(), s, verify.Options{ReadData: true})
	if err != nil {
		t.Fatal(err)
	}
	if report.GetVerdict() != ckptdv1.VerifyVerdict_VERIFY_VERDICT_WHOLE {
		t.Errorf("the copy is not whole: %v", report)
	}
	all := map[string][]uint64{}
	for _, j := range report.GetJobs() {
		for _, c := range j.GetCheckpoints() {
			all[j.GetJobId()] = append(all[j.GetJobId()], c.GetCheckpointId())
		}
	}
	return all
}

// isTidy checks that a root holds nothing but markers, journals, and what checkpoints name.
func isTidy(t *testing.T, s storage.Store) {
	t.Helper()
	needed := map[string]bool{}
	all := keys(t, s)
	for _, key := range all {
		job, rest, _ := strings.Cut(key, "/")
		if layout.ParseJobKey(rest).Place != layout.PlaceMetadata {
			continue
		}
		needed[key] = true
		body, err := s.Open(t.Context(), key, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		m, err := layout.NewMetadataReader(body)
		for err == nil {
			var rec layout.Record
			if rec, err = m.Next(); err == nil {
				if f, ok := rec.(*layout.File); ok {
					if f.Job != "" {
						t.Errorf("%s names a file of job %s", key, f.Job)
					}
					needed[layout.JobPrefix(job)+f.Key] = true
				}
			}
		}
		body.Close()
	}
	for _, key := range all {
		if key != layout.RootMarkerKey && !strings.Contains(key, "/_journal/") && !needed[key] {
			t.Errorf("%s is named by nothing", key)
		}
	}
}

func head(t *testing.T, s storage.Store, job string) *journal.Entry {
	t.Helper()
	e, how, err := journalio.ReadHead(t.Context(), s, storage.Facts{}, job)
	if err != nil || how != journal.ReadDone {
		t.Fatalf("head of %s: %v, %v", job, how, err)
	}
	return e
}

func threeCheckpoints(t *testing.T) (*world, []layout.File) {
	w := newWorld(t)
	files := []layout.File{w.file("a", 1, 1000), w.file("a", 1, 0), w.file("a", 2, 700_000), w.file("a", 3, 30)}
	w.checkpoint("a", 1, 3, files[0], files[1])
	w.checkpoint("a", 2, 3, files[0], files[2])
	w.checkpoint("a", 3, 3, files[0], files[2], files[3])
	return w, files
}

// A second copy moves only what is new, and the target's journal says where the copy comes from.
func TestOnlyWhatTheTargetLacks(t *testing.T) {
	w, files := threeCheckpoints(t)
	to := place(t, mem.Open())
	first := w.copyTo(to, copying.Options{})
	if first.GetFilesCopied() != 4 || first.GetBytesCopied() != 701_030 {
		t.Errorf("the first copy moved %d files of %d bytes, want 4 of 701030", first.GetFilesCopied(), first.GetBytesCopied())
	}
	if first.GetJobs()[0].GetCheckpoints()[0].GetCheckpointId() != 3 {
		t.Error("the newest checkpoint was not copied first")
	}
	if again := w.copyTo(to, copying.Options{}); again.GetFilesCopied() != 0 || head(t, to.Store, "a").Epoch != 1 {
		t.Errorf("a copy of nothing new moved %d files, and made epoch %d", again.GetFilesCopied(), head(t, to.Store, "a").Epoch)
	}
	w.checkpoint("a", 4, 3, files[0], files[2], files[3], w.file("a", 4, 55))
	if second := w.copyTo(to, copying.Options{Job: "a"}); second.GetFilesCopied() != 1 || second.GetBytesCopied() != 55 {
		t.Errorf("the second copy moved %d files of %d bytes, want 1 of 55", second.GetFilesCopied(), second.GetBytesCopied())
	}
	e := head(t, to.Store, "a")
	from := place(t, w.store.Opened()).Root.ID
	if e.Status != journal.StatusCopied || e.CopiedFrom != (journal.Origin{RootID: from, Job: "a"}) || !e.Owner.IsZero() || e.Epoch != 2 || e.Reserved < 16 {
		t.Errorf("head %+v", e)
	}
	if got := isWhole(t, to.Store)["a"]; !slices.Equal(got, []uint64{1, 2, 3, 4}) {
		t.Errorf("the copy has %v", got)
	}
	isTidy(t, to.Store)
}

// Files that another job lends get a place in the copy's own folder, the same one for every checkpoint.
func TestLentFilesBecomeOwn(t *testing.T) {
	for _, selfContained := range []bool{false, true} {
		t.Run(fmt.Sprintf("self-contained %t", selfContained), func(t *testing.T) {
			w := newWorld(t)
			lent, own := w.file("lender", 9, 300), w.file("b", 10, 40)
			w.checkpoint("lender", 9, 1, lent)
			lent.Job = "lender"
			w.checkpoint("b", 10, 2, lent, own)
			w.edit("b", func(e *journal.Entry) {
				e.Borrowed = []journal.Borrowed{{Pin: w.nonce(), Job: "lender", Checkpoint: 9}}
				e.Retained = slices.Clone(e.Retained)
				e.Retained[0].Imported = true
			})
			w.checkpoint("b", 11, 2, lent, own)
			to := place(t, mem.Open())
			opts := copying.Options{Job: "b", Wish: copying.Wish{SelfContained: selfContained}}
			report := w.copyTo(to, opts)
			want := uint64(2)
			if selfContained {
				want = 4
			}
			if report.GetFilesCopied() != want || report.GetJobs()[0].GetOutcome() != ckptdv1.CopyOutcome_COPY_OUTCOME_COPIED {
				t.Errorf("%v", report)
			}
			if again := w.copyTo(to, opts); again.GetFilesCopied() != 0 || again.GetJobs()[0].GetOutcome() != ckptdv1.CopyOutcome_COPY_OUTCOME_PRESENT {
				t.Errorf("again: %v", again)
			}
			if e := head(t, to.Store, "b"); len(e.Borrowed)+len(e.Lent) > 0 || e.Retained[0].Imported {
				t.Errorf("head %+v", e)
			}
			isWhole(t, to.Store)
			isTidy(t, to.Store)
			if selfContained {
				for _, key := range keys(t, to.Store) {
					if strings.Contains(key, "/shared/") {
						t.Errorf("%s is shared", key)
					}
				}
			}
			// A copy of the copy, back into a third root.
			back := place(t, mem.Open())
			if _, err := copying.Run(t.Context(), to, back, copying.Options{}); err != nil {
				t.Error(err)
			}
			if got := isWhole(t, back.Store)["b"]; !slices.Equal(got, []uint64{10, 11}) {
				t.Errorf("the copy of the copy has %v", got)
			}
		})
	}
}

// A copier dies at each of its mutations in turn. What is there is whole every time, and the same copy goes on.
func TestKilledAtEachMutation(t *testing.T) {
	synctest.Test(t, testKilledAtEachMutation)
}

func testKilledAtEachMutation(t *testing.T) {
	for n := 0; ; n++ {
		w, _ := threeCheckpoints(t)
		under := mem.New()
		place(t, under.Opened())
		ctx, cancel := context.WithCancel(t.Context())
		left := n
		var faults *mem.Faults
		died := false
		faults = mem.NewFaults(under, func(mem.Mutation) mem.Outcome {
			if left--; left < 0 {
				died = true
				cancel()
				return mem.Failed()
			}
			return mem.Done()
		})
		to := place(t, under.Opened())
		opened := under.Opened()
		opened.Store = faults
		_, err := copying.Run(ctx, place(t, w.store.Opened()), &copying.Place{Store: faults, Opened: opened, Facts: opened.Facts, Root: to.Root}, copying.Options{Parallel: 1})
		cancel()
		if died && !errors.Is(err, context.Canceled) {
			t.Fatalf("mutation %d: %v, want the end of the context", n, err)
		}
		isWhole(t, under)
		asked := 0
		report := w.copyTo(to, copying.Options{Owns: func(context.Context, []string, string, string) bool { asked++; return false }})
		if o := report.GetJobs()[0].GetOutcome(); o != ckptdv1.CopyOutcome_COPY_OUTCOME_COPIED && died && head(t, under, "a").Epoch > 2 {
			t.Errorf("mutation %d: the second run: %v", n, report)
		}
		if got := isWhole(t, under)["a"]; !slices.Equal(got, []uint64{1, 2, 3}) {
			t.Errorf("mutation %d: the copy has %v", n, got)
		}
		if e := head(t, under, "a"); e.CopiedFrom.Unfinished || !e.Owner.IsZero() {
			t.Errorf("mutation %d: head %+v, want the copy ended and released", n, e)
		}
		isTidy(t, under)
		if !died {
			if n < 10 {
				t.Errorf("only %d mutations", n)
			}
			return
		}
	}
}

// The target's store fails at random, loses replies and delays writes: each run either says so or is right.
func TestAFailingTarget(t *testing.T) {
	synctest.Test(t, testAFailingTarget)
}

func testAFailingTarget(t *testing.T) {
	for seed := range uint64(20) {
		w, _ := threeCheckpoints(t)
		under := mem.New()
		root := place(t, under.Opened()).Root
		faults := mem.NewFaults(under, mem.Seeded(seed, mem.Rates{Failed: 0.1, DoneButError: 0.1, Later: 0.1}))
		opened := under.Opened()
		opened.Store = faults
		to := &copying.Place{Store: faults, Opened: opened, Facts: opened.Facts, Root: root}
		owns := func(context.Context, []string, string, string) bool { return false }
		for try := 0; ; try++ {
			if try == 5 {
				faults.SetDecide(nil)
			}
			report, err := copying.Run(t.Context(), place(t, w.store.Opened()), to, copying.Options{Owns: owns})
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			isWhole(t, under)
			if o := report.GetJobs()[0].GetOutcome(); o <= ckptdv1.CopyOutcome_COPY_OUTCOME_COPIED {
				break
			}
			if try > 5 {
				t.Fatalf("seed %d: %v", seed, report)
			}
		}
		faults.Land()
		if got := isWhole(t, under)["a"]; !slices.Equal(got, []uint64{1, 2, 3}) {
			t.Errorf("seed %d: the copy has %v", seed, got)
		}
	}
}

// The source drops a checkpoint while it is copied. Nothing is damaged, and what was copied of it goes.
func TestACheckpointLeavesMeanwhile(t *testing.T) {
	synctest.Test(t, testACheckpointLeavesMeanwhile)
}

func testACheckpointLeavesMeanwhile(t *testing.T) {
	w, files := threeCheckpoints(t)
	to := place(t, mem.Open())
	copied := 0
	report := w.copyTo(to, copying.Options{Parallel: 1, Step: func(step string) {
		if step != copying.StepFile {
			return
		}
		if copied++; copied != 2 {
			return
		}
		w.checkpoint("a", 4, 1, w.file("a", 4, 5))
		w.store.Delete(t.Context(), []string{"a/" + files[2].Key, layout.MetadataKey("a", 3), layout.MetadataKey("a", 2)})
	}})
	for _, c := range report.GetJobs()[0].GetCheckpoints() {
		if c.GetCheckpointId() > 1 && c.GetOutcome() != ckptdv1.CopyOutcome_COPY_OUTCOME_LEFT {
			t.Errorf("%v, want that it left", c)
		}
	}
	isWhole(t, to.Store)
	isTidy(t, to.Store)
	if report.GetFilesDeleted() == 0 {
		t.Error("nothing was deleted")
	}
	if e := head(t, to.Store, "a"); e.CopiedFrom.Unfinished {
		t.Error("the copy has not ended")
	}
}

// --follow keeps the newest, drops what the source dropped, and keeps what a person marked or another job needs.
func TestFollow(t *testing.T) {
	w := newWorld(t)
	shared := w.file("a", 1, 100)
	to := place(t, mem.Open())
	follow := copying.Options{Wish: copying.Wish{Newest: true}}
	for id := uint64(1); id <= 4; id++ {
		w.checkpoint("a", id, 1, shared, w.file("a", id, int(id)))
		w.copyTo(to, follow)
		if got := isWhole(t, to.Store)["a"]; !slices.Equal(got, []uint64{id}) {
			t.Errorf("the copy has %v, want %d", got, id)
		}
		isTidy(t, to.Store)
	}
	base := head(t, to.Store, "a")
	next := *base
	next.Lent = []journal.Lent{{Pin: w.nonce(), Checkpoint: 4, Holder: "b", HolderEpoch: 1}}
	_, verdict, err := journalio.Append(t.Context(), to.Store, to.Facts, "a", journalio.Appending{Base: base, Next: next, Nonce: w.nonce(), Role: journal.RoleThird,
		Effect: func(*journal.Entry) bool { return false }})
	if err != nil || verdict != journal.Won {
		t.Fatal(verdict, err)
	}
	w.checkpoint("a", 5, 1, shared)
	w.copyTo(to, follow)
	if got := isWhole(t, to.Store)["a"]; !slices.Equal(got, []uint64{4, 5}) {
		t.Errorf("the copy has %v, want 4, which is lent, and 5", got)
	}
	if e := head(t, to.Store, "a"); len(e.Lent) != 1 {
		t.Errorf("the copy took a pin away: %+v", e.Lent)
	}
}

// Another owner that answers keeps the copy; one that does not answer is succeeded.
func TestAnOwnerThatAnswersKeepsTheCopy(t *testing.T) {
	synctest.Test(t, testAnOwnerThatAnswersKeepsTheCopy)
}

func testAnOwnerThatAnswersKeepsTheCopy(t *testing.T) {
	w, files := threeCheckpoints(t)
	to := place(t, mem.Open())
	claims := &copying.Claims{}
	var nonce string
	w.copyTo(to, copying.Options{Parallel: 1, Claims: claims, URLs: []string{"http://copier"}, Step: func(step string) {
		if e := head(t, to.Store, "a"); step == copying.StepFile {
			nonce = e.Owner.String()
			if !claims.Owns("a", e.Owner) || claims.Owns("b", e.Owner) || !slices.Equal(e.URLs, []string{"http://copier"}) || !e.CopiedFrom.Unfinished {
				t.Errorf("while it copies: owner %v at %v, unfinished %t", e.Owner, e.URLs, e.CopiedFrom.Unfinished)
			}
		}
	}})
	if n, err := journal.ParseNonce(nonce); err != nil || claims.Owns("a", n) {
		t.Errorf("the copier still answers for %q after its end", nonce)
	}
	base := head(t, to.Store, "a")
	next := *base
	next.Epoch, next.Owner, next.URLs = base.Epoch+1, journal.Nonce{Count: 3}, []string{"http://janitor"}
	if _, verdict, err := journalio.Append(t.Context(), to.Store, to.Facts, "a", journalio.Appending{Base: base, Next: next, Nonce: journal.Nonce{Count: 3}, Role: journal.RoleAttach,
		Effect: func(*journal.Entry) bool { return false }}); verdict != journal.Won {
		t.Fatal(verdict, err)
	}
	w.checkpoint("a", 4, 3, files[0])
	answers := true
	opts := copying.Options{Owns: func(_ context.Context, urls []string, job, nonce string) bool {
		return answers && job == "a" && slices.Equal(urls, []string{"http://janitor"}) && nonce == journal.Nonce{Count: 3}.String()
	}}
	if r := w.copyTo(to, opts); r.GetJobs()[0].GetOutcome() != ckptdv1.CopyOutcome_COPY_OUTCOME_REFUSED || head(t, to.Store, "a").Epoch != next.Epoch {
		t.Errorf("%v", r)
	}
	answers = false
	if r := w.copyTo(to, opts); r.GetJobs()[0].GetOutcome() != ckptdv1.CopyOutcome_COPY_OUTCOME_COPIED || head(t, to.Store, "a").Epoch != next.Epoch+1 {
		t.Errorf("%v", r)
	}
}

// A copier that lost the copy to another owner writes no further entry.
func TestAFencedCopierStops(t *testing.T) {
	synctest.Test(t, testAFencedCopierStops)
}

func testAFencedCopierStops(t *testing.T) {
	w, _ := threeCheckpoints(t)
	to := place(t, mem.Open())
	_, err := copying.Run(t.Context(), place(t, w.store.Opened()), to, copying.Options{Parallel: 1, Step: func(step string) {
		if step != copying.StepMetadata || head(t, to.Store, "a").Epoch > 1 {
			return
		}
		takeOver(t, to, journal.Nonce{Count: 3}, nil)
	}})
	if err != nil {
		t.Fatal(err)
	}
	if e := head(t, to.Store, "a"); e.Owner != (journal.Nonce{Count: 3}) || len(e.Retained) > 0 {
		t.Errorf("head %+v", e)
	}
}

// fencing lets another process take the copy of job a over when the copier lists what it has to tidy.
type fencing struct {
	storage.Store
	fence func()
}

func (f *fencing) List(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
	if prefix == layout.JobPrefix("a") && f.fence != nil {
		f.fence()
		f.fence = nil
	}
	return f.Store.List(ctx, prefix)
}

// TestAFencedCopierDeletesNothing: the next owner may have begun to name what was garbage before.
func TestAFencedCopierDeletesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := threeCheckpoints(t)
		opened := mem.Open()
		to := place(t, opened)
		w.copyTo(to, copying.Options{})
		name := layout.FileName{Epoch: 1, Checkpoint: 1, Nonce: layout.NewNonce(), Sequence: 1}
		garbage := layout.SharedKey("a", name.String())
		w.must(opened.Store.Publish(t.Context(), garbage, []byte("garbage")))
		takeOver(t, to, journal.Nonce{Count: 3}, func(e *journal.Entry) { e.CopiedFrom.Unfinished = true }) // a copy that did not end: the next one tidies
		w.checkpoint("a", 4, 3, w.file("a", 4, 10))
		f := &fencing{Store: opened.Store}
		fenced := false
		opts := copying.Options{Owns: nobody, Step: func(step string) {
			if step == copying.StepCommit { // what is listed from now on is to be tidied
				f.fence = func() { fenced = true; takeOver(t, to, journal.Nonce{Count: 4}, nil) }
			}
		}}
		w.copyTo(&copying.Place{Store: f, Opened: opened, Facts: to.Facts, Root: to.Root}, opts)
		if !fenced {
			t.Fatal("the copier tidied nothing")
		}
		if !slices.Contains(keys(t, opened.Store), garbage) {
			t.Error("the copier deleted after another owner had begun")
		}
	})
}

func nobody(context.Context, []string, string, string) bool { return false }

// takeOver makes another process the owner of the copy of job a.
func takeOver(t *testing.T, to *copying.Place, me journal.Nonce, change func(*journal.Entry)) {
	t.Helper()
	base := head(t, to.Store, "a")
	next := *base
	next.Epoch, next.Owner = base.Epoch+1, me
	if change != nil {
		change(&next)
	}
	if _, verdict, err := journalio.Append(t.Context(), to.Store, to.Facts, "a", journalio.Appending{Base: base, Next: next, Nonce: me, Role: journal.RoleAttach,
		Effect: func(*journal.Entry) bool { return false }}); verdict != journal.Won {
		t.Error(verdict, err)
	}
}
