package copying

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

var (
	// ErrOrigin: the target has a job of that id that is not a copy of this source.
	ErrOrigin = errors.New("a job of another origin")
	// ErrFull: the target's journal has no room for more checkpoints.
	ErrFull = errors.New("no room in the journal")
)

// Wish says which checkpoints of a job are to be copied, and how.
type Wish struct {
	// Checkpoint to copy; 0: all that the source keeps.
	Checkpoint uint64
	// Newest: only the newest that can be restored. What the source has dropped since then is dropped from the copy, too.
	Newest bool
	// SelfContained: each checkpoint gets its own copy of all its files.
	SelfContained bool
}

// Choice is one checkpoint of the source. Its outcome is PLANNED, PRESENT or REFUSED; Why says why it is refused.
type Choice struct {
	Checkpoint journal.Checkpoint
	Outcome    ckptdv1.CopyOutcome
	Why        string
}

// Plan is what a copy of one job does.
type Plan struct {
	// Choices in the order in which they are copied.
	Choices []Choice
	// Drop are the checkpoints that leave the copy once the newest is there.
	Drop []uint64
}

// Idle tells whether there is nothing to do.
func (p *Plan) Idle() bool {
	return len(p.Drop) == 0 && !slices.ContainsFunc(p.Choices, func(c Choice) bool { return c.Outcome == ckptdv1.CopyOutcome_COPY_OUTCOME_PLANNED })
}

// Choose plans the copy of a job from the heads of both journals; target nil: the target has no such job. rootID is that
// of the source's root.
func Choose(source, target *journal.Entry, rootID string, wish Wish) (Plan, error) {
	if err := checkOrigin(source, target, rootID); err != nil {
		return Plan{}, err
	}
	var plan Plan
	newest := source.Newest()
	planned := 0
	for _, c := range source.Retained {
		if c.State != journal.StateKept || wish.Checkpoint != 0 && c.ID != wish.Checkpoint || wish.Newest && c.ID != newest {
			continue
		}
		choice := choose(c, target, wish.SelfContained)
		if choice.Outcome == ckptdv1.CopyOutcome_COPY_OUTCOME_PLANNED {
			planned++
		}
		plan.Choices = append(plan.Choices, choice)
	}
	if wish.Checkpoint != 0 && len(plan.Choices) == 0 {
		return Plan{}, fmt.Errorf("%w: job %s does not keep %s", catalog.ErrNoCheckpoint, source.About.Job, layout.CheckpointDir(wish.Checkpoint))
	}
	// The newest that can be restored comes first: whoever interrupts the copy has what matters most.
	slices.SortFunc(plan.Choices, func(a, b Choice) int {
		return cmp.Or(cmp.Compare(rank(b.Checkpoint.ID, newest), rank(a.Checkpoint.ID, newest)), cmp.Compare(b.Checkpoint.ID, a.Checkpoint.ID))
	})
	if wish.Newest {
		plan.Drop = outdated(source, target, newest)
	}
	if target != nil && len(target.Retained)+planned > journal.MaxRetained {
		return Plan{}, fmt.Errorf("%w: the copy has %d checkpoints and %d more are to come, at most %d are possible: copy single checkpoints, or remove old ones from the copy",
			ErrFull, len(target.Retained), planned, journal.MaxRetained)
	}
	return plan, nil
}

func rank(id, newest uint64) int {
	if id == newest {
		return 1
	}
	return 0
}

// checkOrigin refuses a target that has another job under the same id. The tombstone of a removed job is in nobody's way.
func checkOrigin(source, target *journal.Entry, rootID string) error {
	if target == nil || target.Status == journal.StatusRemoved {
		return nil
	}
	of := target.CopiedFrom
	switch {
	case target.PurgeWanted:
		return fmt.Errorf("%w: somebody purges the target's job %s: wait until it is gone", ErrOrigin, target.About.Job)
	case target.Status != journal.StatusCopied:
		return fmt.Errorf("%w: the target has a job %s that ran there: copy into another root", ErrOrigin, target.About.Job)
	case of.RootID != rootID || of.Job != source.About.Job:
		return fmt.Errorf("%w: the target has a copy of job %s of root %s, the source is root %s: copy into another root", ErrOrigin, of.Job, of.RootID, rootID)
	}
	return nil
}

