package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage"
)

// A command holds a checkpoint for holdTime at first, and lets the pin count anew when renewAfter has passed. If the command is killed,
// the pin goes by itself.
const (
	holdTime   = time.Hour
	renewAfter = 20 * time.Minute
)

// holder holds checkpoints while a command works.
type holder struct {
	opened storage.Opened
	// tool is the command, for people who look at the pins.
	tool  string
	pins  []*journalio.Pin
	since time.Time
}

// hold pins a checkpoint of a job.
func (h *holder) hold(ctx context.Context, job string, id uint64) error {
	if h.since.IsZero() {
		h.since = time.Now()
	}
	p, err := journalio.Hold(ctx, h.opened.Store, h.opened.Facts, job, id, h.tool, holdTime)
	if err == nil {
		h.pins = append(h.pins, p)
	}
	return err
}

// renew lets the pins count anew, if it is time. An error means that a checkpoint is held no more.
func (h *holder) renew(ctx context.Context) error {
	if len(h.pins) == 0 || time.Since(h.since) < renewAfter {
		return nil
	}
	h.since = time.Now()
	for _, p := range h.pins {
		if err := p.Renew(ctx, holdTime); err != nil {
			return fmt.Errorf("%s: renew a pin: %w", h.tool, err)
		}
	}
	return nil
}

// returnTime bounds how long an interrupted command tries to return its pins.
const returnTime = 5 * time.Second

// release returns all pins, also after Ctrl-C.
func (h *holder) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), returnTime+time.Duration(len(h.pins))*time.Second)
	defer cancel()
	var all error
	for _, p := range h.pins {
		all = errors.Join(all, p.Return(ctx))
	}
	h.pins = nil
	return all
}

// heldSource holds checkpoints of a root from which another process copies. Without the right to write there it holds nothing.
type heldSource struct {
	url    string
	opened *storage.Opened
	// denied: the root cannot be written.
	denied bool
}

// hold keeps a checkpoint until release is called. If the pin is lost, or cannot be taken, the copy finds out that the checkpoint left.
func (s *heldSource) hold(ctx context.Context, job string, id uint64) (release func()) {
	if s.opened == nil && !s.denied {
		opened, err := drivers.Open(ctx, s.url, false)
		if s.denied = err != nil; !s.denied {
			s.opened = &opened
		}
	}
	if s.denied {
		return func() {}
	}
	h := &holder{opened: *s.opened, tool: "copy"}
	if err := h.hold(ctx, job, id); err != nil {
		s.denied = !errors.Is(err, journalio.ErrNotKept)
		return func() {}
	}
	renewing, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for journalio.Sleep(renewing, renewAfter) && h.renew(renewing) == nil {
		}
	}()
	return func() {
		stop()
		<-done
		_ = h.release(ctx) // the pin expires
	}
}

func (s *heldSource) close() error {
	if s.opened == nil {
		return nil
	}
	return s.opened.Close()
}
