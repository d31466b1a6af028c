package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/ckptd/ckptd/cmd/ckptd/demo"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/launch"
	"github.com/ckptd/ckptd/conformance/servers"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// On a real HDFS: doctor finds it fit, says what is special there, and leaves nothing; the demo is exact although worker and daemon
// are killed; jobs go on from copies, on Google Cloud Storage, on S3, and on HDFS again;
// very many files are listed, planned and deleted.
func TestOnHDFS(t *testing.T) {
	t.Parallel()
	if os.Getenv("CKPTD_TEST_FULL") == "" {
		t.Skip("`make test` runs it")
	}
	cluster := servers.StartHDFS(t, 1, map[string]string{"dfs.datanode.synconclose": "true"})
	t.Run("doctor", func(t *testing.T) {
		t.Parallel()
		root := cluster.URL("some/prefix", "")
		r, code, said := runDoctor(t, root)
		if code != exit.Done || r.GetVerdict() != ckptdv1.Verdict_VERDICT_FIT {
			t.Errorf("exit code %d\n%s\n%s", code, protojson.Format(r), said)
		}
		seen := map[string]*ckptdv1.Finding{}
		for _, f := range r.GetFindings() {
			seen[f.GetCheck()] = f
		}
		for check, want := range map[string]ckptdv1.Result{
			"sync on close": ckptdv1.Result_RESULT_OK, "safe mode": ckptdv1.Result_RESULT_OK, "copies": ckptdv1.Result_RESULT_WARNING,
			"quotas": ckptdv1.Result_RESULT_OK, "snapshots": ckptdv1.Result_RESULT_OK, "trash": ckptdv1.Result_RESULT_OK,
		} {
			if got := seen[check].GetResult(); got != want {
				t.Errorf("%s: %v, want %v", check, seen[check], want)
			}
		}
		if left := objectsOf(t, root); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	})
	t.Run("demo", func(t *testing.T) {
		t.Parallel()
		demoOn(t, cluster.URL("demo-0", ""), 0)
	})
	t.Run("copies", func(t *testing.T) {
		t.Parallel()
		moveAround(t, cluster.URL("around", ""), servers.GCSURL(servers.StartGCS(t).Endpoint, "around", ""),
			servers.StartS3(t, servers.Versitygw, false).URL("around", ""), cluster.URL("again", ""))
	})
	t.Run("many files", func(t *testing.T) {
		if os.Getenv("CKPTD_NIGHTLY") == "" {
			t.Skip("`make nightly` runs it")
		}
		t.Parallel()
		manyObjects(t, cluster.URL("many", ""))
	})
	t.Run("a stranger", func(t *testing.T) {
		t.Parallel()
		r, code, said := runDoctor(t, strings.Replace(cluster.URL("forbidden", ""), cluster.User+"@", "stranger@", 1))
		if code == exit.Done || !strings.Contains(protojson.Format(r), "-wx") {
			t.Errorf("exit code %d\n%s\n%s\nwant the missing permission by its name", code, protojson.Format(r), said)
		}
	})
}

// Parts of HDFS are killed and paused, again and again, and safe mode lasts for half a minute, while checkpoints follow one another
// closely. Checkpoints fail and are tolerated; the job goes on, and in the end each record counts once.
func TestHDFSHarmedAgainAndAgain(t *testing.T) {
	if os.Getenv("CKPTD_NIGHTLY") == "" {
		t.Skip("`make nightly` runs it")
	}
	t.Parallel()
	cluster := servers.StartHDFS(t, 2, map[string]string{"dfs.datanode.synconclose": "true"})
	r := newRigFor(t, 9*time.Minute, demo.Options{Root: cluster.URL("harm", "timeout=2s"), Interval: "100ms", Rate: 500, Records: 60_000})
	r.tolerant()
	r.begin()
	admin := func(args ...string) error { _, err := cluster.Admin("dfsadmin", args...); return err }
	for _, harm := range []struct {
		what       string
		away, back func() error
		long       time.Duration
	}{
		{"the NameNode is killed", func() error { cluster.KillNameNode(); return nil }, cluster.StartNameNode, 0},
		{"the NameNode is paused", func() error { return cluster.PauseNameNode(true) }, func() error { return cluster.PauseNameNode(false) }, 4 * time.Second},
		{"a DataNode is killed", func() error { cluster.KillDataNode(0); return nil }, func() error { return cluster.StartDataNode(0) }, 2 * time.Second},
		{"a DataNode is paused", func() error { return cluster.PauseDataNode(1, true) }, func() error { return cluster.PauseDataNode(1, false) }, 4 * time.Second},
		{"safe mode", func() error { return admin("-safemode", "enter") }, func() error { return admin("-safemode", "leave") }, 30 * time.Second},
		{"a quota is hit", func() error { return cluster.SetQuota("/harm", 10, -1) }, func() error { return cluster.SetQuota("/harm", -1, -1) }, 2 * time.Second},
		{"the NameNode is killed again", func() error { cluster.KillNameNode(); return nil }, cluster.StartNameNode, time.Second},
	} {
		r.awaitCheckpoints(2)
		t.Log(harm.what)
		r.must(harm.away())
		launch.Sleep(r.ctx, harm.long)
		r.must(harm.back())
		r.must(cluster.Await(2))
	}
	r.must(r.Follow(r.ctx))

	// The job ends, and nothing can be deleted meanwhile. What is owed is deleted later, and the job let go.
	r.must(admin("-safemode", "enter"))
	ended := make(chan error, 1)
	go func() { ended <- r.Cancel(r.ctx) }()
	launch.Sleep(r.ctx, 5*time.Second)
	r.must(admin("-safemode", "leave"))
	r.must(<-ended)
	r.ended()
}
