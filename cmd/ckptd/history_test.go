package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/ckptd/ckptd/cmd/ckptd/demo"
	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/history"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// written is the history that lies on the storage.
func (r *rig) written() *ckptdv1.GetHistoryResponse {
	r.t.Helper()
	opened, err := drivers.Open(r.ctx, r.bare, true)
	r.must(err)
	defer opened.Close()
	res, err := catalog.New(opened.Store).History(r.ctx, &ckptdv1.GetHistoryRequest{JobId: r.ID, PageSize: 1000}, nil)
	r.must(err)
	return res
}

// shown is the history as the command prints it.
func (r *rig) shown(args ...string) *ckptdv1.GetHistoryResponse {
	r.t.Helper()
	res := &ckptdv1.GetHistoryResponse{}
	r.must(protojson.Unmarshal([]byte(ckptd(r.t, exit.Done, append([]string{"history", "--json", "--last", "10000"}, args...)...)), res))
	return res
}

var completedLine = regexp.MustCompile(`(?m)^time=\S+ .* msg=completed job=\S+ checkpoint=(\d+) `)

// The daemon is killed in the middle. What was written is there afterwards, unchanged; what is shown is what the daemons' logs say; and
// it is there after the job's end, without a daemon.
func TestHistoryOverKills(t *testing.T) {
	t.Parallel()
	r := newRig(t, demo.Options{Interval: "10ms", Records: 40_000, Rate: 5000})
	r.begin()
	r.await("a segment is written", func(*ckptdv1.JobState) bool { return len(r.written().GetCheckpoints()) >= history.SegmentRecords })
	_, err := r.Daemon.Kill()
	r.must(err)
	before := r.written()
	r.await("the next owner", func(s *ckptdv1.JobState) bool { return s.GetSummary().GetEpoch() == 2 })
	r.awaitCheckpoints(10)
	live := r.shown(r.ID, "--server", r.URL)
	if !live.GetLive() || live.GetCheckpoints()[0].GetEpoch() != 2 {
		t.Errorf("the owner's newest is %v", live.GetCheckpoints()[0])
	}
	r.finish()
	r.must(r.Stop(r.ctx))
	after := r.shown(r.bare + "/" + r.ID)
	completed := map[uint64]bool{}
	logs, _ := filepath.Glob(filepath.Join(r.Tmp, "logs", "daemon*"))
	for _, path := range logs {
		b, err := os.ReadFile(path)
		r.must(err)
		for _, m := range completedLine.FindAllStringSubmatch(string(b), -1) {
			id, err := strconv.ParseUint(m[1], 10, 64)
			r.must(err)
			completed[id] = true
		}
	}
	byID := map[uint64]*ckptdv1.CheckpointRecord{}
	for _, c := range after.GetCheckpoints() {
		byID[c.GetCheckpointId()] = c
		if done := c.GetOutcome() == ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_COMPLETED; done != completed[c.GetCheckpointId()] {
			t.Errorf("checkpoint %d is %v; its completion is in the log: %v", c.GetCheckpointId(), c.GetOutcome(), completed[c.GetCheckpointId()])
		}
	}
	for _, c := range before.GetCheckpoints() {
		now := byID[c.GetCheckpointId()]
		if now != nil {
			now.Retained = c.GetRetained()
		}
		if !proto.Equal(now, c) {
			t.Errorf("checkpoint %d was %v, and is %v", c.GetCheckpointId(), c, now)
		}
	}
	if lost := len(completed) - int(after.GetCounts().GetCompleted()); lost < 0 || lost > history.SegmentRecords+20 || len(after.GetCheckpoints()) < history.SegmentRecords {
		t.Errorf("%d have completed, %d are counted, %d listed", len(completed), after.GetCounts().GetCompleted(), len(after.GetCheckpoints()))
	}
}
