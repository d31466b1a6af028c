package catalog_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ckptd/ckptd/layout/catalog"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

func TestLatest(t *testing.T) {
	job := func(id, from string, latest uint64, second int64) *ckptdv1.JobSummary {
		return &ckptdv1.JobSummary{JobId: id, RestoredFrom: from, LatestCheckpointId: latest, Labels: map[string]string{"name": "clicks"},
			Status: ckptdv1.JobStatus_JOB_STATUS_CANCELED, LatestCompletedAt: timestamppb.New(time.Unix(second, 0))}
	}
	other := job("other", "", 99, 99)
	other.Labels = map[string]string{"name": "views"}
	for name, test := range map[string]struct {
		jobs []*ckptdv1.JobSummary
		want string // a job, or words of the error
	}{
		"one":                                {[]*ckptdv1.JobSummary{job("a", "", 4, 1), other}, "a"},
		"none with the label":                {[]*ckptdv1.JobSummary{other}, "no job with that label keeps a checkpoint"},
		"none kept":                          {[]*ckptdv1.JobSummary{job("a", "", 0, 1)}, "no job with that label keeps a checkpoint"},
		"unrelated: the later":               {[]*ckptdv1.JobSummary{job("a", "", 9, 5), job("b", "", 4, 7), job("c", "", 5, 6)}, "b"},
		"lineage before time":                {[]*ckptdv1.JobSummary{job("a", "", 9, 7), job("b", "a/chk-9", 10, 5)}, "b"},
		"a chain":                            {[]*ckptdv1.JobSummary{job("c", "b/chk-10", 12, 1), job("b", "a/chk-9", 10, 2), job("a", "", 9, 3)}, "c"},
		"a chain over one that kept nothing": {[]*ckptdv1.JobSummary{job("c", "b/chk-10", 12, 1), job("b", "a/chk-9", 0, 2), job("a", "", 9, 3)}, "c"},
		"an heir that kept nothing":          {[]*ckptdv1.JobSummary{job("b", "a/chk-9", 0, 2), job("a", "", 9, 3)}, "a"},
		"from an older one: two branches":    {[]*ckptdv1.JobSummary{job("a", "", 9, 3), job("b", "a/chk-8", 12, 4)}, "a/chk-9 and b/chk-12 are two branches"},
		"two heirs: two branches":            {[]*ckptdv1.JobSummary{job("b", "a/chk-9", 12, 4), job("c", "a/chk-9", 13, 5)}, "b/chk-12 and c/chk-13 are two branches"},
		"a circle":                           {[]*ckptdv1.JobSummary{job("a", "b/chk-9", 1, 1), job("b", "a/chk-9", 2, 2)}, "no job with that label keeps a checkpoint"},
	} {
		got, err := catalog.Latest(test.jobs, "name", "clicks")
		switch {
		case err != nil && (!errors.Is(err, catalog.ErrNoLatest) || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v, want %q", name, err, test.want)
		case err == nil && got.GetJobId() != test.want:
			t.Errorf("%s: job %s, want %q", name, got.GetJobId(), test.want)
		}
	}
	runs := job("r", "", 1, 1)
	runs.Status = ckptdv1.JobStatus_JOB_STATUS_RUNNING
	jobs := []*ckptdv1.JobSummary{job("a", "", 1, 1), other, runs}
	if got := catalog.Running(jobs, "name", "clicks"); got != runs {
		t.Errorf("%v runs, want job r", got)
	}
	if got := catalog.Running(jobs, "name", "views"); got != nil {
		t.Errorf("%v runs, want none", got)
	}
}
