package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/verify"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/owner"
)

func newWhyCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "why FILE",
		Short: "Say who needs a file",
		Long: `Say who needs a file: which retained checkpoints, and the state of which operators lies in it; or that nobody needs it, since when,
and when it goes. It reads the journals and every retained _metadata, writes nothing and needs no daemon.

FILE is a path or a URL; with --server, <job id>/shared/… or <job id>/chk-<number>/… in the root of that daemon. What ckptd did not make
is named as a stranger's; ckptd never deletes it. If a checkpoint needs the file and it is not there, the exit code is 4.`,
		Example: `  ckptd why ./data/clicks/chk-42/_metadata
  ckptd why file:///var/lib/ckptd/clicks/chk-42/_metadata --json | jq -r .need`,
		Args: wantArgs(1, 1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			t, key, err := openFile(cmd.Context(), daemonsOf(cmd), args[0])
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, t.close()) }()
			report, err := why(cmd.Context(), t.store, key)
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				err = printJSON(cmd.OutOrStdout(), report)
			} else {
				err = printWhy(cmd.OutOrStdout(), report)
			}
			if err == nil && !report.GetExists() && report.GetNeed() == ckptdv1.FileNeed_FILE_NEED_NEEDED {
				err = exit.With(exit.Damage, fmt.Errorf("why: %s is needed, and it is not there", output.Clean(key)))
			}
			return err
		},
	}
	serverFlags(cmd)
	jsonFlag(cmd, "WhyReport")
	return cmd
}

// deepest is how many elements a key has below its root at most; one more for what strangers put there.
const deepest = 6

// openFile opens the root that a file lies in, and returns the file's key.
func openFile(ctx context.Context, at daemons, arg string) (*target, string, error) {
	if at.isID(arg) {
		t, err := openServer(at)
		if err == nil {
			t, err = t.onStorage(ctx)
		}
		return t, arg, err
	}
	place, err := drivers.Normal(arg)
	if err != nil {
		return nil, "", err
	}
	var elements []string
	parent := place
	for range deepest {
		above, last := drivers.CutLast(parent)
		if last == "" || above == parent {
			break
		}
		name, err := url.PathUnescape(last)
		if err != nil {
			return nil, "", exit.Usagef("file %q: %w", arg, err)
		}
		parent, elements = above, append([]string{name}, elements...)
		t, err := openBareRoot(ctx, parent)
		if err == nil {
			return t, strings.Join(elements, "/"), nil
		}
		if !absent(err) {
			return nil, "", err
		}
	}
	return nil, "", fmt.Errorf("why: %q lies in no root of ckptd: %w", arg, layout.ErrNotRoot)
}

// why gives the verdict on an object of a root.
func why(ctx context.Context, s storage.Store, key string) (*ckptdv1.WhyReport, error) {
	w := &ckptdv1.WhyReport{Key: key}
	if slices.Contains(strings.Split(key, "/"), storage.TempElement) {
		w.Need, w.Reason = ckptdv1.FileNeed_FILE_NEED_OPEN, "a temporary of the store, of an upload that goes on or was cut off: the next sweep removes what is dead"
		return w, nil
	}
	if err := storage.ValidateKey(key); err != nil {
		return nil, exit.Usagef("why: %w", err)
	}
	info, err := s.Stat(ctx, key)
	switch {
	case err == nil:
		w.Exists, w.Length, w.ModifiedAt = true, uint64(info.Size), timestamppb.New(info.ModTime)
	case !errors.Is(err, storage.ErrNotFound):
		return nil, fmt.Errorf("why: %w", err)
	}
	job, relative, inJob := strings.Cut(key, "/")
	switch {
	case key == layout.RootMarkerKey:
		w.Need, w.Reason = ckptdv1.FileNeed_FILE_NEED_NEEDED, "the root's marker"
	case inJob && job+"/" == layout.AuditPrefix:
		w.Need, w.Reason = ckptdv1.FileNeed_FILE_NEED_NEEDED, "of the audit log: kept for 90 days, then `ckptd gc --yes` deletes it"
	case inJob && job+"/" == layout.ProbePrefix:
		w.Need, w.Reason = ckptdv1.FileNeed_FILE_NEED_OPEN, "of a daemon that starts, or died while it started: the next start removes it"
	case !inJob || layout.ValidateJobID(job) != nil:
		w.Need, w.Reason = ckptdv1.FileNeed_FILE_NEED_STRANGER, strangersText
	default:
		err = whyInJob(ctx, s, w, job, relative)
	}
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return nil, err
	}
	if !w.GetExists() && w.GetNeed() != ckptdv1.FileNeed_FILE_NEED_NEEDED {
		return nil, fmt.Errorf("why: %s: %w, and no retained checkpoint names it", key, storage.ErrNotFound)
	}
	return w, nil
}

const strangersText = "not a name that ckptd gives: it is a stranger's, and ckptd never deletes it"

