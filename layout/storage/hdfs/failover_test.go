package hdfs_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout/storage"
)

// TestFailover: of two NameNodes the active one is used, whichever it is. After a kill and after a change of roles every object
// is there, and writes go on by themselves.
func TestFailover(t *testing.T) {
	nightly(t)
	pair := servers.StartHDFSPair(t)
	opened := open(t, pair.URL("failover"))
	defer opened.Close()
	n := 0
	write := func() {
		t.Helper()
		n++
		key := fmt.Sprintf("job/_journal/%020d", n)
		var err error
		for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			if err = opened.Store.Publish(t.Context(), key, []byte(key)); err == nil {
				break
			}
			t.Log(err)
		}
		must(t, err)
		must(t, create(t.Context(), opened.Store, fmt.Sprintf("job/shared/%d", n), random(1<<20), storage.CreateOptions{}, nil))
		seen := 0
		for _, err := range opened.Store.List(t.Context(), "job/_journal/") {
			must(t, err)
			seen++
		}
		if seen != n {
			t.Errorf("list shows %d entries, want %d", seen, n)
		}
	}
	write()
	must(t, pair.Demote(0))
	must(t, pair.Activate(1))
	write()
	if hazard := hazard(t, opened, "safe mode"); hazard.Weight != storage.WeightNone {
		t.Errorf("hazard %+v; want the active NameNode asked, and no safe mode", hazard)
	}
	must(t, pair.Demote(1))
	must(t, pair.Activate(0))
	write()
	pair.KillOf(0)
	must(t, pair.Activate(1))
	write()
	write()
	must(t, pair.StartOf(0))
	write()
}
