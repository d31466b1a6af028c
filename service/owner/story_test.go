package owner

import (
	"cmp"
	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/retention"
	"reflect"
	"unsafe"
)

// story is one configuration of the search: its parties, and how often each kind of event may happen.
type story struct {
	name string
	// daemons that may attach; each has so many attaches, triggers, aborts and sweeps in all its lives.
	daemons                            int
	attaches, triggers, aborts, sweeps uint8
	// janitor: a command attaches, too, and takes over; instead of sweeps while the job runs there are collections.
	janitor bool
	// begins bounds how often BeginSnapshot promises files; 0: no bound.
	begins uint8
	// concurrent bounds how many checkpoints are pending at once; 0: any number.
	concurrent int
	// crashes of daemons, lost replies (of a Publish or a Create), kills of workers, in all.
	crashes, lost, kills uint8
	// ends of the job (canceled) and graceful stops of daemons, in all.
	ends, stops uint8
	// faults bounds crashes and lost replies together, if not 0.
	faults uint8
	// files of state in each checkpoint.
	files int
	// lends and returns of the newest checkpoint by another job, one atomic step each.
	lends, returns uint8
	// tool: what lends is a tool, whose pin expires after half a day.
	tool bool
	// blind: whoever looks for leaked pins sees no journal of the holder at first.
	blind bool
	// refusals: a Publish or a Create is not done, for good (a full disk). failures: a read, a list or a delete fails,
	// or a list is stale.
	refusals, failures uint8
	// failovers of attempts whose workers all run. breaks of a stream between a worker and its owner; both live on.
	failovers, breaks uint8
	// finishes of a subtask in an attempt.
	finishes uint8
	// removes, undeletes and purges are commands of people, days the times that a day passes.
	removes, undeletes, purges, days uint8
	// saves are wishes for savepoints; stopping: they stop the job. maxSavepoints on record; 0 means 2.
	saves uint8
	// periodic: the first savepoint is one that the owner takes by itself. disposals are the savepoints that a shell says it has disposed of.
	periodic  bool
	disposals uint8
	stopping  bool
	// suspends: the graceful stops are those of a person who suspends the job.
	suspends      bool
	maxSavepoints int
	// trash: what is removed, or dropped at the end, stays in the trash for half a day.
	trash bool
	// pages: a sweep's list comes in two pages.
	pages bool
	// zombies: a killed worker comes back beside the process that replaced it. expires: owners stop waiting for
	// registrations.
	zombies, expires bool
	// numRetained checkpoints; 0 means 1.
	numRetained uint32
	// spoiled is the damage to the _metadata of the checkpoint that exists at the beginning.
	spoiled damage
	// squatter: a foreign _metadata lies at the key of the first checkpoint's _metadata.
	squatter bool
	// stale: messages of other epochs, attempts, checkpoints and lives reach each owner in every state.
	stale bool
	// progress: the search checks that from every state the job works again, or ends, once faults have ended.
	progress bool
	// lend: a third party pins the newest checkpoint.
	lend bool
	// workers: two workers are modelled, with one subtask each. If false, the job has one subtask, which runs at once.
	workers bool
	// truthful: an owner that is asked whether it owns the job answers. If false, no owner answers, as if suspended.
	truthful bool
	// retains is the policy for the checkpoints of a canceled job.
	retains retention.Policy
	// callers ask for the job, each once and at any time. fresh: the job does not exist at the beginning.
	callers []asker
	fresh   bool
	// begun: the job has a checkpoint at the beginning.
	begun bool
	// source is the checkpoint of another job that the job begins from. claims: it claims it. fromFirst: it is one of the
	// first job, not of the one before. ended: the job has ended and was released at the beginning.
	source journal.Import
	// elsewhere: the job begins from a checkpoint of another root.
	elsewhere                bool
	claims, fromFirst, ended bool
	// job is the number of this job among several.
	job int
	// reserve: checkpoint ids reserved ahead; 0 means 2.
	reserve uint64
	// ring of nonces; 0 means 2. keep slots beside the head.
	ring int
	keep uint64
	// distrust: the store's facts do not allow Append to skip reading the head after it has created a slot.
	distrust bool
	// off switches rules off; journalOff those of package journal, by name.
	off        off
	journalOff []string
	// full switches reductions off.
	full reductions

	configs [2][8]*Config
	lender  journal.Settings
	// rests are the worlds from which the search has found a way to progress.
	rests *table
}

// damage is a kind of damage to a _metadata.
type damage uint8

const (
	whole damage = iota
	unreadable
	missing
	foreign
)

// reductions says which reductions are switched off. The search then tries the events in all orders.
type reductions struct {
	// split: a mutation lands and replies in two steps.
	split bool
	// trims land at any time, not only when an operation under way could notice.
	trims bool
	// uploads land at any time, not only before the list or the acknowledgement that shows them.
	uploads bool
	// deletes are under way for a while, and may be lost with their process.
	deletes bool
}

// subtasks of the plan.
func (s *story) subtasks() uint32 {
	if s.workers {
		return 2
	}
	return 1
}

func (s *story) plan() *journal.Plan {
	return journal.NewPlan([]journal.Operator{{ID: "op", Parallelism: s.subtasks(), MaxParallelism: 4, Triggered: true}})
}

