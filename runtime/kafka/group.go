package kafka

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// groupOffsets commits offsets to a group, one request at a time, the newest last.
type groupOffsets struct {
	topic topic
	group string

	// idle holds a value when a request has ended and none follows.
	idle chan struct{}

	mu      sync.Mutex
	busy    bool
	waiting []partitionOffset // the newest offsets that no request carries yet
	err     error             // of a request that commit has not returned yet
}

// commit starts a request, or leaves the offsets to the one that runs. It returns the error of an earlier request.
func (g *groupOffsets) commit(ctx context.Context, wg *sync.WaitGroup, limit time.Duration, offsets []partitionOffset) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = offsets
	if !g.busy && len(offsets) > 0 {
		g.busy = true
		wg.Go(func() { g.run(ctx, limit) })
	}
	err := g.err
	g.err = nil
	return err
}

// finish waits, for a while, until the offsets are committed.
func (g *groupOffsets) finish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, abortWait)
	defer cancel()
	for {
		g.mu.Lock()
		busy := g.busy
		g.mu.Unlock()
		if !busy {
			return
		}
		select {
		case <-g.idle:
		case <-ctx.Done():
			return
		}
	}
}

func (g *groupOffsets) run(ctx context.Context, limit time.Duration) {
	for {
		g.mu.Lock()
		offsets := g.waiting
		g.waiting, g.busy = nil, offsets != nil
		g.mu.Unlock()
		if offsets == nil {
			select {
			case g.idle <- struct{}{}:
			default:
			}
			return
		}
		if err := g.send(ctx, limit, offsets); err != nil && ctx.Err() == nil {
			g.mu.Lock()
			g.err = err
			g.mu.Unlock()
		}
	}
}

func (g *groupOffsets) send(ctx context.Context, limit time.Duration, offsets []partitionOffset) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var all kadm.Offsets
	for _, o := range offsets {
		all.AddOffset(g.topic.name, o.Partition, o.Next, -1)
	}
	answers, err := g.topic.admin.CommitOffsets(ctx, g.group, all)
	if err == nil {
		err = answers.Error()
	}
	return g.topic.advice(err)
}
