package service

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/verify"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/shell"
)

// Scrub says how often a daemon reads the newest checkpoint of each of its jobs, and compares every sum.
type Scrub struct {
	// Every is the time between two rounds; 0: the daemon does not scrub.
	Every time.Duration
	// Rate bounds the bytes a second that are read; 0: as fast as the store.
	Rate uint64
}

// firstScrub is when the first round begins at the latest. A daemon that is restarted often scrubs, too.
const firstScrub = 10 * time.Minute

// scrubTries is how many checkpoints of a job a round tries. While the newest one is read, the job may drop it.
const scrubTries = 3

// scrubber verifies the newest checkpoints of the jobs that this daemon owns, and remembers the results.
type scrubber struct {
	Scrub
	store storage.Store
	// all lists the jobs of the daemon.
	all func() []*shell.Job
	log *slog.Logger

	mu   sync.Mutex
	jobs map[string]scrubbed
}

// scrubbed is what is known of one job.
type scrubbed struct {
	// verified is when the newest checkpoint completed that was found whole. Before the first one, it is when the scrubber
	// first saw the job.
	verified time.Time
	// damaged is true if the newest checkpoint was found damaged.
	damaged bool
}

// run scrubs until ctx ends.
func (c *scrubber) run(ctx context.Context) {
	for wait := min(c.Every, firstScrub); journalio.Sleep(ctx, wait); wait = c.Every {
		c.round(ctx)
		if !journalio.Sleep(ctx, rand.N(wait/10+1)) { // daemons do not read at the same time
			return
		}
	}
}

// round verifies the newest checkpoint of each job.
func (c *scrubber) round(ctx context.Context) {
	owned := map[string]bool{}
	for _, j := range c.all() {
		if j.Vitals() != nil {
			owned[j.ID()] = true
			c.job(ctx, j.ID())
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.jobs {
		if !owned[id] {
			delete(c.jobs, id)
		}
	}
}

// job verifies the newest checkpoint of one job.
func (c *scrubber) job(ctx context.Context, id string) {
	for range scrubTries {
		head, err := catalog.Head(ctx, c.store, id)
		if err != nil || head.Newest() == 0 {
			return
		}
		k, _ := head.Checkpoint(head.Newest())
		report, err := verify.Run(ctx, &slowStore{Store: c.store, rate: c.Rate},
			verify.Options{Job: id, Checkpoint: k.ID, ReadData: true, Parallel: 1})
		if err != nil {
			if ctx.Err() == nil {
				c.log.Warn("cannot scrub a job's newest checkpoint", "job", id, "checkpoint", k.ID, "error", err)
			}
			return
		}
		switch report.GetVerdict() {
		case ckptdv1.VerifyVerdict_VERIFY_VERDICT_WHOLE:
			c.note(id, scrubbed{verified: time.UnixMilli(int64(k.CompletedAt))})
			return
		case ckptdv1.VerifyVerdict_VERIFY_VERDICT_DAMAGED:
			c.log.Error("a scrub has found damage in a job's newest checkpoint", "job", id, "checkpoint", k.ID,
				"advice", "`ckptd verify --read-data` says which operator's state it is, and which older checkpoint is whole")
			c.note(id, scrubbed{verified: c.verified(id), damaged: true})
			return
		}
	}
}

func (c *scrubber) note(id string, what scrubbed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.jobs[id] = what
}

// verified is when the job's newest whole checkpoint completed. A job that was never verified counts from now.
func (c *scrubber) verified(id string) time.Time { return c.of(id).verified }

// of is what is known of a job.
func (c *scrubber) of(id string) scrubbed {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.jobs[id]; !ok {
		c.jobs[id] = scrubbed{verified: time.Now()}
	}
	return c.jobs[id]
}

// slowStore bounds the rate at which objects are read.
type slowStore struct {
	storage.Store
	rate uint64 // bytes a second; 0: no bound
}

// Open implements storage.Store.
func (s *slowStore) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	body, err := s.Store.Open(ctx, key, offset, length)
	if err != nil || s.rate == 0 {
		return body, err
	}
	return &slowBody{body, ctx, s.rate}, nil
}

type slowBody struct {
	io.ReadCloser
	ctx  context.Context
	rate uint64
}

// Read implements io.Reader. It pauses for as long as the bytes may take at the rate.
func (b *slowBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 && !journalio.Sleep(b.ctx, time.Duration(float64(n)/float64(b.rate)*float64(time.Second))) && err == nil {
		err = context.Cause(b.ctx)
	}
	return n, err
}
