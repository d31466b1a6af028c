package service_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/service"
)

// TestScrub: the daemon reads the newest checkpoint again and again. It says how old the newest whole one is, and finds
// damage.
func TestScrub(t *testing.T) {
	root := newRoot()
	d := startDaemonWith(t, root, "", service.Options{Scrub: service.Scrub{Every: 5 * time.Millisecond, Rate: 1 << 20}})
	const age, damaged = "ckptd_verified_checkpoint_age_seconds", "ckptd_scrub_damaged_jobs"
	if _, shown := d.scrape(t)[age]; shown {
		t.Error("without a job, there is an age")
	}
	w := oneWorker(t, d, "j", nil)
	id := w.checkpoint(w.ofAll)
	eventually(t, "a scrub", func() bool {
		s := d.scrape(t)
		completed := time.UnixMilli(int64(head(t, root, "j").Retained[0].CompletedAt))
		return s[damaged] == 0 && s[age] > 0 && s[age] <= time.Since(completed).Seconds() && s[age] > time.Since(completed).Seconds()-5
	})
	for _, f := range filesOf(t, read(t, root.Store, layout.MetadataKey("j", id))) {
		if strings.HasPrefix(f.Key, "shared/") {
			key := layout.JobPrefix("j") + f.Key
			if err := errors.Join(root.Store.Delete(t.Context(), []string{key})...); err != nil {
				t.Fatal(err)
			}
			if err := root.Store.Publish(t.Context(), key, []byte(strings.Repeat("?", int(f.Length)))); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "the damage", func() bool { return d.scrape(t)[damaged] == 1 })
	w.checkpoint(w.ofAll)
	eventually(t, "a whole checkpoint", func() bool { return d.scrape(t)[damaged] == 0 })
	d.cancel(t, "j")
	eventually(t, "the end of the job's metric", func() bool { _, shown := d.scrape(t)[age]; return !shown })
}
