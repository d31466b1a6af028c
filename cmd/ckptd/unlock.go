package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/shell"
)

func newUnlockCmd() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "unlock JOB",
		Short: "List the pins on a job's checkpoints; with --yes, drop the stale ones",
		Long: `List the pins of other jobs and of tools on a job's checkpoints: who holds each, since when, in which mode, and until when. A pin is stale if nobody
returns it any more: a newer owner of its holder does not list it, its holder has no journal, or its time is over. --yes drops the stale
pins, and nothing else: a pin that its holder lists stays. Daemons drop stale pins by themselves within some hours.

` + byWhom + `

Exit codes: 0 done or listed, 3 a stale pin is left, 1 failed.`,
		Example: `  ckptd unlock file:///var/lib/ckptd/clicks
  ckptd unlock ./data/clicks --json | jq .pins
  ckptd unlock ./data/ended --yes`,
		Args:              wantArgs(1, 1),
		ValidArgsFunction: completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := subjectOf(cmd, args[0])
			switch {
			case err != nil:
				return err
			case s.id != 0:
				return exit.Usagef("unlock %s: want a JOB: `ckptd who-uses` lists the pins on one checkpoint", output.Argument(args[0]))
			}
			return onHead(cmd, s, yes, func(c *changer, head *journal.Entry) error { return unlock(cmd, c, head, yes) })
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "drop the stale pins; without it, only the list is shown")
	commandLineOnly(cmd.Flags(), "yes")
	takeOverFlag(cmd)
	serverFlags(cmd)
	jsonFlag(cmd, "UnlockReport")
	return cmd
}

func unlock(cmd *cobra.Command, c *changer, head *journal.Entry, yes bool) error {
	ctx, job := cmd.Context(), head.About.Job
	report, err := pinsOf(ctx, c.opened.Store, head)
	if err != nil {
		return err
	}
	if report.Executed = yes; yes {
		asked := func(a *client.Admin) error { return a.DropStalePins(ctx, job) }
		if err := c.change(ctx, job, asked, func(ctx context.Context, j *shell.Job) error { return j.DropStalePins(ctx) }); err != nil {
			return err
		}
		if head, err = catalog.Head(ctx, c.opened.Store, job); err != nil {
			return err
		}
	}
	left := 0
	for _, p := range report.GetPins() {
		p.Dropped = yes && !slices.ContainsFunc(head.Lent, func(l journal.Lent) bool { return l.Pin.String() == p.GetPin().GetPin() })
		if p.GetStale() && !p.GetDropped() {
			left++
		}
	}
	if err := answer(cmd, report, func(w io.Writer) { printPins(w, report) }); err != nil {
		return err
	}
	if yes && left > 0 {
		return exit.With(exit.Part, fmt.Errorf("unlock: %s of job %s are left: try again, or look at their holders", output.Count(left, "stale pin"), job))
	}
	return nil
}

// pinsOf looks at each pin on a job's checkpoints, and at its holder.
func pinsOf(ctx context.Context, s storage.Store, head *journal.Entry) (*ckptdv1.UnlockReport, error) {
	report := &ckptdv1.UnlockReport{JobId: head.About.Job}
	since, err := pinnedSince(ctx, s, head.About.Job)
	if err != nil {
		return nil, err
	}
	for i := range head.Lent {
		l := &head.Lent[i]
		p := &ckptdv1.PinReport{Pin: catalog.Pin(l)}
		if at, ok := since[l.Pin]; ok {
			p.Since, p.OrEarlier = timestamppb.New(at.first), at.orEarlier
		}
		if p.Stale, p.Why, err = standing(ctx, s, l); err != nil {
			return nil, err
		}
		report.Pins = append(report.Pins, p)
	}
	return report, nil
}

// standing tells whether a pin is stale, and why. Of a tool's pin the clock of this computer says it; who drops the pin asks the store's.
func standing(ctx context.Context, s storage.Store, l *journal.Lent) (stale bool, why string, err error) {
	if l.OfTool() {
		if l.Expired(uint64(time.Now().UnixMilli())) {
			return true, "a tool took it, and its time is over", nil
		}
		return false, "a tool took it, and it counts until its time is over", nil
	}
	holder, err := catalog.Head(ctx, s, l.Holder)
	switch {
	case errors.Is(err, catalog.ErrNoJob):
		return true, "its holder has no journal", nil
	case errors.Is(err, catalog.ErrDamaged), errors.Is(err, journal.ErrNewer):
		return false, "the journal of its holder cannot be read: `ckptd journal show` says why", nil
	case err != nil:
		return false, "", err
	case holder.HasBorrowed(l.Pin):
		return false, "its holder lists it", nil
	case holder.Importing():
		return false, "its holder is about to begin from the checkpoint", nil
	case l.Leaked(holder):
		return true, "a newer owner of its holder does not list it", nil
	}
	return false, "its holder's owner may still list it", nil
}

// firstSeen is when an entry with a pin was written. orEarlier: it is the oldest entry that is there.
type firstSeen struct {
	first     time.Time
	orEarlier bool
}

// pinnedSince finds out, of each pin, which of the entries that are still there was the first with it.
func pinnedSince(ctx context.Context, s storage.Store, job string) (map[journal.Nonce]firstSeen, error) {
	written := map[uint64]time.Time{}
	for info, err := range s.List(ctx, layout.JournalPrefix(job)) {
		if err != nil {
			return nil, err
		}
		if slot, err := layout.ParseSlotKey(job, info.Key); err == nil { // else a temporary
			written[slot] = info.ModTime
		}
	}
	all, oldest := map[journal.Nonce]firstSeen{}, true
	for _, slot := range slices.Sorted(maps.Keys(written)) {
		e, err := journalio.Read(ctx, s, job, slot)
		if err != nil {
			continue // trimmed meanwhile, or damaged: `ckptd journal show` says so
		}
		for _, l := range e.Lent {
			if _, ok := all[l.Pin]; !ok {
				all[l.Pin] = firstSeen{written[slot], oldest}
			}
		}
		oldest = false
	}
	return all, nil
}

func printPins(w io.Writer, r *ckptdv1.UnlockReport) {
	if len(r.GetPins()) == 0 {
		fmt.Fprintf(w, "nobody has a pin on a checkpoint of job %s\n", output.Clean(r.GetJobId()))
		return
	}
	t := output.NewTable(w)
	t.Row("CHECKPOINT", "HOLDER", "ITS EPOCH", "MODE", "SINCE", "UNTIL", "STALE", "WHY")
	stale := 0
	for _, p := range r.GetPins() {
		pin := p.GetPin()
		since, until, is := "-", "returned", "no"
		if p.GetSince() != nil {
			since = output.Time(p.GetSince())
		}
		if p.GetOrEarlier() {
			since += " or earlier"
		}
		if pin.GetExpiresAt() != nil {
			until = output.Time(pin.GetExpiresAt())
		}
		if p.GetStale() {
			is, stale = "yes", stale+1
		}
		if p.GetDropped() {
			is = "dropped"
		}
		t.Row(layout.CheckpointDir(pin.GetCheckpointId()), pin.GetJobId(), pin.GetHolderEpoch(), output.Enum(pin.GetMode(), "CLAIM_MODE_"), since, until, is, output.Clean(p.GetWhy()))
	}
	_ = t.Flush()
	if stale > 0 && !r.GetExecuted() {
		fmt.Fprintln(w, "nothing was changed: --yes drops the stale ones")
	}
}
