package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/layout/doctor"
)

// newDoctorRacerCmd is the command of the processes that doctor starts. It is not for people.
func newDoctorRacerCmd() *cobra.Command {
	return &cobra.Command{
		Use:         "doctor-racer ROOT",
		Short:       "Race for doctor, which starts it and tells it what to do",
		Example:     "  ckptd doctor ROOT",
		Hidden:      true,
		Annotations: map[string]string{noSettings: "doctor says all"},
		Args:        wantArgs(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			// A signal does not end a racer: it finishes its operations and ends when the doctor says so. The doctor
			// must be the last to write, because it removes everything that was written.
			ctx := context.WithoutCancel(cmd.Context())
			opened, err := drivers.Open(ctx, args[0], false)
			if err != nil {
				return err
			}
			r := doctor.NewRacer(opened)
			return errors.Join(doctor.ServeRacer(ctx, r, os.Stdin, os.Stdout), r.Close())
		},
	}
}

// stopTime is the time that a racer gets to end.
const stopTime = 5 * time.Second

// startRacers starts further processes of this program, which race to publish the same names.
func startRacers(ctx context.Context, root string, quick bool) ([]doctor.Racer, error) {
	n := 4
	if quick {
		n = 2
	}
	racers := make([]doctor.Racer, n)
	var g errgroup.Group
	for i := range racers {
		g.Go(func() (err error) {
			racers[i], err = startRacer(ctx, root)
			return err
		})
	}
	err := g.Wait()
	var started []doctor.Racer
	for _, r := range racers {
		if r != nil {
			started = append(started, r)
		}
	}
	return started, err
}

func startRacer(ctx context.Context, root string) (doctor.Racer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "doctor-racer", root)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is for the doctor, which ends its racers
	var said strings.Builder
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	// StdoutPipe would not do: nobody may read from it after Wait was called.
	out, outEnd, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = outEnd
	err = cmd.Start()
	outEnd.Close()
	if err != nil {
		out.Close()
		return nil, fmt.Errorf("starting %s: %w", self, err)
	}
	stop := sync.OnceValue(func() error {
		in.Close()
		kill := time.AfterFunc(stopTime, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		err := cmd.Wait()
		out.Close()
		if err != nil {
			return fmt.Errorf("%w: %s", err, strings.TrimSpace(said.String()))
		}
		return nil
	})
	unwatch := context.AfterFunc(ctx, func() { _ = stop() })
	r, err := doctor.DialRacer(out, in, stop)
	unwatch()
	if err != nil {
		return nil, err
	}
	return r, nil
}

// progress prints what the doctor is doing. On a terminal it updates one line; elsewhere it prints each kind of step
// once.
type progress struct {
	w    io.Writer
	mu   sync.Mutex
	last string
	on   bool
}

func (p *progress) say(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if isTerminal(p.w) {
		p.on = true
		fmt.Fprintf(p.w, "\r\x1b[K%s …", what)
		return
	}
	if what, _, _ = strings.Cut(what, ":"); what != p.last {
		p.last = what
		fmt.Fprintf(p.w, "doctor: %s\n", what)
	}
}

// end clears the line.
func (p *progress) end() {
	if p.on {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "" && os.Getenv("TERM") != "dumb"
}

// latencyText formats a short duration for people.
func latencyText(d *durationpb.Duration) string {
	switch t := d.AsDuration(); {
	case t < time.Millisecond:
		return t.Round(time.Microsecond).String()
	case t < time.Second:
		return t.Round(10 * time.Microsecond).String()
	default:
		return t.Round(time.Millisecond).String()
	}
}
