package service_test

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service"
)

// samples are the values of a scrape, by series. A series is spelled as in Prometheus' text format.
type samples map[string]float64

func parse(t *testing.T, res *http.Response) samples {
	t.Helper()
	defer res.Body.Close()
	if kind := res.Header.Get("Content-Type"); res.StatusCode != http.StatusOK || !strings.HasPrefix(kind, "text/plain; version=0.0.4") {
		t.Fatalf("scrape: %s, %s", res.Status, kind)
	}
	found := samples{}
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		series, value, ok := cutLast(lines.Text())
		if !ok || strings.HasPrefix(series, "#") {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Errorf("scrape: %q: %v", lines.Text(), err)
		}
		found[series] = v
	}
	return found
}

func cutLast(line string) (before, after string, ok bool) {
	i := strings.LastIndexByte(line, ' ')
	return line[:max(i, 0)], line[i+1:], i > 0
}

// scrape asks a daemon for its metrics, over HTTP.
func (d *daemon) scrape(t *testing.T) samples {
	t.Helper()
	res, err := d.web.Get(d.http.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, res)
}

func (s samples) want(t *testing.T, want samples) {
	t.Helper()
	for series, v := range want {
		if got, ok := s[series]; !ok || got != v {
			t.Errorf("%s: %v (there: %v), want %v", series, got, ok, v)
		}
	}
}

// The daemon's metrics count what happened to a job.
func TestMetrics(t *testing.T) { t.Run("MT-7", countedMetrics) }

func countedMetrics(t *testing.T) {
	d := startDaemonWith(t, newRoot(), "", service.Options{Version: "v1", JobMetrics: 1})
	d.scrape(t).want(t, samples{`ckptd_jobs`: 0, `ckptd_checkpoints_total{outcome="completed",reason=""}`: 0, `ckptd_build_info{goversion="` + runtime.Version() + `",version="v1"}`: 1})
	w := oneWorker(t, d, "a", nil)
	// The second of two checkpoints reuses the first one's file of three bytes, and brings five bytes of its own.
	w.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
		return []*ckptdv1.SnapshotHandle{uploaded("i", "1.sst", w.put(shared, id, "abc"))}
	})
	w.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
		n, err := w.ask(id, "i", "1.sst", "abc")
		if err != nil || n == 0 {
			t.Fatalf("known as %d, %v", n, err)
		}
		return []*ckptdv1.SnapshotHandle{known("1.sst", n), uploaded("i", "2.sst", w.put(shared, id, "abcde"))}
	})
	oneWorker(t, d, "b", nil)
	open := w.open()
	d.scrape(t).want(t, samples{
		`ckptd_jobs`:                                             2,
		`ckptd_attempts_total`:                                   2,
		`ckptd_checkpoints_pending`:                              1,
		`ckptd_job_checkpoints_pending{job="a"}`:                 1,
		`ckptd_checkpoints_total{outcome="completed",reason=""}`: 2,
		`ckptd_checkpoint_duration_seconds_count`:                2,
		`ckptd_checkpoint_bytes_total{kind="new"}`:               8,
		`ckptd_checkpoint_bytes_total{kind="reused"}`:            3,
		`ckptd_data_streams{direction="put"}`:                    0,
		`ckptd_store_waiting_requests{class="commit"}`:           0,
		`ckptd_store_allowed_requests{class="upload"}`:           64,
		// Two files, and two times _metadata.
		`ckptd_store_requests_total{op="create",outcome="done",store="mem"}`:  4,
		`ckptd_store_request_duration_seconds_count{op="commit",store="mem"}`: 4,
	})
	if _, err := d.engineService().Decline(t.Context(), &ckptdv1.DeclineRequest{
		JobId: "a", Epoch: w.epoch, Attempt: w.attempt, CheckpointId: open, Reason: "CHECKPOINT_DECLINED",
	}); err != nil {
		t.Fatal(err)
	}
	expect[abort](w)
	found := d.scrape(t)
	found.want(t, samples{
		`ckptd_checkpoints_pending`: 0,
		`ckptd_checkpoints_total{outcome="aborted",reason="CHECKPOINT_DECLINED"}`: 1,
	})
	if age, ok := found[`ckptd_checkpoint_age_seconds`]; !ok || age > patience.Seconds() {
		t.Errorf("the last checkpoint's age: %v (there: %v)", age, ok)
	}
	for series := range found {
		if strings.Contains(series, `job="b"`) {
			t.Errorf("%s is there, want series of their own for one job only", series)
		}
	}
	d.cancel(t, "a")
	d.cancel(t, "b")
	w.leave()
	d.waitReleased(t)
	found = d.scrape(t)
	found.want(t, samples{`ckptd_jobs`: 0})
	if _, ok := found[`ckptd_checkpoint_age_seconds`]; ok {
		t.Error("without jobs the age of a checkpoint is there, want it absent")
	}
}

// The age counts from the journal's newest checkpoint, also when another owner made it.
func TestAgeOutlivesTheOwner(t *testing.T) {
	root := newRoot()
	a := startDaemon(t, root, "")
	oneWorker(t, a, "j", nil).checkpoint(inlineState)
	time.Sleep(300 * time.Millisecond)
	a.kill()
	b := startDaemon(t, root, a.addr())
	eventually(t, "the job is back", func() bool { return b.scrape(t)["ckptd_jobs"] == 1 })
	if age := b.scrape(t)["ckptd_checkpoint_age_seconds"]; age < 0.3 {
		t.Errorf("age %v s, want that of the checkpoint before the take-over", age)
	}
}

// A commit that comes too late, because another daemon owns the job, is counted as such.
func TestFencedCommitIsCounted(t *testing.T) {
	root := newRoot()
	opened, faults := faulty(root, nil)
	var log locked
	a := startDaemonWith(t, opened, "", service.Options{Log: jsonLog(&log)})
	w := oneWorker(t, a, "j", nil)
	w.checkpoint(inlineState)
	open := w.open()
	a.http.Listener.Close() // b cannot ask; the worker's connections stay
	faults.Freeze()
	startDaemon(t, root, "").attach(t, "j", onePlan(), nil)
	faults.Thaw()
	w.mustAck(open, inlineState(open)...)
	expect[reregister](w)
	answer := httptest.NewRecorder()
	a.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	parse(t, answer.Result()).want(t, samples{`ckptd_jobs_fenced_total`: 1, `ckptd_commits_fenced_total`: 1, `ckptd_jobs`: 0})
	if got := words(log.lines(t, "j")); !slices.Contains(got, "WARN another daemon has taken the job over") {
		t.Errorf("the log has %q, want a WARN that the job was taken over", got)
	}
}
