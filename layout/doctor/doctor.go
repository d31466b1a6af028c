// Package doctor examines a store: may ckptd keep checkpoints there?
//
// It owns the checks and the report. The checks are: permissions one by one, races of Publish between several
// processes, what a reader sees right after a write or a delete, ranges, clocks, speed. It must not know drivers,
// processes or how a report is shown.
//
// The doctor uses the store through the contract only. It writes below "_probe/<nonce>/" only, and removes everything
// it wrote, even when it is interrupted.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// Options of Examine. The zero value, or nil, means every check, with racers in this process.
type Options struct {
	// Quick runs only a few rounds of each check.
	Quick bool
	// Write allows to write beside content that is not ckptd's.
	Write bool
	// ReadOnly says that the store was opened for reading only and refuses every mutation.
	ReadOnly bool
	// Racers opens the store several times, if possible in as many processes. Nil: racers in this process, over the
	// same store.
	Racers func(ctx context.Context) ([]Racer, error)
	// Progress, if not nil, is called with what is being done.
	Progress func(what string)
	// Permission, if not nil, returns the store's name for the permission to do an operation ("list", "create", …),
	// or "".
	Permission func(operation string) string
	// Opening, if not empty, is the advice when a store without credentials cannot be opened or written to.
	Opening string
}

// Unopened returns the report on a store that could not be opened. The store is unfit if the error says so, or if it
// can only be read. Otherwise it could not be examined.
func Unopened(url, kind string, readable bool, err error, o *Options) *ckptdv1.DoctorReport {
	e := &exam{report: newReport(url, kind), o: o, optional: map[string]bool{}}
	switch {
	case errors.Is(err, storage.ErrUnfit):
		e.trouble("open", err, Advice)
	case o.Permission != nil && o.Permission("open") != "" && errors.Is(err, fs.ErrPermission):
		e.trouble("open", err, e.permission("open"))
	case o.Opening != "" && readable:
		e.trouble("publish", err, o.Opening)
	case o.Opening != "":
		e.trouble("open", err, o.Opening)
	case readable:
		e.trouble("publish", err, e.permission("publish"))
	default:
		e.trouble("open", err, "Check the address, the name and the credentials"+e.mayList()+"; then run doctor again.")
	}
	e.judge()
	return e.report
}

// mayList names the permission that opening may need.
func (e *exam) mayList() string {
	if e.o.Permission == nil || e.o.Permission("list") == "" {
		return ""
	}
	return " (they need " + e.o.Permission("list") + ")"
}

func newReport(url, kind string) *ckptdv1.DoctorReport {
	return &ckptdv1.DoctorReport{Url: url, Kind: kind, ExaminedAt: timestamppb.Now()}
}

// Examine examines a store. The report says what is wrong with the store. An error means that the examination was
// interrupted; the report then holds what was done. In both cases nothing is left on the store.
func Examine(ctx context.Context, opened storage.Opened, o *Options) (*ckptdv1.DoctorReport, error) {
	if o == nil {
		o = &Options{}
	}
	e := newExam(ctx, opened, o)
	defer e.close()
	start := time.Now()
	e.report.Notes = opened.Facts.Notes
	found := e.contents(ctx)
	if found {
		e.hazards(ctx)
	}
	if found && ctx.Err() == nil {
		e.examine(ctx)
	}
	e.report.Took = durationpb.New(time.Since(start))
	if err := ctx.Err(); err != nil {
		return e.report, context.Cause(ctx)
	}
	e.judge()
	return e.report, nil
}

// contents looks at the prefix and decides whether anything may be written. It reports whether the examination can go
// on.
func (e *exam) contents(ctx context.Context) bool {
	e.say("looking at what is there")
	found, err := layout.Survey(e.ops, e.store)
	switch {
	case errors.Is(err, layout.ErrCorrupt) || errors.Is(err, layout.ErrNewerFormat):
		e.add("contents", ckptdv1.Result_RESULT_UNFIT, err.Error(), "Use a prefix of its own, or a ckptd that knows this root.")
		return false
	case err != nil:
		operation := "list"
		if failed := (*storage.Error)(nil); errors.As(err, &failed) && failed.Op == "open" {
			operation = "read"
		}
		e.trouble(operation, err, e.permission(operation))
		return false
	}
	switch {
	case found.Root != nil && !found.Writable():
		e.add("contents", ckptdv1.Result_RESULT_NOT_EXAMINED, fmt.Sprintf("a root of a newer ckptd (%v): only read", found.Root), "Use the newer ckptd.")
	case found.Root != nil:
		e.ok("contents", "a root of ckptd: "+found.Root.ID)
	case len(found.Found) == 0:
		e.ok("contents", "empty")
	default:
		e.foreign = true
		seen := "not ckptd's: " + strings.Join(found.Found, ", ")
		if e.o.Write {
			e.add("contents", ckptdv1.Result_RESULT_WARNING, seen, "Give ckptd a prefix of its own: serve refuses this one.")
			break
		}
		e.add("contents", ckptdv1.Result_RESULT_NOT_EXAMINED, seen+"; only read",
			"Give an empty prefix, as serve will want one; or examine this one by --write, which writes below _probe/ and removes it again.")
	}
	e.report.ReadOnly = !found.Writable() && !(e.o.Write && found.Root == nil)
	if e.o.ReadOnly && !e.report.ReadOnly {
		e.report.ReadOnly = true
		e.add("writing", ckptdv1.Result_RESULT_NOT_EXAMINED, "what is there could not be read a moment ago, or was not the same", "Run doctor again.")
	}
	return true
}

