package config

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/retention"
)

// The keys of periodic savepoints are ckptd's own.
const (
	keySavepointEvery = "ckptd.savepoint.interval"
	keySavepointKeep  = "ckptd.savepoint.keep"
)

// mostPeriodic is how many periodic savepoints a schedule keeps. The journal has room for a few more savepoints on record.
const mostPeriodic = 24

// PeriodicSavepoints say which savepoints an owner takes by itself.
type PeriodicSavepoints struct {
	// Every is the time from the end of one to the next; 0: none are taken.
	Every time.Duration
	// Keep says which of them stay, as it was written; empty: all. Rules is the same, to act upon.
	Keep  string
	Rules retention.Rules
}

// saving returns the keys about periodic savepoints.
func saving() []option {
	return []option{
		{key: keySavepointEvery, set: setSavepointEvery,
			get: func(_ string, j Job) any {
				if j.Periodic.Every == 0 {
					return nil
				}
				return FormatDuration(j.Periodic.Every)
			}},
		{key: keySavepointKeep,
			set: func(f *File, v string) error {
				f.Job.SavepointKeep = v
				_, err := retention.ParseRules(v, mostPeriodic)
				return err
			},
			get: func(_ string, j Job) any {
				if j.Periodic.Keep == "" {
					return nil
				}
				return j.Periodic.Keep
			}},
	}
}

// setSavepointEvery accepts 0, which means no periodic savepoints.
func setSavepointEvery(f *File, v string) error {
	d, err := ParseDuration(v)
	if err != nil {
		return err
	}
	if err := checkSavepointEvery(d); err != nil {
		return err
	}
	f.Job.SavepointInterval = durationpb.New(d)
	return nil
}

func checkSavepointEvery(d time.Duration) error {
	if d != 0 && (d < leastDuration || d > longestPause) {
		return fmt.Errorf("%s is out of range; allowed is %s to %s, or 0 for no periodic savepoints", FormatDuration(d), FormatDuration(leastDuration), FormatDuration(longestPause))
	}
	return nil
}

// periodic reads what a configuration says about periodic savepoints.
func periodic(every *durationpb.Duration, keep string) (p PeriodicSavepoints, err error) {
	if err := every.CheckValid(); every != nil && err != nil {
		return p, fmt.Errorf("config: %s: not a duration: want seconds and nanos in the range of google.protobuf.Duration", keySavepointEvery)
	}
	p.Every, p.Keep = every.AsDuration(), keep
	if err := checkSavepointEvery(p.Every); err != nil {
		return p, fmt.Errorf("config: %s: %w", keySavepointEvery, err)
	}
	if keep == "" {
		return p, nil
	}
	if p.Rules, err = retention.ParseRules(keep, mostPeriodic); err != nil {
		return p, fmt.Errorf("config: %s: %w", keySavepointKeep, err)
	}
	if p.Every == 0 {
		return p, fmt.Errorf("config: %s: %q says which periodic savepoints stay, and none are taken: set %s", keySavepointKeep, keep, keySavepointEvery)
	}
	return p, nil
}

// Dropped is the oldest periodic savepoint of a job that the schedule does not keep, apart from those that are settled. The newest one stays in
// any case.
func (p *PeriodicSavepoints) Dropped(head *journal.Entry, settled []uint64) (saved journal.Savepoint, ok bool) {
	if p.Keep == "" {
		return saved, false
	}
	var all []retention.Candidate
	for i := range head.Savepoints {
		if s := &head.Savepoints[i]; s.Disposable() && !slices.Contains(settled, s.ID) {
			all = append(all, retention.Candidate{ID: s.ID, At: time.UnixMilli(int64(s.EndedAt))})
		}
	}
	if len(all) > 0 {
		all[len(all)-1].Newest = true
	}
	verdicts := retention.Forget(all, &p.Rules)
	for i := len(verdicts) - 1; i >= 0; i-- {
		if !verdicts[i].Keep {
			return head.Savepoint(verdicts[i].ID)
		}
	}
	return saved, false
}
