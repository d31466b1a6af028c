package measure_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/ckptd/ckptd/conformance/stores"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/measure"
	"github.com/ckptd/ckptd/layout/storage/mem"
)

func TestStore(t *testing.T) {
	roots := map[string]*mem.Store{}
	stores.Run(t, stores.Harness{Races: 5, Open: func(_ *testing.T, name string) storage.Opened {
		if roots[name] == nil {
			roots[name] = mem.New()
		}
		opened := roots[name].Opened()
		opened.Store = measure.New("mem", prometheus.NewRegistry()).Store(opened.Store)
		return opened
	}})
}

// Each verb is counted once, by its outcome, with its bytes.
func TestCounts(t *testing.T) {
	ctx, reg := t.Context(), prometheus.NewRegistry()
	faults := mem.NewFaults(mem.New(), nil)
	m := measure.New("mem", reg)
	s := m.Store(faults)
	write := func(key string, commit bool) {
		w, err := s.Create(ctx, key, storage.CreateOptions{IfAbsent: true})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Abort()
		fmt.Fprint(w, "0123456789")
		if commit {
			_ = w.Commit()
		}
	}
	write("a", true)
	write("a", true) // exists
	write("b", false)
	_ = s.Publish(ctx, "p", []byte("12345"))
	_ = s.Publish(ctx, "p", []byte("12345")) // exists
	faults.SetDecide(func(mem.Mutation) mem.Outcome { return mem.DoneButError() })
	_ = s.Publish(ctx, "q", []byte("12345"))
	faults.SetDecide(nil)
	for range 2 { // once read, once handed on
		r, err := s.Open(ctx, "a", 2, 5)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		_, _ = io.CopyN(&b, r, 2)
		_, _ = io.Copy(&b, r)
		if r.Close(); b.String() != "23456" {
			t.Errorf("read %q, want 23456", b.String())
		}
	}
	_, _ = s.Open(ctx, "none", 0, -1)
	_, _ = s.Stat(ctx, "none")
	for range s.List(ctx, "") {
	}
	for range s.List(ctx, "none/") {
	}
	s.Delete(ctx, []string{"a", "p", "none"})
	_, _ = s.AbortUnfinished(ctx, "", nil)
	m.Retried("stat")
	m.Repeated(errors.New("a cut connection"))
	m.Repeated(fmt.Errorf("503: %w", storage.ErrThrottled))
	const want = `
# HELP ckptd_store_bytes_total Bytes of objects read from and written to the store.
# TYPE ckptd_store_bytes_total counter
ckptd_store_bytes_total{direction="read",store="mem"} 10
ckptd_store_bytes_total{direction="written",store="mem"} 35
# HELP ckptd_store_deleted_objects_total Objects deleted, or found to be gone.
# TYPE ckptd_store_deleted_objects_total counter
ckptd_store_deleted_objects_total{store="mem"} 3
# HELP ckptd_store_requests_total Requests to the store, by operation and outcome; a repetition is a request of its own.
# TYPE ckptd_store_requests_total counter
ckptd_store_requests_total{op="abort_unfinished",outcome="done",store="mem"} 1
ckptd_store_requests_total{op="create",outcome="canceled",store="mem"} 1
ckptd_store_requests_total{op="create",outcome="done",store="mem"} 1
ckptd_store_requests_total{op="create",outcome="exists",store="mem"} 1
ckptd_store_requests_total{op="delete",outcome="done",store="mem"} 1
ckptd_store_requests_total{op="list",outcome="done",store="mem"} 2
ckptd_store_requests_total{op="open",outcome="done",store="mem"} 2
ckptd_store_requests_total{op="open",outcome="not_found",store="mem"} 1
ckptd_store_requests_total{op="publish",outcome="done",store="mem"} 1
ckptd_store_requests_total{op="publish",outcome="exists",store="mem"} 1
ckptd_store_requests_total{op="publish",outcome="unknown",store="mem"} 1
ckptd_store_requests_total{op="stat",outcome="not_found",store="mem"} 1
# HELP ckptd_store_retries_total Requests that were repeated; op driver: by the driver itself, as parts of an upload are.
# TYPE ckptd_store_retries_total counter
ckptd_store_retries_total{op="delete",store="mem"} 0
ckptd_store_retries_total{op="driver",store="mem"} 2
ckptd_store_retries_total{op="list",store="mem"} 0
ckptd_store_retries_total{op="open",store="mem"} 0
ckptd_store_retries_total{op="stat",store="mem"} 1
# HELP ckptd_store_throttles_total Requests that the store answered by asking for fewer.
# TYPE ckptd_store_throttles_total counter
ckptd_store_throttles_total{op="abort_unfinished",store="mem"} 0
ckptd_store_throttles_total{op="create",store="mem"} 0
ckptd_store_throttles_total{op="delete",store="mem"} 0
ckptd_store_throttles_total{op="driver",store="mem"} 1
ckptd_store_throttles_total{op="list",store="mem"} 0
ckptd_store_throttles_total{op="open",store="mem"} 0
ckptd_store_throttles_total{op="publish",store="mem"} 0
ckptd_store_throttles_total{op="stat",store="mem"} 0
`
	err := testutil.GatherAndCompare(reg, bytes.NewBufferString(want), "ckptd_store_bytes_total", "ckptd_store_requests_total",
		"ckptd_store_deleted_objects_total", "ckptd_store_retries_total", "ckptd_store_throttles_total")
	if err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(reg, "ckptd_store_request_duration_seconds"); n != 8 || err != nil {
		t.Errorf("%d histograms, want one for each verb and one for commit: %v", n, err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint of the metrics: %v, %v; want none", problems, err)
	}
}

// throttling throttles some of its requests.
type throttling struct{ storage.Store }

func (throttling) Delete(_ context.Context, keys []string) []error {
	errs := make([]error, len(keys))
	errs[0], errs[1] = errors.New("locked"), storage.ErrThrottled
	return errs
}

func TestThrottles(t *testing.T) {
	reg := prometheus.NewRegistry()
	s := measure.New("s3", reg).Store(throttling{mem.New()})
	s.Delete(t.Context(), []string{"a", "b", "c"})
	const want = `
# HELP ckptd_store_deleted_objects_total Objects deleted, or found to be gone.
# TYPE ckptd_store_deleted_objects_total counter
ckptd_store_deleted_objects_total{store="s3"} 1
# HELP ckptd_store_requests_total Requests to the store, by operation and outcome; a repetition is a request of its own.
# TYPE ckptd_store_requests_total counter
ckptd_store_requests_total{op="delete",outcome="throttled",store="s3"} 1
# HELP ckptd_store_throttles_total Requests that the store answered by asking for fewer.
# TYPE ckptd_store_throttles_total counter
ckptd_store_throttles_total{op="abort_unfinished",store="s3"} 0
ckptd_store_throttles_total{op="create",store="s3"} 0
ckptd_store_throttles_total{op="delete",store="s3"} 1
ckptd_store_throttles_total{op="driver",store="s3"} 0
ckptd_store_throttles_total{op="list",store="s3"} 0
ckptd_store_throttles_total{op="open",store="s3"} 0
ckptd_store_throttles_total{op="publish",store="s3"} 0
ckptd_store_throttles_total{op="stat",store="s3"} 0
`
	err := testutil.GatherAndCompare(reg, bytes.NewBufferString(want),
		"ckptd_store_requests_total", "ckptd_store_deleted_objects_total", "ckptd_store_throttles_total")
	if err != nil {
		t.Error(err)
	}
}

// miscounting returns a fixed number of results for any request.
type miscounting struct {
	storage.Store
	results int
}

func (m miscounting) Delete(context.Context, []string) []error {
	errs := make([]error, m.results)
	for i := range errs {
		errs[i] = errors.New("locked")
	}
	return errs
}

// Counting survives a driver that returns more or fewer results than keys, and counts nothing as deleted then.
func TestDeleteOfADriverThatMiscounts(t *testing.T) {
	for _, results := range []int{1, 3} {
		reg := prometheus.NewRegistry()
		measure.New("ours", reg).Store(miscounting{mem.New(), results}).Delete(t.Context(), []string{"a", "b"})
		const want = `
# HELP ckptd_store_deleted_objects_total Objects deleted, or found to be gone.
# TYPE ckptd_store_deleted_objects_total counter
ckptd_store_deleted_objects_total{store="ours"} 0
# HELP ckptd_store_requests_total Requests to the store, by operation and outcome; a repetition is a request of its own.
# TYPE ckptd_store_requests_total counter
ckptd_store_requests_total{op="delete",outcome="unknown",store="ours"} 1
`
		err := testutil.GatherAndCompare(reg, bytes.NewBufferString(want), "ckptd_store_requests_total", "ckptd_store_deleted_objects_total")
		if err != nil {
			t.Errorf("%d results for two keys: %v, want the driver's results, and no panic", results, err)
		}
	}
}

// A bound is printed as a person would write it: le="0.0003", and not le="0.00030000000000000003".
func TestRoundBounds(t *testing.T) {
	reg := prometheus.NewRegistry()
	_, _ = measure.New("mem", reg).Store(mem.New()).Stat(t.Context(), "none")
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			for _, b := range m.GetHistogram().GetBucket() {
				if text := fmt.Sprint(b.GetUpperBound()); len(text) > len("0.0003") {
					t.Errorf("%s: le=%q, want at most as many digits as 0.0003", family.GetName(), text)
				}
			}
		}
	}
}
