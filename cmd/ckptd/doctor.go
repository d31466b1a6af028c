package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/doctor"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/retry"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

func newDoctorCmd() *cobra.Command {
	var quick, write bool
	cmd := &cobra.Command{
		Use:   "doctor ROOT",
		Short: "Examine a store: may checkpoints be kept there?",
		Long: `Examine a store: may checkpoints be kept there?

It tries each permission, lets several processes race to publish the same names, checks visibility, clocks, ranges and sums,
asks which settings keep or remove files there, and measures latency and throughput. Each finding comes with advice.

It writes below ROOT/_probe/ only and leaves nothing behind, even if it is interrupted. If ROOT holds files of
others, or if a bucket retains files, it only reads, unless --write is given. Exit code 0 means fit, 4 unfit, 1 that the store could
not be examined.`,
		Example: doctorExamples() + `  ckptd doctor 's3://bucket/ckptd?endpoint=http://127.0.0.1:9000' --quick
  ckptd doctor /mnt/data --json | jq '.findings[] | select(.result != "RESULT_OK")'`,
		Annotations:       map[string]string{noSettings: "it writes only what the command line allows"},
		Args:              wantArgs(1, 1),
		ValidArgsFunction: completeRoot,
		RunE: func(cmd *cobra.Command, args []string) error {
			driver, root, err := drivers.Find(args[0])
			if err != nil {
				return err
			}
			p := &progress{w: cmd.ErrOrStderr()}
			ctx, stop := untilHungUp(cmd.Context())
			defer stop()
			report, err := examine(ctx, root, driver, &doctor.Options{
				Quick: quick, Write: write, Progress: p.say,
				Racers:     func(ctx context.Context) ([]doctor.Racer, error) { return startRacers(ctx, root, quick) },
				Permission: func(operation string) string { return driver.Permissions[operation] },
				Opening:    driver.OpenAdvice,
			})
			p.end()
			if ctx.Err() != nil { // interrupted; err is only a consequence
				sayLeft(cmd.ErrOrStderr(), report)
				return exit.With(exit.Interrupted, fmt.Errorf("doctor %s: interrupted", root))
			}
			if err != nil {
				sayLeft(cmd.ErrOrStderr(), report)
				return err
			}
			return printReport(cmd, report)
		},
	}
	jsonFlag(cmd, "DoctorReport")
	cmd.Flags().BoolVar(&quick, "quick", false, "a few rounds of everything")
	cmd.Flags().BoolVar(&write, "write", false, "also write (and remove again) where something lies that is not ckptd's")
	return cmd
}

// doctorExamples has one line for each driver.
func doctorExamples() string {
	var lines strings.Builder
	for _, d := range drivers.All() {
		fmt.Fprintf(&lines, "  ckptd doctor %s\n", output.ShellWord(d.Example))
	}
	return lines.String()
}

// untilHungUp returns a context that also ends when the terminal hangs up (SIGHUP), so that doctor still removes its
// files. If nobody reads doctor's output any more (SIGPIPE), doctor goes on. stop restores both signals.
func untilHungUp(ctx context.Context) (_ context.Context, stop func()) {
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE) // a signal that is caught does not end the process
	cancel := func() {}
	if !signal.Ignored(syscall.SIGHUP) { // nohup ignores it
		ctx, cancel = signal.NotifyContext(ctx, syscall.SIGHUP)
	}
	return ctx, func() { cancel(); signal.Stop(pipe) }
}

