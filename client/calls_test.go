package client

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// changing are the calls that change something once, by the name of the request.
var changing = map[string]func(ctx context.Context, j *Job) error{
	"Acknowledge": func(ctx context.Context, j *Job) error {
		return j.Snapshot(ctx, snapshotOf(Piece{Name: "offsets", Inline: []byte("x")}))
	},
	"Decline": func(ctx context.Context, j *Job) error {
		return j.Decline(ctx, Decline{Attempt: 1, Epoch: 1, Checkpoint: 3})
	},
	"NewAttempt": func(ctx context.Context, j *Job) error {
		_, err := j.NewAttempt(ctx, 4, "why")
		return err
	},
}

func TestRequestIDs(t *testing.T) {
	for name, do := range changing {
		t.Run(name, func(t *testing.T) {
			t.Run("a call whose reply is lost is sent again as the same request", func(t *testing.T) {
				c := newCluster(t)
				d := c.start(daemonOptions{})
				_, job := c.client([]string{d.url})
				c.lostReplies[name] = 2
				if err := do(t.Context(), job); err != nil {
					t.Fatal(err)
				}
				sent := d.got(name)
				if len(sent) != 3 || requestID(sent[0]) == "" {
					t.Fatalf("sent %v, want one request with an id, three times", sent)
				}
				for _, m := range sent[1:] {
					if !proto.Equal(m, sent[0]) {
						t.Errorf("sent again as %v, want %v", m, sent[0])
					}
				}
			})
			t.Run("a request goes to the next owner as the same request", func(t *testing.T) {
				c := newCluster(t)
				a, b := c.start(daemonOptions{}), c.start(daemonOptions{})
				_, job := c.client([]string{a.url})
				c.owner = b // in the same epoch
				if err := do(t.Context(), job); err != nil {
					t.Fatal(err)
				}
				before, after := a.got(name), b.got(name)
				if len(before) != 1 || len(after) != 1 || !proto.Equal(before[0], after[0]) {
					t.Errorf("the old owner got %v, the new one %v; want the same request once each", before, after)
				}
			})
			t.Run("two calls are two requests", func(t *testing.T) {
				c := newCluster(t)
				d := c.start(daemonOptions{})
				_, job := c.client([]string{d.url})
				for range 2 {
					if err := do(t.Context(), job); err != nil {
						t.Fatal(err)
					}
				}
				if sent := d.got(name); len(sent) != 2 || requestID(sent[0]) == requestID(sent[1]) {
					t.Errorf("sent %v, want two requests with two ids", sent)
				}
			})
		})
	}
}

func requestID(m proto.Message) string {
	return m.(interface{ GetRequestId() string }).GetRequestId()
}

// A checkpoint belongs to one epoch. The refusal by the owner of the next epoch is final, because a retry would only
// lose time.
func TestStaleEpochIsRefusedAtOnce(t *testing.T) {
	for name, do := range map[string]func(ctx context.Context, j *Job) error{
		"acknowledge": changing["Acknowledge"],
		"decline":     changing["Decline"],
		"begin a snapshot": func(ctx context.Context, j *Job) error {
			return j.Snapshot(ctx, snapshotOf(piece("1.sst", Shared, []byte("x"))))
		},
		"upload": func(ctx context.Context, j *Job) error { // nothing is asked for exclusive files
			return j.Snapshot(ctx, snapshotOf(piece("log", Exclusive, make([]byte, 30<<10))))
		},
	} {
		t.Run(name, func(t *testing.T) {
			for way, change := range map[string]func(c *cluster, a, b *daemon){
				"the old owner names the new one": func(c *cluster, _, b *daemon) { c.owner, c.epoch = b, 2 },
				"the old owner took the job anew": func(c *cluster, a, _ *daemon) { c.owner, c.epoch = a, 2 },
			} {
				t.Run(way, func(t *testing.T) {
					c := newCluster(t)
					a, b := c.start(daemonOptions{}), c.start(daemonOptions{})
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					retries, refusals := 0, 0
					_, job := c.client([]string{a.url, b.url}, WithPatience(0), WithOnRetry(func(error, time.Duration) { retries++ }))
					change(c, a, b)
					c.onStale = func() {
						if refusals++; refusals > 1 {
							cancel() // with a patience without end, it would be repeated for ever
						}
					}
					if err := do(ctx, job); !errors.Is(err, ErrStaleEpoch) {
						t.Errorf("%v, want ErrStaleEpoch", err)
					}
					if refusals != 1 || retries > 0 {
						t.Errorf("refused %d times, repeated %d times; want one refusal, and no repetition", refusals, retries)
					}
					if len(c.acks) != 0 {
						t.Errorf("acknowledged: %v", c.acks)
					}
				})
			}
		})
	}
}

// A report belongs to an attempt, not to an epoch: the next owner is told all the same.
func TestReportGoesToTheOwnerOfTheNextEpoch(t *testing.T) {
	c := newCluster(t)
	d := c.start(daemonOptions{})
	_, job := c.client([]string{d.url})
	c.epoch = 5 // the daemon took the job anew
	if err := job.Report(t.Context(), Report{Kind: ReportRunning, Attempt: 1}); err != nil {
		t.Fatal(err)
	}
	sent := d.got("Report")
	if n := len(sent); n != 2 || sent[1].(*ckptdv1.ReportRequest).GetEpoch() != 5 || job.Epoch() != 5 {
		t.Errorf("sent %v, know epoch %d; want one of epoch 1, one of epoch 5", sent, job.Epoch())
	}
}
