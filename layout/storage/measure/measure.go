// Package measure counts the requests to a store and their outcomes, for Prometheus.
//
// It owns the metrics named ckptd_store_…: requests by outcome, bytes, throttles, repetitions and latencies, by store
// and operation. It must not know what the objects mean, nor the caller.
//
// It lies directly over a driver. So each repetition counts as a request of its own, and the time that a request
// waits for its turn is not counted.
package measure

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ckptd/ckptd/layout/storage"
)

// Metrics are the counters of one store. They are safe for concurrent use.
type Metrics struct {
	requests, retries, throttles *prometheus.CounterVec
	seconds                      *prometheus.HistogramVec
	read, written, deleted       prometheus.Counter
	verbs                        [verbs]series
}

// verb is an operation; String returns its label.
type verb int

const (
	create verb = iota
	commit
	publish
	open
	stat
	list
	remove
	abortUnfinished
	verbs = iota
)

func (v verb) String() string {
	return [...]string{"create", "commit", "publish", "open", "stat", "list", "delete", "abort_unfinished"}[v]
}

// series are the two series of a verb that every request updates. They are created with the verb's first request.
type series struct {
	seconds func() prometheus.Observer
	done    func() prometheus.Counter
}

// New registers the counters of a store; kind is storage.Facts.Kind. The counters of retries and throttles begin at
// 0: a rate over a counter that appears with its first event would not show this event.
func New(kind string, r prometheus.Registerer) *Metrics {
	r = prometheus.WrapRegistererWith(prometheus.Labels{"store": kind}, r)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		r.MustRegister(c)
		return c
	}
	bytes := counter("ckptd_store_bytes_total", "Bytes of objects read from and written to the store.", "direction")
	m := &Metrics{
		requests: counter("ckptd_store_requests_total", "Requests to the store, by operation and outcome; a repetition is a request of its own.",
			"op", "outcome"),
		retries:   counter("ckptd_store_retries_total", "Requests that were repeated; op driver: by the driver itself, as parts of an upload are.", "op"),
		throttles: counter("ckptd_store_throttles_total", "Requests that the store answered by asking for fewer.", "op"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "ckptd_store_request_duration_seconds",
			Help: "How long requests take. create: until the object is durable, its sender's time included; commit: the end of it; " +
				"open: until the first byte can be read; list: until the first object is shown.",
			Buckets: []float64{0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60},
		}, []string{"op"}),
		read: bytes.WithLabelValues("read"), written: bytes.WithLabelValues("written"),
		deleted: counter("ckptd_store_deleted_objects_total", "Objects deleted, or found to be gone.").WithLabelValues(),
	}
	r.MustRegister(m.seconds)
	for v := range verb(verbs) {
		m.verbs[v] = series{
			seconds: sync.OnceValue(func() prometheus.Observer { return m.seconds.WithLabelValues(v.String()) }),
			done:    sync.OnceValue(func() prometheus.Counter { return m.requests.WithLabelValues(v.String(), "done") }),
		}
		if v != commit { // a commit counts as a create
			m.throttles.WithLabelValues(v.String())
		}
	}
	m.throttles.WithLabelValues(driver)
	// The operations that are ever repeated.
	for _, op := range []string{open.String(), stat.String(), list.String(), remove.String(), driver} {
		m.retries.WithLabelValues(op)
	}
	return m
}

// Retried counts a repetition; see retry.Policy.
func (m *Metrics) Retried(op string) { m.retries.WithLabelValues(op).Inc() }

// driver is the label, in place of an operation, of requests that a driver repeats by itself.
const driver = "driver"

// Repeated counts a request that the driver repeats by itself, and its cause; see storage.Facts.
func (m *Metrics) Repeated(cause error) {
	m.Retried(driver)
	if errors.Is(cause, storage.ErrThrottled) {
		m.throttles.WithLabelValues(driver).Inc()
	}
}

// Store returns inner with its requests counted.
func (m *Metrics) Store(inner storage.Store) storage.Store { return store{inner, m} }

// ended counts a request that began at start.
func (m *Metrics) ended(v verb, start time.Time, err error) {
	m.verbs[v].seconds().Observe(time.Since(start).Seconds())
	if err == nil {
		m.verbs[v].done().Inc()
	} else {
		m.failed(v, err)
	}
}

func (m *Metrics) failed(v verb, err error) {
	m.requests.WithLabelValues(v.String(), outcome(err)).Inc()
	if errors.Is(err, storage.ErrThrottled) {
		m.throttles.WithLabelValues(v.String()).Inc()
	}
}

// outcomes gives the label of an error; the first match counts.
var outcomes = []struct {
	err  error
	name string
}{
	{storage.ErrAbandoned, "abandoned"},
	{storage.ErrUnknown, "unknown"},
	{storage.ErrNotFound, "not_found"},
	{storage.ErrExists, "exists"},
	{storage.ErrMismatch, "mismatch"},
	{storage.ErrThrottled, "throttled"},
	{context.Canceled, "canceled"},
	{context.DeadlineExceeded, "timeout"},
	{fs.ErrPermission, "denied"},
}