// whyInJob gives the verdict on an object in a job's folder.
func whyInJob(ctx context.Context, s storage.Store, w *ckptdv1.WhyReport, job, relative string) error {
	needs, err := verify.Uses(ctx, s, job, w.GetKey())
	if errors.Is(err, catalog.ErrNoJob) {
		return fmt.Errorf("why: %w", err)
	}
	if err != nil {
		return err
	}
	w.Uses = needs.Uses
	k := layout.ParseJobKey(relative)
	if k.Place == layout.PlaceShared || k.Place == layout.PlaceExclusive {
		w.WrittenEpoch, w.WrittenForCheckpointId = k.File.Epoch, k.File.Checkpoint
	}
	w.Need, w.Reason = needOf(needs, k)
	if w.GetNeed() == ckptdv1.FileNeed_FILE_NEED_NONE && !needs.Since.IsZero() {
		w.UnneededSince = timestamppb.New(needs.Since)
		if w.GetModifiedAt().AsTime().After(needs.Since) {
			w.UnneededSince = w.GetModifiedAt()
		}
	}
	if w.GetNeed() == ckptdv1.FileNeed_FILE_NEED_NONE {
		w.Goes = goesText(needs.Head)
	}
	return nil
}

// needOf gives the verdict from outside, by the owner's rules. What only the owner knows (promises, pending checkpoints) is
// open as long as the job has an owner.
func needOf(n *verify.Needs, k layout.JobKey) (ckptdv1.FileNeed, string) {
	view := owner.OutsideView(n.Head)
	view.Unread = n.Unread != nil
	var v owner.Verdict
	switch k.Place {
	case layout.PlaceSlot:
		return ckptdv1.FileNeed_FILE_NEED_NEEDED, "the job's journal"
	case layout.PlaceHistory:
		return ckptdv1.FileNeed_FILE_NEED_NEEDED, "of the job's history: kept for the last 10,000 checkpoints, until `ckptd purge` removes the job"
	case layout.PlaceTaskOwned:
		return ckptdv1.FileNeed_FILE_NEED_NEEDED, "task-owned: only its task releases it, or the removal of the job"
	case layout.PlaceMetadata:
		v = view.JudgeMetadata(k.Checkpoint, len(n.Uses) > 0, false)
	case layout.PlaceShared, layout.PlaceExclusive:
		view.Unread = view.Unread && len(n.Uses) == 0
		v = view.Judge(owner.Standing{Shared: k.Place == layout.PlaceShared, Epoch: k.File.Epoch, Checkpoint: k.File.Checkpoint, Reachable: len(n.Uses) > 0})
	default:
		return ckptdv1.FileNeed_FILE_NEED_STRANGER, strangersText
	}
	switch {
	case v == owner.VerdictNeeded:
		return ckptdv1.FileNeed_FILE_NEED_NEEDED, v.String()
	case v == owner.VerdictUnread:
		return ckptdv1.FileNeed_FILE_NEED_UNREAD, v.String() + ": " + n.Unread.Error()
	case v.Dead():
		return ckptdv1.FileNeed_FILE_NEED_NONE, v.String()
	}
	return ckptdv1.FileNeed_FILE_NEED_OPEN, v.String()
}

// goesText says when a file goes that nothing needs.
func goesText(head *journal.Entry) string {
	switch {
	case !head.Owner.IsZero():
		return "with the next sweep of the job's owner, within two hours while the owner runs; `ckptd gc --yes` does it now"
	case head.Status.Terminal():
		return "no daemon looks at this job any more: `ckptd gc --yes` deletes it"
	}
	return "with the first sweep of the job's next owner; `ckptd gc --yes` does it now"
}

func printWhy(w io.Writer, r *ckptdv1.WhyReport) error {
	t := output.NewTable(w)
	t.Row("file", r.GetKey())
	if r.GetExists() {
		t.Row("on storage", fmt.Sprintf("%s, written %s", output.Bytes(r.GetLength()), output.Time(r.GetModifiedAt())))
	} else if r.GetNeed() == ckptdv1.FileNeed_FILE_NEED_NEEDED {
		t.Row("on storage", "MISSING")
	} else {
		t.Row("on storage", "not looked for")
	}
	if id := r.GetWrittenForCheckpointId(); id != 0 {
		t.Row("written for", fmt.Sprintf("%s, in epoch %d", layout.CheckpointDir(id), r.GetWrittenEpoch()))
	}
	t.Row("verdict", needText(r.GetNeed())+": "+r.GetReason())
	if at := r.GetUnneededSince(); at != nil {
		t.Row("unneeded", "at least since "+output.Time(at))
	}
	if r.GetGoes() != "" {
		t.Row("goes", r.GetGoes())
	}
	for i, u := range r.GetUses() {
		label := "needed by"
		if i > 0 {
			label = ""
		}
		line := fmt.Sprintf("%s/%s (%s)", u.GetJobId(), layout.CheckpointDir(u.GetCheckpointId()), output.Enum(u.GetState(), "CHECKPOINT_STATE_"))
		if text := usesText(u.GetStates(), u.GetStatesTotal()); text != "" {
			line += ": " + text
		}
		t.Row(label, line)
	}
	return t.Flush()
}

func needText(n ckptdv1.FileNeed) string {
	switch n {
	case ckptdv1.FileNeed_FILE_NEED_NEEDED:
		return "needed"
	case ckptdv1.FileNeed_FILE_NEED_NONE:
		return "nobody needs it"
	case ckptdv1.FileNeed_FILE_NEED_STRANGER:
		return "a stranger's"
	case ckptdv1.FileNeed_FILE_NEED_UNREAD:
		return "kept"
	}
	return "may be needed"
}
