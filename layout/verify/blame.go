package verify

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

const (
	// maxDamages is how many damages of a checkpoint a report names, maxStates how many pieces of state of each.
	maxDamages = 100
	maxStates  = 16
)

// blame says which of the checkpoints, and whose state, the files hit with which something is wrong.
func (r *run) blame(ctx context.Context, targets []*target) error {
	if !r.table.anyBad() {
		for _, t := range targets {
			t.conclude()
		}
		return nil
	}
	for _, t := range targets {
		if !t.read {
			continue
		}
		b := blamer{run: r, target: t, files: map[layout.FileRef]*ckptdv1.Damage{}}
		_, _, err := records(ctx, r.store, t.key, b.add)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if err := r.accuse(t, err); err != nil {
				return err
			}
			continue
		}
		t.conclude()
	}
	return nil
}

// conclude gives a checkpoint its verdict, after its damages are known.
func (t *target) conclude() {
	if !t.read {
		return
	}
	t.out.Verdict = worse(t.out.GetVerdict(), ckptdv1.VerifyVerdict_VERIFY_VERDICT_WHOLE)
	if t.out.GetFilesNotLookedFor() > 0 {
		t.out.Verdict = worse(t.out.GetVerdict(), ckptdv1.VerifyVerdict_VERIFY_VERDICT_PART)
		t.out.Text = fmt.Sprintf("files in the folders of other jobs, where this command does not look: %d; verify the checkpoint in its root", t.out.GetFilesNotLookedFor())
	}
}

// blamer goes through the records of one _metadata.
type blamer struct {
	run    *run
	target *target
	op     *layout.Operator
	// files are the damages that are named, by the number of the file; count counts the files.
	files map[layout.FileRef]*ckptdv1.Damage
	count layout.FileRef
}

func (b *blamer) add(_ *layout.MetadataReader, rec layout.Record) error {
	switch rec := rec.(type) {
	case *layout.Operator:
		b.op = rec
	case *layout.File:
		b.count++
		b.addFile(rec)
	case *layout.Subtask:
		for i := range rec.Handles {
			h := &rec.Handles[i]
			if d := b.files[h.File]; d != nil && hits(d, h.Segment) {
				d.StatesTotal++
				if len(d.GetStates()) < maxStates {
					d.States = append(d.States, use(b.op, rec, h))
				}
			}
		}
	}
	return nil
}

func (b *blamer) addFile(f *layout.File) {
	key := b.target.locate(f)
	if key == "" {
		return
	}
	flags, what := b.run.table.get(idOf(key))
	if !flags.bad() {
		return
	}
	d := damage(flags, what, f, b.run.unlistedBy(key))
	d.Key = key
	out := b.target.out
	v := ckptdv1.VerifyVerdict_VERIFY_VERDICT_DAMAGED
	if d.GetKind() == ckptdv1.DamageKind_DAMAGE_KIND_UNREADABLE {
		v = ckptdv1.VerifyVerdict_VERIFY_VERDICT_UNREADABLE
	}
	out.Verdict = worse(out.GetVerdict(), v)
	if out.DamagesTotal++; len(out.GetDamages()) < maxDamages {
		out.Damages = append(out.Damages, d)
		b.files[b.count] = d
	}
}

// unlistedBy returns why the folder of a file could not be listed; nil: it was listed.
func (r *run) unlistedBy(key string) error {
	return r.unlisted[key[:strings.LastIndexByte(key, '/')+1]]
}

// damage describes what is wrong with a file.
func damage(flags flags, what *trouble, f *layout.File, unlisted error) *ckptdv1.Damage {
	switch {
	case flags&flagFound == 0 && unlisted != nil:
		return &ckptdv1.Damage{Kind: ckptdv1.DamageKind_DAMAGE_KIND_UNREADABLE, Text: "its folder cannot be listed: " + unlisted.Error()}
	case flags&flagFound == 0 || flags&flagGone != 0:
		return &ckptdv1.Damage{Kind: ckptdv1.DamageKind_DAMAGE_KIND_MISSING, Text: "missing"}
	case flags&flagDisagree != 0:
		return &ckptdv1.Damage{Kind: ckptdv1.DamageKind_DAMAGE_KIND_WRONG_BYTES, Text: "two checkpoints name other lengths or sums of it: one of them must be wrong"}
	case flags&flagWrongSize != 0:
		return &ckptdv1.Damage{Kind: ckptdv1.DamageKind_DAMAGE_KIND_WRONG_SIZE, Text: fmt.Sprintf("%d bytes, want %d", what.found, f.Length)}
	case what.err != nil:
		return &ckptdv1.Damage{Kind: ckptdv1.DamageKind_DAMAGE_KIND_UNREADABLE, Text: what.err.Error()}
	}
	return &ckptdv1.Damage{Kind: ckptdv1.DamageKind_DAMAGE_KIND_WRONG_BYTES, Text: what.text, Offset: what.offset, Length: what.length}
}

// hits tells whether a damage hits the segment of its file; nil: the whole file.
func hits(d *ckptdv1.Damage, s *layout.Segment) bool {
	return s == nil || d.GetLength() == 0 || s.Offset < d.GetOffset()+d.GetLength() && d.GetOffset() < s.Offset+s.Length
}

// use says whose state a handle is.
func use(op *layout.Operator, s *layout.Subtask, h *layout.Handle) *ckptdv1.StateUse {
	out := &ckptdv1.StateUse{
		Subtask: &ckptdv1.Subtask{OperatorId: s.OperatorID, Index: uint32(s.Index)}, OperatorUid: op.UID,
		State: catalog.State(&h.State), Segment: catalog.Segment(h.Segment),
	}
	out.State.Offsets = nil
	return out
}

// Operators lists the operators that damages hit, each once, by uid or id, in order.
func Operators(damages []*ckptdv1.Damage) []string {
	names := map[string]struct{}{}
	for _, d := range damages {
		for _, s := range d.GetStates() {
			name := s.GetOperatorUid()
			if name == "" {
				name = s.GetSubtask().GetOperatorId()
			}
			names[name] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(names))
}
