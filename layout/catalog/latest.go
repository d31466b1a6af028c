package catalog

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ckptd/ckptd/layout"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// ErrNoLatest is in the chain when no checkpoint is the latest one of a label.
var ErrNoLatest = errors.New("no latest checkpoint")

// Latest finds the newest restorable checkpoint of the jobs with a label. jobs are all jobs of the root.
//
// Lineage decides: a job that began from another one's newest checkpoint comes after it. Time orders only jobs that have
// nothing to do with each other. Two branches of one lineage are an error that names both.
func Latest(jobs []*ckptdv1.JobSummary, key, value string) (*ckptdv1.JobSummary, error) {
	l := lineages{byID: map[string]*ckptdv1.JobSummary{}, heirs: map[string][]*ckptdv1.JobSummary{}}
	for _, j := range jobs {
		l.byID[j.GetJobId()] = j
		if job, _ := sourceOf(j); job != "" {
			l.heirs[job] = append(l.heirs[job], j)
		}
	}
	tips := map[string]*ckptdv1.JobSummary{} // by the first job of the lineage
	var newest *ckptdv1.JobSummary
	for _, j := range jobs {
		if v, ok := j.GetLabels()[key]; !ok || v != value || j.GetLatestCheckpointId() == 0 || l.continued(j, 0) {
			continue
		}
		first := l.first(j)
		if other := tips[first]; other != nil {
			return nil, fmt.Errorf("%w of %s=%s: %s and %s are two branches of one lineage: name one of them", ErrNoLatest, key, value, pathOf(other), pathOf(j))
		}
		tips[first] = j
		if newest == nil || j.GetLatestCompletedAt().AsTime().After(newest.GetLatestCompletedAt().AsTime()) {
			newest = j
		}
	}
	if newest == nil {
		return nil, fmt.Errorf("%w of %s=%s: no job with that label keeps a checkpoint", ErrNoLatest, key, value)
	}
	return newest, nil
}

// Running is a job with a label that has not ended; nil: there is none.
func Running(jobs []*ckptdv1.JobSummary, key, value string) *ckptdv1.JobSummary {
	for _, j := range jobs {
		s := j.GetStatus()
		if v, ok := j.GetLabels()[key]; ok && v == value && (s == ckptdv1.JobStatus_JOB_STATUS_RUNNING || s == ckptdv1.JobStatus_JOB_STATUS_STOPPING) {
			return j
		}
	}
	return nil
}

func pathOf(j *ckptdv1.JobSummary) string {
	return j.GetJobId() + "/" + layout.CheckpointDir(j.GetLatestCheckpointId())
}

// sourceOf is the job and the checkpoint that a job began from.
func sourceOf(j *ckptdv1.JobSummary) (job string, id uint64) {
	job, folder, _ := strings.Cut(j.GetRestoredFrom(), "/")
	id, _ = layout.ParseCheckpointDir(folder)
	return job, id
}

// lineages are the restore links between jobs.
type lineages struct {
	byID  map[string]*ckptdv1.JobSummary
	heirs map[string][]*ckptdv1.JobSummary
}

// continued tells whether a job that keeps a checkpoint began from this job's newest one, or from one that did.
// A damaged root may link jobs in a circle; depth ends the walk.
func (l *lineages) continued(j *ckptdv1.JobSummary, depth int) bool {
	for _, heir := range l.heirs[j.GetJobId()] {
		_, from := sourceOf(heir)
		if from >= j.GetLatestCheckpointId() && depth < len(l.byID) && (heir.GetLatestCheckpointId() != 0 || l.continued(heir, depth+1)) {
			return true
		}
	}
	return false
}

// first is the job with which a lineage begins.
func (l *lineages) first(j *ckptdv1.JobSummary) string {
	id := j.GetJobId()
	for range len(l.byID) {
		before, ok := l.byID[id]
		if !ok {
			break
		}
		source, _ := sourceOf(before)
		if source == "" {
			break
		}
		id = source
	}
	return id
}