func outcome(err error) string {
	for _, o := range outcomes {
		if errors.Is(err, o.err) {
			return o.name
		}
	}
	return "failed"
}

// store counts the requests to inner.
type store struct {
	inner storage.Store
	m     *Metrics
}

var _ storage.Store = store{}

// Create implements storage.Store.
func (s store) Create(ctx context.Context, key string, opts storage.CreateOptions) (storage.Writer, error) {
	start := time.Now()
	w, err := s.inner.Create(ctx, key, opts)
	if err != nil {
		s.m.ended(create, start, err)
		return nil, err
	}
	return &writer{Writer: w, m: s.m, start: start}, nil
}

// Publish implements storage.Store.
func (s store) Publish(ctx context.Context, key string, data []byte) error {
	start := time.Now()
	err := s.inner.Publish(ctx, key, data)
	s.m.ended(publish, start, err)
	if err == nil {
		s.m.written.Add(float64(len(data)))
	}
	return err
}

// Open implements storage.Store.
func (s store) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	start := time.Now()
	r, err := s.inner.Open(ctx, key, offset, length)
	s.m.ended(open, start, err)
	if err != nil {
		return nil, err
	}
	return &reader{ReadCloser: r, m: s.m}, nil
}

// Stat implements storage.Store.
func (s store) Stat(ctx context.Context, key string) (storage.Info, error) {
	start := time.Now()
	info, err := s.inner.Stat(ctx, key)
	s.m.ended(stat, start, err)
	return info, err
}

// List implements storage.Store.
func (s store) List(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
	return counted(s.m, s.inner.List(ctx, prefix))
}

// Folders implements storage.FolderLister. A listing of folders counts as a list.
func (s store) Folders(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return counted(s.m, storage.Folders(ctx, s.inner, prefix))
}

func counted[T any](m *Metrics, elements iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		start, first := time.Now(), true
		for element, err := range elements {
			switch {
			case first:
				m.ended(list, start, err)
			case err != nil: // of a later page
				m.failed(list, err)
			}
			if first = false; !yield(element, err) {
				return
			}
		}
		if first {
			m.ended(list, start, nil)
		}
	}
}

// Delete implements storage.Store. Its outcome is the error of the last throttled key, else of the first failed key.
func (s store) Delete(ctx context.Context, keys []string) []error {
	start := time.Now()
	errs := s.inner.Delete(ctx, keys)
	failed := 0
	var first error
	for _, err := range errs {
		if err != nil {
			if failed++; first == nil || errors.Is(err, storage.ErrThrottled) {
				first = err
			}
		}
	}
	// The driver returned a wrong number of results, so no key is known to be deleted.
	if len(errs) != 0 && len(errs) != len(keys) {
		failed, first = len(keys), storage.ErrUnknown
	}
	s.m.ended(remove, start, first)
	s.m.deleted.Add(float64(len(keys) - failed))
	return errs
}

// AbortUnfinished implements storage.Store.
func (s store) AbortUnfinished(ctx context.Context, prefix string, dead func(key string) bool) (int, error) {
	start := time.Now()
	n, err := s.inner.AbortUnfinished(ctx, prefix, dead)
	s.m.ended(abortUnfinished, start, err)
	return n, err
}

// writer is for one goroutine.
type writer struct {
	storage.Writer
	m     *Metrics
	start time.Time
	bytes int
	over  bool
	err   error // of Write
}

// Write implements storage.Writer.
func (w *writer) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	w.bytes += n
	if err != nil {
		w.err = err
	}
	return n, err
}

// Commit implements storage.Writer.
func (w *writer) Commit() error {
	start := time.Now()
	err := w.Writer.Commit()
	w.m.verbs[commit].seconds().Observe(time.Since(start).Seconds())
	w.end(err)
	return err
}

// Abort implements storage.Writer. An object that its writer gave up without an error counts as canceled.
func (w *writer) Abort() {
	w.Writer.Abort()
	if w.err == nil {
		w.err = context.Canceled
	}
	w.end(w.err)
}

func (w *writer) end(err error) {
	if w.over {
		return
	}
	w.over = true
	w.m.ended(create, w.start, err)
	w.m.written.Add(float64(w.bytes))
}

type reader struct {
	io.ReadCloser
	m     *Metrics
	bytes int64
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.bytes += int64(n)
	return n, err
}

// WriteTo implements io.WriterTo with the inner reader's own WriteTo, if it has one.
func (r *reader) WriteTo(w io.Writer) (int64, error) {
	n, err := io.Copy(w, r.ReadCloser)
	r.bytes += n
	return n, err
}

// Close implements io.Closer.
func (r *reader) Close() error {
	r.m.read.Add(float64(r.bytes))
	r.bytes = 0
	return r.ReadCloser.Close()
}
