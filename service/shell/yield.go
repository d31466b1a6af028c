package shell

import (
	"context"
	"time"

	"github.com/ckptd/ckptd/layout/journalio"
)

// How many files one call of Delete names, and how many such calls of a job run at a time. A request to a server is
// dear, and S3 takes 1,000 keys in one. A store on this machine deletes key by key: 64 take about a millisecond.
const (
	deletesRemote, callersRemote = 1000, 4
	deletesLocal, callersLocal   = 64, 1
)

// deletesAtOnce returns how many files one call of Delete names, and how many such calls run at a time.
func (j *Job) deletesAtOnce() (keys, callers int) {
	if j.env.Facts.InProcess {
		return deletesLocal, callersLocal
	}
	return deletesRemote, callersRemote
}

// longestPause bounds the pause after one piece of collecting.
const longestPause = 20 * time.Millisecond

// leaveTurn pauses after a piece of work that nobody waits for and that began at began: as long as it took. Without the
// pause, deletes and lists of a store on this machine keep all processors, and Go looks for messages of workers only
// every 10 ms then.
func (j *Job) leaveTurn(ctx context.Context, began time.Time) {
	if j.env.Facts.InProcess {
		journalio.Sleep(ctx, min(time.Since(began), longestPause))
	}
}