// prepare makes the configurations of the processes: a daemon that crashed comes back as another process.
func (s *story) prepare() {
	s.rests = new(table)
	set := journal.Settings{Ring: max(2, s.ring), Keep: s.keep, Version: journal.FormatVersion, TrustList: !s.distrust}
	for _, name := range s.journalOff {
		f := reflect.ValueOf(&set).Elem().FieldByName("off").FieldByName(name)
		*(*bool)(unsafe.Pointer(f.UnsafeAddr())) = true
	}
	s.lender = set
	for d := range s.configs {
		for life := range s.configs[d] {
			s.configs[d][life] = &Config{Journal: set, Reserve: max(1, s.reserve), MaxRetained: 200, MaxSavepoints: cmp.Or(s.maxSavepoints, 2), Policy: testPolicy,
				Process: journal.Process{byte(d + 1), byte(life + 1), byte(s.job)}, off: s.off}
			if s.reserve == 0 {
				s.configs[d][life].Reserve = 2
			}
		}
	}
}

// start is the world before the first step: a job whose first attempt ran under an owner that released it.
func (s *story) start() *world {
	w := &world{left: budget{lost: s.lost, crashes: s.crashes, kills: s.kills, faults: s.faults, ends: s.ends, stops: s.stops,
		lends: s.lends, returns: s.returns, refusals: s.refusals, failures: s.failures, failovers: s.failovers, breaks: s.breaks, finishes: s.finishes,
		removes: s.removes, undeletes: s.undeletes, purges: s.purges, days: s.days, saves: s.saves, disposals: s.disposals}, now: 1000}
	if s.faults == 0 {
		w.left.faults = 255
	}
	e := s.first()
	if s.begun {
		meta := metaObject{id: 1, nonce: journal.Nonce{Process: journal.Process{9}, Count: 1}}
		for i := range s.files {
			meta.files |= s.file(1, i)
		}
		w.files, w.created, w.metas = meta.files, meta.files, []metaObject{meta}
		w.used, w.acked[1], w.epochs[1] = 1<<1, byte(1<<s.subtasks()-1), 1
		e.Reserved = 1
		e.Retained = []journal.Checkpoint{{ID: 1, Nonce: meta.nonce}}
		s.spoil(w)
	}
	if s.squatter {
		w.metas = with(w.metas, metaObject{id: e.Reserved + 1, nonce: journal.Nonce{Process: journal.Process{6}, Count: 1}})
	}
	var a journal.Append
	first := a.Begin(&s.lender, nil, e, journal.Nonce{Process: journal.Process{9}, Count: 2}, journal.RoleOwner).Entry
	if s.fresh {
		e.Epoch, e.Attempt, e.Kind = 0, 0, journal.KindNone
		first = &e
	} else {
		w.slots = []slotObject{{slot: 1, entry: first}}
	}
	w.past = []*journal.Entry{first}
	for d := range s.daemons {
		w.d[d] = (&daemon{alive: true, attaches: s.attaches, triggers: s.triggers, aborts: s.aborts, sweeps: s.sweeps, begins: max(1, s.begins)}).sealed()
	}
	for i := range w.procs {
		w.procs[i].at = -1
	}
	for i := range 2 {
		w.procs[i] = workerState{alive: s.workers, attempt: e.Attempt, at: -1}
		w.started = append(w.started, startRecord{e.Attempt, uint8(i), 0})
	}
	if s.lend {
		w.third = &third{}
	}
	return w
}

// spoil damages the _metadata of the checkpoint that exists at the beginning.
func (s *story) spoil(w *world) {
	switch s.spoiled {
	case whole:
		return
	case missing:
		w.metas = nil
	case foreign:
		w.metas[0].nonce = journal.Nonce{Process: journal.Process{6}, Count: 1}
	}
	w.spoiled = 1 << 1
}

// first is the job's state before the first step.
func (s *story) first() journal.Entry {
	status := journal.StatusRunning
	if s.ended {
		status = journal.StatusCanceled
	}
	config := configOf(max(1, s.numRetained), s.retains)
	if s.trash {
		config = trashing(config)
	}
	return journal.Entry{Epoch: 1, Kind: journal.KindRelease, Attempt: 1, Status: status, Plan: s.plan(),
		Config: config, About: &journal.About{Job: s.id()}}
}

// id is the id of the job.
func (s *story) id() string { return jobNames[s.job] }

// entry is the job's state before the first step as a sealed entry.
func (s *story) entry() *journal.Entry {
	var a journal.Append
	return a.Begin(&journal.Settings{Ring: 2}, nil, s.first(), journal.Nonce{Process: journal.Process{9}, Count: 2}, journal.RoleOwner).Entry
}

// file is the number of the i-th file that is uploaded for a checkpoint, as a bit.
func (s *story) file(id uint64, i int) uint64 { return 1 << s.number(id, i) }

func (s *story) number(id uint64, i int) uint64 { return id*uint64(s.files) + uint64(i) }

// setOf turns bits into a set.
func setOf(bits uint64) incremental.Files {
	var b incremental.Builder[incremental.File]
	for f := range 64 {
		if bits&(1<<f) != 0 {
			b.Add(incremental.File(f))
		}
	}
	return b.Set()
}

// bitsOf is the inverse of setOf.
func bitsOf[T ~uint32](s incremental.Set[T]) (bits uint64) {
	for f := range s.All() {
		bits |= 1 << f
	}
	return bits
}
