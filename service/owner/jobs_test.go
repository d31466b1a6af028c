package owner

import (
	"fmt"
	"slices"

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
// owner at rest. Each of the others begins from the first checkpoint of the one before it.
type family struct {
	name    string
	stories []story
}

func (f *family) prepare() {
	for i := range f.stories {
		s := &f.stories[i]
		s.job = i
		if i == 0 {
			s.begun = true
		} else {
			s.fresh = true
			s.source = journal.Import{State: journal.ImportWanted, Job: jobNames[i-1], Checkpoint: 1, Nonce: journal.Nonce{Process: journal.Process{9}, Count: 1}}
		}
		s.prepare()
	}
}

func (f *family) start() *jobs {
	j := &jobs{family: f, n: len(f.stories)}
	for i := range f.stories {
		j.of[i] = f.stories[i].start()
	}
	r := &runner{s: &f.stories[0], jobs: j}
	w := *j.of[0]
	r.run(&w, 0, Event{Kind: EventAttach})
	for len(w.flight) > 0 {
		n := w
		r.fly(&n, 0, func(x *world, m move) {
			if m.what == "done" || m.what == "reply" {
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
			runners := make([]runner, len(f.stories))
			for i := range runners {
				runners[i].s = &f.stories[i]
			}
			expand := func(j *jobs, visit func(*jobs, move)) { f.expand(j, runners, visit) }
			return expand, func(j *jobs) { f.rest(j, expand) }
		},
		check: f.check,
		key:   (*jobs).key,
		bad:   func(j *jobs) string { return j.bad },
	}, lim)
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

// borrows checks I9: the foreign files of each retained checkpoint are there, and a pin through which they are reachable
// is in both journals.
func (j *jobs) borrows(i int) {
	w := j.of[i]
	head := w.head()
	for _, c := range head.Retained {
		m := w.meta(c.ID)
		if m < 0 || c.State == journal.StateHidden && !head.IsLent(c.ID) {
			continue
		}
		for k, files := range w.metas[m].foreign {
			if files == 0 {
				continue
			}
			lender := j.of[k]
			switch {
			case files&^lender.files != 0:
				j.bad = fmt.Sprintf("I9: %s, checkpoint %d: files %b of %s are not there", jobNames[i], c.ID, files&^lender.files, jobNames[k])
			case files&lender.doomed != 0:
				j.bad = fmt.Sprintf("I9: %s, checkpoint %d: the delete of files %b of %s was issued", jobNames[i], c.ID, files&lender.doomed, jobNames[k])
			case !slices.ContainsFunc(head.Borrowed, func(b journal.Borrowed) bool { return b.Job == jobNames[k] && lender.head().HasLent(b.Pin) }):
				j.bad = fmt.Sprintf("I9: %s, checkpoint %d: no pin leads to the files %b of %s", jobNames[i], c.ID, files, jobNames[k])
			}
		}
	}
}

// rest checks a world in which nothing more can happen: each import is done or has failed, and each pin has a use.
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
		owner := w.trueOwner()
		if owner < 0 {
			continue
		}
		head, m := w.head(), &w.d[owner].m
		if head.Importing() {
			j.bad = jobNames[i] + ": at rest, and the import is neither done nor failed"
		}
		for _, b := range head.Borrowed {
			if !slices.ContainsFunc(head.Retained, func(c journal.Checkpoint) bool { return c.Imported }) {
				j.bad = fmt.Sprintf("%s: at rest, and its pin %v has no use", jobNames[i], b.Pin)
			}
		}
		if m.owes() {
			j.bad = jobNames[i] + ": at rest, and pins are still to be returned"
		}
	}
}

// releasedPins checks that a job that was released has returned the pins that its last owner took and nothing needs.
func (r *runner) releasedPins(w *world) {
	head := w.head()
	if r.jobs == nil || slices.ContainsFunc(head.Retained, func(c journal.Checkpoint) bool { return c.Imported }) {
		return
	}
	for k := range r.jobs.n {
		for _, l := range r.peer(k).head().Lent {
			if l.Holder == r.s.id() && l.HolderEpoch == head.Epoch {
				w.fail(fmt.Sprintf("released, and its pin on checkpoint %d of %s was not returned", l.Checkpoint, jobNames[k]))
			}
		}
	}
	if len(head.Borrowed) > 0 {
		w.fail("released, and its journal still lists pins that nothing needs")
	}
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
// world of one job, the other job has no journal.
func (r *runner) abroad(w *world, op *Op, f flight) {
	f.jk, f.id, f.entry = op.Journal.Kind, op.Journal.Slot, op.Journal.Entry
	switch read := f.jk != journal.OpPublish; {
	case r.jobs == nil:
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
	outcome := r.jobs.family.stories[f.job].publish(&n, f.entry)
	r.touched[f.job] = &n
	return outcome
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
	if d.m.head.Epoch != w.head().Epoch {
		return
	}
	for _, e := range r.jobs.of[number(op.Job)].past {
		if slices.ContainsFunc(e.Lent, func(l journal.Lent) bool { return l.Holder == r.s.id() }) {
			w.fail("an import fails, though its source was lent to the job")
		}
	}
}