// choose compares one checkpoint with what the target has under its number.
func choose(c journal.Checkpoint, target *journal.Entry, selfContained bool) Choice {
	var have journal.Checkpoint
	ok := false
	if target != nil {
		have, ok = target.Checkpoint(c.ID)
	}
	refuse := func(why string) Choice { return Choice{c, ckptdv1.CopyOutcome_COPY_OUTCOME_REFUSED, why} }
	switch {
	case !ok:
		return Choice{Checkpoint: c, Outcome: ckptdv1.CopyOutcome_COPY_OUTCOME_PLANNED}
	case have.State != journal.StateKept:
		return refuse("the copy has it, and somebody discarded it there: bring it back there, or wait until it is gone")
	case have.Nonce == derived(formSelfContained, c.Nonce):
	case have.Nonce != c.Nonce && have.Nonce != derived(formMoved, c.Nonce):
		return refuse("the copy has another checkpoint of that number: copy into another root")
	case selfContained:
		return refuse("the copy has it already, and shares its files with other checkpoints: make the self-contained copy in another root")
	}
	return Choice{Checkpoint: c, Outcome: ckptdv1.CopyOutcome_COPY_OUTCOME_PRESENT}
}

// outdated are the older checkpoints of the copy that the source has dropped. Those that a person marked stay, and those
// that another job needs.
func outdated(source, target *journal.Entry, newest uint64) (drop []uint64) {
	if target == nil {
		return nil
	}
	for _, c := range target.Retained {
		_, still := source.Checkpoint(c.ID)
		if c.ID < newest && !still && c.State == journal.StateKept && !c.Keep && len(c.Tags) == 0 && !target.IsLent(c.ID) {
			drop = append(drop, c.ID)
		}
	}
	return drop
}

// A form is how a copied _metadata differs from its source.
type form string

const (
	// formMoved: files that could not keep their place have others.
	formMoved form = "moved"
	// formSelfContained: all files lie in the checkpoint's own folder.
	formSelfContained form = "self-contained"
)

// derived is the nonce of a _metadata that was made from another one. Each run makes the same nonce.
func derived(f form, of journal.Nonce) journal.Nonce {
	sum := sha256.Sum256([]byte("ckptd copy, " + string(f) + ": " + of.String()))
	return journal.Nonce{Process: journal.Process(sum[:len(journal.Process{})]), Count: of.Count}
}

// placer says where the files of one checkpoint lie in the copy.
type placer struct {
	rootID string
	header layout.Header
	// all: every file gets a place of its own in the checkpoint's folder.
	all bool
}

// place returns the file as the copied _metadata names it, and whether its name differs.
func (p *placer) place(f *layout.File) (layout.File, bool) {
	k := layout.ParseJobKey(f.Key)
	own := f.Own()
	if own && (!p.all || k.Place == layout.PlaceExclusive) {
		return *f, false
	}
	to := *f
	to.Job = ""
	name := layout.FileName{Epoch: p.header.Epoch, Checkpoint: p.header.Checkpoint, Nonce: p.nameOf(f)}
	if !p.all && !f.Beside() { // lent: another checkpoint of this job may name it, too
		name.Epoch, name.Checkpoint = 1, 1
		to.Key = layout.JobKey{Place: layout.PlaceShared, File: name}.String()
		return to, true
	}
	to.Key = layout.JobKey{Place: layout.PlaceExclusive, Checkpoint: p.header.Checkpoint, File: name}.String()
	return to, true
}

// nameOf makes a file's name from the place where it lies in the source.
func (p *placer) nameOf(f *layout.File) string {
	at := catalog.Key(p.header.JobID, p.header.Checkpoint, f.Key, f.Job)
	sum := sha256.Sum256([]byte("ckptd copy: " + p.rootID + "/" + at))
	return layout.NonceOf([16]byte(sum[:16]))
}
