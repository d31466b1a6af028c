package service_test

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/journalio"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// slowDeletes is a store whose deletes wait until they are let go.
type slowDeletes struct {
	storage.Store
	letGo chan struct{}
}

func (s slowDeletes) Delete(ctx context.Context, keys []string) []error {
	select {
	case <-s.letGo:
	case <-ctx.Done():
		return []error{ctx.Err()}
	}
	return s.Store.Delete(ctx, keys)
}

// gauge returns the value of one series of the daemon's metrics.
func (d *daemon) gauge(t testing.TB, series string) int {
	t.Helper()
	res, err := d.web.Get(d.http.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(res.Status, err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			n, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("the metrics have no %s", series)
	return 0
}

// While the store deletes nothing, a job goes on with its checkpoints, and what it wants to delete does not pile up as
// requests: one trim of the journal and one delete wait, however many checkpoints there are. Later all is deleted.
func TestDeletesDoNotPileUp(t *testing.T) {
	under := newRoot()
	root := under
	letGo := make(chan struct{})
	release := sync.OnceFunc(func() { close(letGo) })
	root.Store = slowDeletes{under.Store, letGo}
	d := startDaemon(t, root, "")
	t.Cleanup(release)
	const checkpoints = 40
	// Deletes that wait hold the next checkpoint up if more of them wait than checkpoints may be pending.
	w := oneWorker(t, d, "j", func(c *ckptdv1.JobConfig) { c.MaxConcurrentCheckpoints = checkpoints })
	for range checkpoints {
		w.checkpoint(inlineState)
	}
	const class = `{class="collect"}`
	if n := d.gauge(t, "ckptd_store_running_requests"+class) + d.gauge(t, "ckptd_store_waiting_requests"+class); n != 2 {
		t.Errorf("%d requests delete or wait to, want 2: a trim and the _metadata of old checkpoints", n)
	}
	slots := func() int {
		all, err := journalio.List(t.Context(), under.Store, "j")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	before := slots()
	if before <= checkpoints {
		t.Fatalf("the journal has %d slots, want one for each of %d checkpoints and more", before, checkpoints)
	}
	release()
	eventually(t, "the first trim", func() bool { return slots() < before })
	eventually(t, "a short journal", func() bool {
		w.checkpoint(inlineState) // its check of the journal names what is left
		return slots() <= int(journal.DefaultSettings().Keep)+2
	})
}
