package service

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// A job that is to be swept again while a sweep runs waits for that one's end, without looking at the clock over and over.
func TestASweepThatRunsIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		timer := time.NewTimer(0)
		(&job{sweep: sweepState{due: begun, running: true}}).arm(timer)
		if <-timer.C; time.Since(begun) < time.Minute {
			t.Errorf("looks again after %v", time.Since(begun))
		}
		begun = time.Now()
		(&job{sweep: sweepState{due: begun}}).arm(timer)
		if <-timer.C; time.Since(begun) != 0 {
			t.Errorf("a sweep that is due waits for %v", time.Since(begun))
		}
	})
}

// A worker that goes while it waits to be registered does not count as one: nobody reads its commands.
func TestAWorkerThatLeavesBeforeItIsRegistered(t *testing.T) {
	s := server(t, mem.Open(), "http://d.invalid")
	j := attached(t, s, "j")
	busy := make(chan struct{})
	j.do(func() { <-busy })
	ctx, leave := context.WithCancel(t.Context())
	leave()
	err := (engine{s}).Register(ctx, &ckptdv1.RegisterRequest{
		JobId: "j", Nonce: "n", Subtasks: []*ckptdv1.Subtask{{OperatorId: "count"}},
	}, nil)
	if err == nil {
		t.Fatal("registered")
	}
	close(busy)
	workers, err := ask(t.Context(), j, func(reply func(int, error)) { reply(len(j.workers), nil) })
	if err != nil || workers != 0 {
		t.Errorf("%d workers, %v", workers, err)
	}
}

// A clock that was set back between a trigger and the last acknowledgement gives no time beyond all measure.
func TestDurationWithAClockSetBack(t *testing.T) {
	at := time.UnixMilli(1_000_000)
	if c := entryOf(1, 1, layout.Header{TriggeredAt: at, CompletedAt: at.Add(-time.Second)}, layout.Totals{}); c.DurationMillis != 0 {
		t.Errorf("%d ms", c.DurationMillis)
	}
}
