package main

import (
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/ckptd/ckptd/cmd/ckptd/demo"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// A person takes checkpoints of each kind of a running job: a full one reuses no file, an incremental one does.
func TestTriggerKinds(t *testing.T) {
	t.Parallel()
	contains(t, ckptd(t, exit.Usage, "checkpoint", "clicks", "--kind", "half"), "--kind", "configured, full, incremental")
	r := newRig(t, demo.Options{Interval: "1h", Records: 30_000, Rate: 5000})
	r.begin()
	r.await("records flow", func(s *ckptdv1.JobState) bool { return r.Watch.Running && s.GetRecords() > 1000 })
	take := func(args ...string) *ckptdv1.CheckpointSummary {
		t.Helper()
		res := &ckptdv1.TriggerCheckpointResponse{}
		out := ckptd(t, exit.Done, append([]string{"checkpoint", r.ID, "--server", r.URL, "--json"}, args...)...)
		if err := protojson.Unmarshal([]byte(out), res); err != nil {
			t.Fatal(err)
		}
		return res.GetCheckpoint()
	}
	take()
	for kind, reuses := range map[string]bool{"configured": true, "incremental": true, "full": false} {
		if c := take("--kind", kind); c.GetReusedBytes() > 0 != reuses {
			t.Errorf("a checkpoint of kind %s reuses %d of %d bytes; want it to reuse some: %v", kind, c.GetReusedBytes(), c.GetStateBytes(), reuses)
		}
	}
	r.must(r.Cancel(r.ctx))
}
