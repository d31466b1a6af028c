package owner

import (
	"fmt"
	"slices"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// maxJobs is how many jobs a world may have.
const maxJobs = 3

var jobNames = [maxJobs]string{"job", "second", "third"}

// jobs is a world of several jobs. Each has daemons and folders of its own. An owner of one appends to the journal of
// another.
type jobs struct {
	family *family
	of     [maxJobs]*world
	n      int
	// stepped are the jobs that the last step has changed.
	stepped [maxJobs]bool
	bad     string
}

// family is a configuration of the search with several jobs. The first exists at the beginning, with a checkpoint and an
// owner at rest, or has ended. Each of the others begins from a checkpoint of the one before it, or of the first.
type family struct {
	name    string
	stories []story
}

func (f *family) prepare() {
	for i := range f.stories {
		s := &f.stories[i]
		s.job = i
		switch {
		case s.elsewhere:
			s.fresh, s.source = true, journal.Import{State: journal.ImportWanted, Source: "s3://elsewhere/other/chk-1"}
		case i == 0:
			s.begun = true
		default:
			s.fresh = true
			s.source = journal.Import{State: journal.ImportWanted, Job: jobNames[i-1]}
			if s.fromFirst {
				s.source.Job = jobNames[0]
			}
			if s.claims {
				s.source.Mode = journal.Claim
			}
		}
		s.prepare()
	}
}

func (f *family) start() *jobs {
	j := &jobs{family: f, n: len(f.stories)}
	for i := range f.stories {
		j.of[i] = f.stories[i].start()
	}
	if f.stories[0].ended || f.stories[0].elsewhere {
		return j
	}
	r := &runner{s: &f.stories[0], jobs: j}
	w := *j.of[0]
	r.run(&w, 0, Event{Kind: EventAttach})
	for len(w.flight) > 0 {
		n := w
		r.fly(&n, 0, func(x *world, m move) {
			if m.what == "land" || m.what == "done" || m.what == "reply" { // unreduced, a write lands before its reply
				w = *x
			}
		})
	}
	j.of[0] = &w
	return j
}

func (j *jobs) key(b []byte) []byte {
	for i := range j.n {
		b = j.of[i].key(b)
	}
	return b
}

// searchFamily is search with several jobs.
func searchFamily(f *family, lim limits) result {
	f.prepare()
	return searchAll(space[jobs]{
		start: f.start,
		walker: func() (func(*jobs, func(*jobs, move)), func(*jobs)) {
			// rest looks ahead in the middle of an expansion, so it has runners of its own.
			expand, ahead := f.expander(), f.expander()
			return expand, func(j *jobs) { f.rest(j, ahead) }
		},
		check: f.check,
		key:   (*jobs).key,
		bad:   func(j *jobs) string { return j.bad },
	}, lim)
}

// expander makes an expand of runners of its own.
func (f *family) expander() func(*jobs, func(*jobs, move)) {
	runners := make([]runner, len(f.stories))
	for i := range runners {
		runners[i].s = &f.stories[i]
	}
	return func(j *jobs, visit func(*jobs, move)) { f.expand(j, runners, visit) }
}

func (f *family) expand(j *jobs, runners []runner, visit func(*jobs, move)) {
	for i := range f.stories {
		r := &runners[i]
		r.jobs, r.touched = j, [maxJobs]*world{}
		r.expand(j.of[i], func(w *world, m move) {
			n, kept := *j, *w
			n.of[i], n.stepped = &kept, [maxJobs]bool{}
			n.stepped[i] = true
			for k, c := range r.touched {
				if c != nil {
					n.of[k], n.stepped[k] = c, true
				}
			}
			m.job = jobNames[i] + " "
			visit(&n, m)
		})
	}
}

// check is called after every step.
func (f *family) check(j *jobs) {
	for i := range f.stories {
		w := *j.of[i]
		if w.bad == "" && j.stepped[i] {
			f.stories[i].check(&w)
		}
		if w.bad != "" {
			j.bad = jobNames[i] + ": " + w.bad
			return
		}
		j.of[i] = &w
		j.borrows(i)
	}
}

// borrows checks I9: the foreign files that each retained checkpoint names, and those that are promised, are there, and a
// pin through which they are reachable is in both journals.
func (j *jobs) borrows(i int) {
	w := j.of[i]
	head := w.head()
	for _, c := range head.Retained {
		if m := w.meta(c.ID); m >= 0 && (c.State != journal.StateHidden || head.IsLent(c.ID)) {
			j.reaches(i, fmt.Sprintf("checkpoint %d", c.ID), w.metas[m].foreign)
		}
	}
	if owner := w.trueOwner(); owner >= 0 {
		j.reaches(i, "a promise", foreignBits(w.d[owner].m.promised()))
	}
}

func (j *jobs) reaches(i int, what string, foreign [maxJobs]uint64) {
	for k, files := range foreign {
		if files == 0 {
			continue
		}
		lender := j.of[k]
		switch {
		case files&^lender.files != 0:
			j.bad = fmt.Sprintf("I9: %s, %s: files %b of %s are not there", jobNames[i], what, files&^lender.files, jobNames[k])
		case files&lender.doomed != 0:
			j.bad = fmt.Sprintf("I9: %s, %s: the delete of files %b of %s was issued", jobNames[i], what, files&lender.doomed, jobNames[k])
		case !slices.ContainsFunc(j.of[i].head().Borrowed, func(b journal.Borrowed) bool { return b.Job == jobNames[k] && lender.head().HasLent(b.Pin) }):
			j.bad = fmt.Sprintf("I9: %s, %s: no pin leads to the files %b of %s", jobNames[i], what, files, jobNames[k])
		}
	}
}

// uses tells whether a job needs its pin on a checkpoint of job k: it retains its import, or a checkpoint that names files
// of that job.
func (w *world) uses(k int) bool {
	return slices.ContainsFunc(w.head().Retained, func(c journal.Checkpoint) bool {
		m := w.meta(c.ID)
		return c.Imported || m >= 0 && w.metas[m].foreign[k] != 0
	})
}

// rest checks a world in which nothing more can happen: each import is done or has failed, each pin has a use, and of a job
// that has ended nothing is left that its journal does not show.
func (f *family) rest(j *jobs, expand func(*jobs, func(*jobs, move))) {
	moves := 0
	if j.bad == "" {
		expand(j, func(*jobs, move) { moves++ })
	}
	if moves > 0 || j.bad != "" {
		return
	}
	for i := range f.stories {
		w := j.of[i]
		head := w.head()
		if left := w.files &^ w.named(head) &^ w.afterList; f.stories[i].ended && head.Owner.IsZero() && !head.Due() && left != 0 {
			j.bad = fmt.Sprintf("I4: %s has ended, nothing of it is due, and files %b are there", jobNames[i], left)
		}
		owner := w.trueOwner()
		if owner < 0 {
			continue
		}
		if head.Importing() {
			j.bad = jobNames[i] + ": at rest, and the import is neither done nor failed"
		}
		for _, b := range head.Borrowed {
			if !w.uses(number(b.Job)) {
				j.bad = fmt.Sprintf("%s: at rest, and its pin %v has no use", jobNames[i], b.Pin)
			}
		}
		if w.d[owner].m.owes() {
			j.bad = jobNames[i] + ": at rest, and pins are still to be returned"
		}
	}
}

// releasedPins checks that a job that was released has returned the pins that its last owner took and nothing needs.
func (r *runner) releasedPins(w *world) {
	head := w.head()
	if r.jobs == nil {
		return
	}
	for k := range r.jobs.n {
		for _, l := range r.peer(k).head().Lent {
			if l.Holder == r.s.id() && l.HolderEpoch == head.Epoch && !w.uses(k) {
				w.fail(fmt.Sprintf("released, and its pin on checkpoint %d of %s was not returned", l.Checkpoint, jobNames[k]))
			}
		}
	}
	for _, b := range head.Borrowed {
		if !w.uses(number(b.Job)) {
			w.fail("released, and its journal still lists pins that nothing needs")
		}
	}
}

// abroadFiles is where the numbers of foreign files begin: those of job k lie from (k+1)*abroadFiles on.
const abroadFiles = 64

// foreignBits is the foreign files of a set, by job.
func foreignBits(files incremental.Files) (bits [maxJobs]uint64) {
	for f := range files.All() {
		if f >= abroadFiles {
			bits[f/abroadFiles-1] |= 1 << (f % abroadFiles)
		}
	}
	return bits
}

// foreignSets is the inverse of foreignBits.
func foreignSets(bits [maxJobs]uint64) (all []Foreign) {
	for k, files := range bits {
		var b incremental.Builder[incremental.File]
		for f := range incremental.File(abroadFiles) {
			if files&(1<<f) != 0 {
				b.Add(incremental.File(k+1)*abroadFiles + f)
			}
		}
		if files != 0 {
			all = append(all, Foreign{jobNames[k], b.Set()})
		}
	}
	return all
}

// attaches calls attach with each way to begin the job: nil, or from each checkpoint that the source's job keeps now. The
// second job begins from the first checkpoint, whether it is still there or not.
func (r *runner) attaches(w *world, attach func(*Creation)) {
	switch {
	case r.s.source.Job == "" && !r.s.elsewhere || w.head().Slot > 0:
		attach(nil)
		return
	case r.s.job == 1 || r.s.elsewhere:
		attach(r.begins(journal.Checkpoint{ID: 1, Nonce: journal.Nonce{Process: journal.Process{9}, Count: 1}}))
		return
	}
	for _, c := range r.peer(number(r.s.source.Job)).head().Retained {
		if c.State == journal.StateKept {
			attach(r.begins(c))
		}
	}
}

func (r *runner) begins(c journal.Checkpoint) *Creation {
	create := r.s.creation(r.s.plan())
	create.Import = r.s.source
	create.Import.Checkpoint, create.Import.Nonce = c.ID, c.Nonce
	return create
}

// owes is the machine's own view, with all rules on.
func (m *Machine) owes() bool { return (&step{Machine: m, cfg: &Config{}}).owes() }

// number is the number of a job.
func number(job string) int { return slices.Index(jobNames[:], job) }

// at is the world in which an operation takes place: another job's, if it is an OpAbroad.
func (r *runner) at(n *world, f *flight) *world {
	if f.kind == OpAbroad {
		return r.peer(int(f.job))
	}
	return n
}

func (r *runner) peer(job int) *world {
	if c := r.touched[job]; c != nil {
		return c
	}
	return r.jobs.of[job]
}

// abroad begins an operation on the journal of another job. Reads happen at once, unless the story is unreduced. In a
// world of one job, the head of the other job cannot be read.
func (r *runner) abroad(w *world, d *daemon, op *Op, f flight) {
	f.jk, f.id, f.entry = op.Journal.Kind, op.Journal.Slot, op.Journal.Entry
	switch read := f.jk != journal.OpPublish; {
	case r.jobs == nil:
		res := op.Result(journal.Done)
		if res.Slots = []uint64{1}; f.jk == journal.OpGet {
			res.Outcome = journal.Corrupt
		}
		r.events = append(r.events, Event{Kind: EventResult, Result: res})
	case r.s.blind && f.jk == journal.OpList && d.m.errand.kind == errandLook && !d.m.errand.app.Busy():
		r.events = append(r.events, Event{Kind: EventResult, Result: op.Result(journal.Done)})
	case number(op.Job) >= r.jobs.n:
		w.fail("an errand to a job that is none: " + op.Job)
	case read && !r.s.full.split:
		f.job = int8(number(op.Job))
		r.events = append(r.events, Event{Kind: EventResult, Result: r.result(w, &f, false)})
	default:
		f.job = int8(number(op.Job))
		w.issue(f)
	}
}

// publishAbroad lands an entry in the journal of another job.
func (r *runner) publishAbroad(f *flight) journal.Outcome {
	n := *r.peer(int(f.job))
	was := n.head()
	outcome := r.jobs.family.stories[f.job].publish(&n, f.entry)
	r.disposed(&n, was)
	r.touched[f.job] = &n
	return outcome
}

// disposed checks that a job lets a claimed checkpoint go only after it has completed one of its own.
func (r *runner) disposed(w *world, was *journal.Entry) {
	for _, l := range was.Lent {
		if l.Mode != journal.Claim || w.head().HasLent(l.Pin) {
			continue
		}
		before, _ := was.Checkpoint(l.Checkpoint)
		after, stays := w.head().Checkpoint(l.Checkpoint)
		if stays && (after.State == before.State || after.State != journal.StateHidden) {
			continue
		}
		own := func(e *journal.Entry) bool { return e.Kind == journal.KindCommit }
		if holder := number(l.Holder); holder >= 0 && !slices.ContainsFunc(r.peer(holder).past, own) {
			w.fail(fmt.Sprintf("disposed: %s lets checkpoint %d go, and has completed none of its own", l.Holder, l.Checkpoint))
		}
	}
}

// readSource reads the _metadata of an import's source.
func (r *runner) readSource(op *Op) Result {
	from := r.jobs.of[number(op.Source.Job)]
	i := from.meta(op.Source.Checkpoint)
	if i < 0 {
		return op.Result(journal.NotFound)
	}
	res := op.Result(journal.Done)
	res.Nonce = from.metas[i].nonce
	for k, files := range from.metas[i].foreign {
		if files != 0 {
			res.Jobs = append(res.Jobs, jobNames[k])
		}
	}
	return res
}

// createImport begins to write the _metadata of an import: it names the files that the source's names.
func (r *runner) createImport(w *world, op *Op, f flight) {
	if r.s.elsewhere { // the files are copied first
		f.imported, f.files = true, 0
		for i := range r.s.files {
			f.files |= r.s.file(op.ID, i)
		}
		w.files, w.created, w.epochs[op.ID] = w.files|f.files&^w.created, w.created|f.files, uint8(op.Epoch)
		w.issue(f)
		return
	}
	k := number(op.Source.Job)
	from := r.jobs.of[k]
	i := from.meta(op.Source.Checkpoint)
	if i < 0 || from.metas[i].nonce != op.Source.Nonce {
		r.events = append(r.events, Event{Kind: EventResult, Result: op.Result(journal.NotFound)})
		return
	}
	f.imported, f.foreign = true, from.metas[i].foreign
	f.foreign[k] = from.metas[i].files
	w.issue(f)
}

// importFailed ends the job, as the shell does. A source that was lent once stays, but not for an owner that was fenced
// and does not know it.
func (r *runner) importFailed(w *world, d *daemon, op *Op) {
	r.events = append(r.events, Event{Kind: EventEnd, Status: journal.StatusFailed})
	if d.m.head.Epoch != w.head().Epoch || r.s.elsewhere {
		return
	}
	for _, e := range r.jobs.of[number(op.Job)].past {
		if slices.ContainsFunc(e.Lent, func(l journal.Lent) bool { return l.Holder == r.s.id() }) {
			w.fail("an import fails, though its source was lent to the job")
		}
	}
}