// examine opens the store for reading first. It opens the store for writing only after it has seen that doctor may
// write.
func examine(ctx context.Context, root string, driver drivers.Driver, o *doctor.Options) (report *ckptdv1.DoctorReport, err error) {
	opened, err := drivers.Open(ctx, root, true)
	switch {
	case err == nil:
		found, surveyErr := layout.Survey(ctx, opened.Store)
		foreign := surveyErr == nil && found.Root == nil
		if surveyErr != nil || !found.Writable() && !(foreign && o.Write) {
			defer func() { err = errors.Join(err, opened.Close()) }()
			o.ReadOnly = true
			return doctor.Examine(ctx, opened, o)
		}
		if err := opened.Close(); err != nil {
			return nil, err
		}
	case ctx.Err() != nil:
		return nil, err
	case driver.Folder != nil && errors.Is(err, fs.ErrNotExist):
	default:
		return unopened(root, driver.Kind(), false, err, o)
	}
	// The folder may not exist yet, or another doctor may have removed it meanwhile. Then it is created, and removed at
	// the end.
	remove, err := missingFolders(root)
	if err != nil {
		return nil, err
	}
	defer remove()
	if opened, err = drivers.Open(ctx, root, false); err != nil {
		return unopened(root, driver.Kind(), true, err, o)
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	// Repeat reads and deletes almost as often as a daemon does.
	opened.Store = retry.New(opened.Store, retry.Policy{Tries: 4})
	return doctor.Examine(ctx, opened, o)
}

// unopened makes the report on a store that cannot be opened. A wrong URL is an error of usage instead.
func unopened(root, kind string, readable bool, err error, o *doctor.Options) (*ckptdv1.DoctorReport, error) {
	var status *exit.Error
	if errors.As(err, &status) {
		return nil, err
	}
	return doctor.Unopened(root, kind, readable, err, o), nil
}

// missingFolders notes which folders of a root do not exist now. It returns a function that removes these folders if
// they are empty. A store that is not a file system has no folders.
func missingFolders(root string) (remove func(), err error) {
	driver, url, err := drivers.Find(root)
	if err != nil {
		return nil, err
	}
	if driver.Folder == nil {
		return func() {}, nil
	}
	var missing []string
	for path := driver.Folder(url); path != filepath.Dir(path); path = filepath.Dir(path) {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		missing = append(missing, path)
	}
	return func() {
		for _, path := range missing {
			if os.Remove(path) != nil {
				return // somebody uses the folder by now
			}
		}
	}, nil
}

// sayLeft says what an examination that was interrupted could not remove.
func sayLeft(w io.Writer, r *ckptdv1.DoctorReport) {
	for _, f := range r.GetFindings() {
		if f.GetCheck() == doctor.LeftBehind {
			fmt.Fprintf(w, "doctor: left behind: %s. %s\n", output.Clean(f.GetSeen()), output.Clean(f.GetAdvice()))
		}
	}
}

// whatToDo adds advice to the error of a store that was refused or cannot be used.
func whatToDo(root string, err error) error {
	var status *exit.Error
	switch {
	case errors.Is(err, storage.ErrUnfit):
		return fmt.Errorf("%w. %s To see all that is wrong: ckptd doctor %s", err, adviceOn(root, err), output.ShellWord(root))
	case errors.As(err, &status), errors.Is(err, context.Canceled), errors.Is(err, layout.ErrNotRoot), errors.Is(err, layout.ErrNewerFormat):
		return err
	}
	return fmt.Errorf("%w. To see what is wrong: ckptd doctor %s", err, output.ShellWord(root))
}

// adviceOn picks the advice for an unfit store by the promise that the store has broken.
func adviceOn(root string, err error) string {
	switch {
	case errors.Is(err, layout.ErrDeleteRefused):
		if driver, _, err := drivers.Find(root); err == nil && driver.Permissions["delete"] != "" {
			name := driver.Permissions["delete"]
			return "Give ckptd's user " + name + "."
		}
		return "Give ckptd's user the permission to delete."
	case errors.Is(err, layout.ErrDeleteIgnored):
		return doctor.DeleteAdvice
	case errors.Is(err, layout.ErrStale):
		return doctor.StaleAdvice
	}
	return doctor.Advice
}

// hazardous refuses a store whose settings lose files, and warns of settings that cost money or space.
func hazardous(ctx context.Context, facts storage.Facts, warn func(h storage.Hazard)) error {
	if facts.Hazards == nil {
		return nil
	}
	for _, h := range facts.Hazards(ctx) {
		switch h.Weight {
		case storage.WeightUnfit:
			return &refused{h}
		case storage.WeightWarning:
			warn(h)
		}
	}
	return nil
}

// refused is the error for a store whose own settings lose files.
type refused struct{ h storage.Hazard }

func (r *refused) Error() string {
	return fmt.Sprintf("%v: %s: %s. %s", storage.ErrUnfit, r.h.Name, r.h.Seen, r.h.Advice)
}

func (r *refused) Unwrap() error { return storage.ErrUnfit }

// printReport prints a report and turns its verdict into the exit code.
func printReport(cmd *cobra.Command, r *ckptdv1.DoctorReport) error {
	var err error
	if wantsJSON(cmd) {
		err = printJSON(cmd.OutOrStdout(), r)
	} else {
		err = printFindings(cmd.OutOrStdout(), r)
	}
	switch {
	case err != nil:
		return err
	case r.GetVerdict() == ckptdv1.Verdict_VERDICT_FIT:
		return nil
	case r.GetVerdict() == ckptdv1.Verdict_VERDICT_UNFIT:
		return exit.With(exit.Damage, fmt.Errorf("doctor %s: %s", r.GetUrl(), r.GetSummary()))
	}
	return exit.With(exit.Failed, fmt.Errorf("doctor %s: %s", r.GetUrl(), r.GetSummary()))
}

func printFindings(w io.Writer, r *ckptdv1.DoctorReport) error {
	fmt.Fprintf(w, "%s\n", output.Clean(r.GetUrl()))
	for _, note := range r.GetNotes() {
		fmt.Fprintf(w, "  %s\n", output.Clean(note))
	}
	fmt.Fprintln(w)
	t := output.NewTable(w)
	t.Row("CHECK", "RESULT", "SEEN")
	for _, f := range r.GetFindings() {
		t.Row(f.GetCheck(), resultText(f.GetResult()), f.GetSeen())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(r.GetMeasurements()) > 0 {
		fmt.Fprintln(w)
		t = output.NewTable(w)
		t.Row("OPERATION", "SIZE", "COUNT", "AT ONCE", "P50", "P99", "PER SECOND")
		for _, m := range r.GetMeasurements() {
			size, rate := any("-"), any("-")
			if m.GetObjectBytes() > 0 {
				size, rate = output.Bytes(m.GetObjectBytes()), output.Bytes(uint64(m.GetBytesPerSecond()))
			}
			t.Row(m.GetOperation(), size, m.GetCount(), m.GetAtOnce(), latencyText(m.GetP50()), latencyText(m.GetP99()), rate)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	advised := false
	for _, f := range r.GetFindings() {
		if f.GetAdvice() == "" {
			continue
		}
		if !advised {
			fmt.Fprintln(w, "\nWhat to do:")
			advised = true
		}
		fmt.Fprintf(w, "  %s: %s\n", output.Clean(f.GetCheck()), output.Clean(f.GetAdvice()))
	}
	_, err := fmt.Fprintf(w, "\n%s\n", strings.ToUpper(r.GetSummary()[:1])+output.Clean(r.GetSummary()[1:]))
	return err
}

func resultText(r ckptdv1.Result) string {
	if r == ckptdv1.Result_RESULT_UNFIT {
		return "UNFIT"
	}
	return output.Enum(r, "RESULT_")
}
