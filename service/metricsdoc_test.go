package service_test

import (
	"bytes"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service"
	"github.com/ckptd/ckptd/service/access"
)

// documented are the rows of docs/metrics.md: by name, the type and the sorted labels.
func documented(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(ckptd_[a-z_]+)` \\| ([a-z]+) \\|([^|]*)\\| [A-Z].+\\. \\|$").FindAllStringSubmatch(string(text), -1) {
		var labels []string
		for _, l := range regexp.MustCompile("`([a-z]+)`").FindAllStringSubmatch(m[3], -1) {
			labels = append(labels, l[1])
		}
		slices.Sort(labels)
		if _, twice := rows[m[1]]; twice {
			t.Errorf("%s has two rows", m[1])
		}
		rows[m[1]] = m[2] + " " + strings.Join(labels, ",")
	}
	return rows
}

var (
	typeLine   = regexp.MustCompile(`(?m)^# TYPE (ckptd_\S+) (\S+)$`)
	seriesLine = regexp.MustCompile(`(?m)^(ckptd_[a-z_]+)(?:\{(.*)\})? `)
	labelName  = regexp.MustCompile(`([a-z_]+)="`)
)

// shown are the metrics of a scrape, in the form of documented.
func shown(scrape string) map[string]string {
	rows := map[string]string{}
	for _, m := range typeLine.FindAllStringSubmatch(scrape, -1) {
		rows[m[1]] = m[2]
	}
	for _, m := range seriesLine.FindAllStringSubmatch(scrape, -1) {
		name := m[1]
		for _, part := range []string{"_bucket", "_sum", "_count"} {
			if base, ok := strings.CutSuffix(name, part); ok && rows[name] == "" {
				name = base
			}
		}
		var labels []string
		for _, l := range labelName.FindAllStringSubmatch(m[2], -1) {
			if l[1] != "le" {
				labels = append(labels, l[1])
			}
		}
		slices.Sort(labels)
		if kind := rows[name]; !strings.Contains(kind, " ") {
			rows[name] = kind + " " + strings.Join(labels, ",")
		}
	}
	return rows
}

// TestMetricsAreDocumented: what a daemon shows after some work is what docs/metrics.md says, and follows Prometheus'
// conventions.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "access")
	if err := os.WriteFile(file, []byte("r read token:a-token-for-this-test-only\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	guard, err := access.NewGuard(file, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	d := startDaemonWith(t, newRoot(), "", service.Options{JobMetrics: 10, Scrub: service.Scrub{Every: time.Hour}, Collectors: []prometheus.Collector{guard.Metrics()}})
	w := oneWorker(t, d, "j", nil)
	w.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
		return []*ckptdv1.SnapshotHandle{uploaded("i", "1.sst", w.put(shared, id, "abc"))}
	})
	w.report(ckptdv1.ReportRequest_KIND_FAILED, nil)
	w.begin() // it restores the checkpoint
	res, err := d.web.Get(d.http.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	scrape, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.New(bytes.NewReader(scrape)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("promlint: %s: %s", p.Metric, p.Text)
	}
	want, got := documented(t), shown(string(scrape))
	for name := range maps.Keys(got) {
		if got[name] != want[name] {
			t.Errorf("%s: the daemon shows %q, docs/metrics.md has %q", name, got[name], want[name])
		}
	}
	for name := range maps.Keys(want) {
		if _, ok := got[name]; !ok {
			t.Errorf("%s: docs/metrics.md has it, the daemon does not show it", name)
		}
	}
	operate, err := os.ReadFile("../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile(`ckptd_[a-z_]+`).FindAllString(string(operate), -1) {
		if _, ok := want[strings.TrimSuffix(name, "_bucket")]; !ok {
			t.Errorf("docs/operate.md names %s, which docs/metrics.md does not have", name)
		}
	}
	if len(want) < 20 {
		t.Errorf("docs/metrics.md has %d rows that the test can read", len(want))
	}
}

// TestRestoresAndBytes: restores are counted with their state, the bytes of the jobs in the store follow their files,
// and refused calls are counted.
func TestRestoresAndBytes(t *testing.T) {
	t.Parallel()
	d := startDaemonWith(t, newRoot(), "", service.Options{})
	w := oneWorker(t, d, "j", nil)
	empty := d.scrape(t)
	empty.want(t, samples{`ckptd_restores_total`: 0, `ckptd_condemned_files`: 0})
	keep := func(contents string) {
		w.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
			return []*ckptdv1.SnapshotHandle{uploaded("i", contents[:1], w.put(shared, id, contents))}
		})
	}
	keep(strings.Repeat("a", 1<<16))
	one := d.scrape(t)[`ckptd_retained_bytes`]
	if one < 1<<16 || one > 1<<17 {
		t.Errorf("with a file of 64 KiB %v bytes are retained", one)
	}
	keep(strings.Repeat("b", 1<<18)) // the file a is condemned and deleted
	eventually(t, "the first file's bytes are gone", func() bool {
		s := d.scrape(t)
		return s[`ckptd_condemned_files`] == 0 && s[`ckptd_retained_bytes`] > 1<<18 && s[`ckptd_retained_bytes`] < 1<<18+1<<16
	})
	w.report(ckptdv1.ReportRequest_KIND_FAILED, nil)
	w.begin()
	d.scrape(t).want(t, samples{`ckptd_restores_total`: 1, `ckptd_restored_bytes_total`: 1 << 18, `ckptd_attempts_total`: 2})
}

// TestRefusedCallsAreCounted: a call without a proof counts once.
func TestRefusedCallsAreCounted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "access")
	if err := os.WriteFile(file, []byte("r read token:a-token-for-this-test-only\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	guard, err := access.NewGuard(file, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	d := startDaemonWith(t, newRoot(), "", service.Options{Collectors: []prometheus.Collector{guard.Metrics()}})
	guard.Wrap(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/metrics", nil))
	d.scrape(t).want(t, samples{`ckptd_refused_calls_total{code="unauthenticated"}`: 1, `ckptd_refused_calls_total{code="permission_denied"}`: 0})
}