// examine runs the checks that are allowed here.
func (e *exam) examine(ctx context.Context) {
	if e.holds && !e.report.ReadOnly && !e.o.Write {
		e.report.ReadOnly = true
		e.add("writing", ckptdv1.Result_RESULT_NOT_EXAMINED, "only read: doctor could not remove what it writes",
			"Give a place without a retention; or examine this one by --write, which leaves up to 200 MiB there until the retention ends.")
	}
	if e.report.ReadOnly {
		e.onlyRead(ctx)
		return
	}
	e.write(ctx)
}

// write runs the checks that write. Each step runs only if the steps that it depends on went well.
func (e *exam) write(ctx context.Context) {
	defer e.cleanUp()
	if !e.permissions(ctx) {
		return
	}
	e.removeStale()
	racers := e.openRacers(ctx)
	for _, step := range []func(context.Context, []Racer){e.races, e.visibility} {
		if ctx.Err() == nil && len(racers) > 0 {
			step(ctx, racers)
		}
	}
	closeAll(racers)
	for _, step := range []func(context.Context){e.ifAbsent, e.contentsOfObjects, e.speed} {
		if ctx.Err() == nil {
			step(ctx)
		}
	}
}

// hazards asks the driver for settings outside of ckptd.
func (e *exam) hazards(ctx context.Context) {
	if e.facts.Hazards == nil || ctx.Err() != nil {
		return
	}
	e.say("asking what keeps or removes files")
	results := map[storage.Weight]ckptdv1.Result{
		storage.WeightNone: ckptdv1.Result_RESULT_OK, storage.WeightUnknown: ckptdv1.Result_RESULT_NOT_EXAMINED,
		storage.WeightWarning: ckptdv1.Result_RESULT_WARNING, storage.WeightUnfit: ckptdv1.Result_RESULT_UNFIT,
	}
	for _, h := range e.facts.Hazards(ctx) {
		e.report.Findings = append(e.report.Findings, &ckptdv1.Finding{Check: h.Name, Result: results[h.Weight], Seen: h.Seen, Advice: h.Advice})
		// What a store does not say about its settings is worth knowing, but is no reason to withhold the verdict.
		if h.Weight == storage.WeightUnknown {
			e.optional[h.Name] = true
		}
		e.holds = e.holds || h.Holds
	}
}

// judge sets the verdict: the worst finding decides.
func (e *exam) judge() {
	var unfit, missing []string
	warnings := 0
	for _, f := range e.report.GetFindings() {
		switch f.GetResult() {
		case ckptdv1.Result_RESULT_UNFIT:
			unfit = append(unfit, f.GetCheck())
		case ckptdv1.Result_RESULT_NOT_EXAMINED:
			if !e.optional[f.GetCheck()] {
				missing = append(missing, f.GetCheck())
			}
		case ckptdv1.Result_RESULT_WARNING:
			warnings++
		}
	}
	switch {
	case len(unfit) > 0:
		e.report.Verdict, e.report.Summary = ckptdv1.Verdict_VERDICT_UNFIT, "unfit: "+strings.Join(unfit, ", ")
	case len(missing) > 0:
		e.report.Verdict, e.report.Summary = ckptdv1.Verdict_VERDICT_NOT_EXAMINED, "could not be examined: "+strings.Join(missing, ", ")
	case warnings > 0:
		e.report.Verdict, e.report.Summary = ckptdv1.Verdict_VERDICT_FIT, fmt.Sprintf("fit, with %s", plural(warnings, "warning"))
	default:
		e.report.Verdict, e.report.Summary = ckptdv1.Verdict_VERDICT_FIT, "fit"
	}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
