package runtime_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/runtime"
	"github.com/ckptd/ckptd/runtime/exchange"
)

// lateCancel hands a worker its Cancel after until is closed.
type lateCancel struct {
	runtime.Coordinator
	until <-chan struct{}
}

type lateSession struct {
	runtime.Session
	until <-chan struct{}
}

func (l lateCancel) Register(ctx context.Context, r client.Registration) (runtime.Session, error) {
	s, err := l.Coordinator.Register(ctx, r)
	return lateSession{s, l.until}, err
}

func (l lateSession) Next(ctx context.Context) (client.Command, error) {
	cmd, err := l.Session.Next(ctx)
	if _, ok := cmd.(client.Cancel); ok {
		<-l.until
	}
	return cmd, err
}

// lockedLog is a buffer for the log of several workers.
type lockedLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestCanceledInPeace cancels a job of two workers. One of them hears of it after the other has closed its channels.
// No worker logs an error, and no line has a checkpoint 0.
func TestCanceledInPeace(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, slog.New(slog.DiscardHandler), 1, mem.Rates{})
	c := &clicks{parallelism: 2, records: 1 << 30, users: 20, rate: 1000, target: newTarget()}
	job, network := c.job(), exchange.NewMemory()
	var log lockedLog
	left := make(chan struct{})
	ended := make([]chan error, 2)
	for number := range ended {
		cl, err := client.New([]string{d.url()})
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		attached, err := cl.AttachJob(t.Context(), client.JobSpec{ID: "clicks", Plan: job.Plan(), Config: client.DefaultConfig(50 * time.Millisecond)})
		if err != nil {
			t.Fatal(err)
		}
		coordinator := runtime.NewCoordinator(attached)
		if number == 1 {
			coordinator = lateCancel{coordinator, left}
		}
		ended[number] = make(chan error, 1)
		go func() {
			ended[number] <- runtime.RunWorker(t.Context(), runtime.WorkerOptions{JobID: "clicks", Job: job, Number: number, Workers: 2,
				Coordinator: coordinator, Network: network, Dir: filepath.Join(t.TempDir(), fmt.Sprint(number)), Log: slog.New(slog.NewTextHandler(&log, nil))})
		}()
	}
	people, done := d.people()
	defer done()
	for deadline := time.Now().Add(20 * time.Second); jobState(t.Context(), people).GetCommittedCheckpointId() == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no checkpoint was committed")
		}
	}
	if _, err := people.CancelJob(t.Context(), &ckptdv1.CancelJobRequest{JobId: "clicks", RequestId: "r"}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended[0]; err != nil {
		t.Error(err)
	}
	time.Sleep(20 * time.Millisecond) // the other worker notices that its channels are closed
	close(left)
	if err := <-ended[1]; err != nil {
		t.Error(err)
	}
	if text := log.String(); strings.Contains(text, "level=ERROR") || strings.Contains(text, "restored=0") || strings.Contains(text, "checkpoint=0") {
		t.Errorf("the workers log\n%s\nwant nothing at ERROR, and no checkpoint 0", text)
	} else if strings.Count(text, `msg="job ended"`) != 2 {
		t.Errorf("the workers log\n%s\nwant that each says that the job ended", text)
	}
}
