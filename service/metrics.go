package service

import (
	"cmp"
	"net/http"
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage/limit"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/coordinator"
	"github.com/ckptd/ckptd/service/shell"
)

// metrics are the counters of the daemon's jobs. Their registry also holds the metrics of the store (stores.go).
type metrics struct {
	registry                  *prometheus.Registry
	checkpoints               *prometheus.CounterVec
	seconds                   prometheus.Histogram
	newBytes, reusedBytes     prometheus.Counter
	attempts                  prometheus.Counter
	ended                     *prometheus.CounterVec
	restores, restoredBytes   prometheus.Counter
	fencedJobs, fencedCommits prometheus.Counter
	history                   *prometheus.CounterVec
	historyFailed             prometheus.Counter
}

func newMetrics() *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		m.registry.MustRegister(c)
		return c
	}
	m.checkpoints = counter("ckptd_checkpoints_total",
		"Checkpoints by outcome: completed, aborted, or refused at their trigger; reason is Flink's name for the cause.", "outcome", "reason")
	m.checkpoints.WithLabelValues("completed", "")
	bytes := counter("ckptd_checkpoint_bytes_total", "State of completed checkpoints: new, or reused from earlier ones.", "kind")
	m.newBytes, m.reusedBytes = bytes.WithLabelValues("new"), bytes.WithLabelValues("reused")
	m.attempts = counter("ckptd_attempts_total", "Attempts begun or adopted.").WithLabelValues()
	m.ended = counter("ckptd_jobs_ended_total", "Jobs that have ended here, by how.", "status")
	for _, status := range []journal.Status{journal.StatusCanceled, journal.StatusFailed, journal.StatusFinished} {
		m.ended.WithLabelValues(api.StatusWord(status))
	}
	m.restores = counter("ckptd_restores_total", "Attempts that began with the state of a checkpoint.").WithLabelValues()
	m.restoredBytes = counter("ckptd_restored_bytes_total", "State of the checkpoints with which attempts began.").WithLabelValues()
	m.fencedJobs = counter("ckptd_jobs_fenced_total", "Jobs that another daemon took over while this daemon owned them.").WithLabelValues()
	m.fencedCommits = counter("ckptd_commits_fenced_total",
		"Commits under way at this daemon when another daemon took over their job.").WithLabelValues()
	m.history = counter("ckptd_history_records_total", "Checkpoints of the jobs' histories: written to a segment, or lost.", "outcome")
	m.history.WithLabelValues("written")
	m.history.WithLabelValues("lost")
	m.historyFailed = counter("ckptd_history_write_failures_total", "Writes of a job's history that have failed.").WithLabelValues()
	m.seconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "ckptd_checkpoint_duration_seconds", Help: "From a completed checkpoint's trigger to the end of its commit.",
		Buckets: []float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 150, 300, 600},
	})
	m.registry.MustRegister(m.seconds, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// handler serves all metrics.
func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

// Completed counts a completed checkpoint.
func (m *metrics) Completed(c *journal.Checkpoint) {
	m.checkpoints.WithLabelValues("completed", "").Inc()
	m.seconds.Observe(float64(c.DurationMillis) / 1000)
	m.newBytes.Add(float64(c.NewBytes))
	m.reusedBytes.Add(float64(c.StateBytes - min(c.NewBytes, c.StateBytes)))
}

// Aborted counts an aborted checkpoint.
func (m *metrics) Aborted(r coordinator.Reason) {
	m.checkpoints.WithLabelValues("aborted", string(r)).Inc()
}

// Refused counts a trigger that was refused.
func (m *metrics) Refused(r coordinator.Reason) {
	m.checkpoints.WithLabelValues("refused", string(r)).Inc()
}

// Attempt counts an attempt that was begun or adopted.
func (m *metrics) Attempt() { m.attempts.Inc() }

// Ended counts a job that has ended.
func (m *metrics) Ended(status journal.Status) { m.ended.WithLabelValues(api.StatusWord(status)).Inc() }

// Restored counts an attempt that begins with the state of a checkpoint.
func (m *metrics) Restored(c *journal.Checkpoint) {
	m.restores.Inc()
	m.restoredBytes.Add(float64(c.StateBytes))
}

// Fenced counts a job that another daemon has taken over, and the commits that were under way here.
func (m *metrics) Fenced(commits int) {
	m.fencedJobs.Inc()
	m.fencedCommits.Add(float64(commits))
}

// HistoryWritten counts checkpoints that are in a segment of their job's history.
func (m *metrics) HistoryWritten(records int) {
	m.history.WithLabelValues("written").Add(float64(records))
}

// HistoryFailed counts a write of a job's history that has failed.
func (m *metrics) HistoryFailed() { m.historyFailed.Inc() }

// HistoryLost counts checkpoints that were dropped from a job's history before they were written.
func (m *metrics) HistoryLost(records int) { m.history.WithLabelValues("lost").Add(float64(records)) }

var (
	_ shell.Metrics        = (*metrics)(nil)
	_ shell.HistoryMetrics = (*metrics)(nil)
)

// gauges are the metrics that are computed when they are collected.
type gauges struct {
	s                                       *Server
	all                                     func() []*shell.Job // the jobs that are running or attaching here
	jobs, pending, age                      *prometheus.Desc
	away, failures, retained, condemned     *prometheus.Desc
	jobPending, jobAge, jobFailures         *prometheus.Desc
	verified, damaged, jobVerified          *prometheus.Desc
	seen                                    seenGauges
	streams, running, waiting, allowed, how *prometheus.Desc
	memory, memoryLimit                     *prometheus.Desc
}

func newGauges(s *Server, all func() []*shell.Job) *gauges {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &gauges{
		s: s, all: all, seen: newSeenGauges(),
		jobs: desc("ckptd_jobs", "Jobs that this daemon owns and that have not ended."),
		pending: desc("ckptd_checkpoints_pending",
			"Checkpoints triggered and neither completed nor aborted, over all jobs."),
		age: desc("ckptd_checkpoint_age_seconds", "The longest time, over all jobs, since a job's newest checkpoint; absent without jobs."),
		away: desc("ckptd_jobs_waiting_for_store",
			"Jobs that wait for the store: it does not take or show their journal, or has not taken their last file."),
		failures: desc("ckptd_checkpoint_consecutive_failures",
			"The most checkpoints, over all jobs, that have failed in a row since the last completed one."),
		retained: desc("ckptd_retained_bytes",
			"Bytes that the jobs' files take in the store: those of retained and pending checkpoints, and condemned ones until they are deleted."),
		condemned:  desc("ckptd_condemned_files", "Files that no checkpoint needs any more and that wait to be deleted."),
		jobPending: desc("ckptd_job_checkpoints_pending", "Checkpoints of one job triggered and neither completed nor aborted.", "job"),
		jobAge:     desc("ckptd_job_checkpoint_age_seconds", "Time since the newest checkpoint of a job, or since its attach if it has none.", "job"),
		verified: desc("ckptd_verified_checkpoint_age_seconds",
			"The longest time, over all jobs, since the completion of a job's newest checkpoint that a scrub has found whole; absent without jobs, or if the daemon does not scrub."),
		damaged:     desc("ckptd_scrub_damaged_jobs", "Jobs whose newest checkpoint the last scrub found damaged; absent if the daemon does not scrub."),
		jobVerified: desc("ckptd_job_verified_checkpoint_age_seconds", "Time since the completion of the job's newest checkpoint that a scrub has found whole.", "job"),
		jobFailures: desc("ckptd_job_consecutive_failures", "Checkpoints of one job that have failed in a row.", "job"),
		memory:      desc("ckptd_memory_state_bytes", "Bytes that jobs with storage jobmanager take in the daemon's memory."),
		memoryLimit: desc("ckptd_memory_state_limit_bytes", "The most that they may take; 0 if there can be no such jobs."),
		streams:     desc("ckptd_data_streams", "Files being received (put) and sent (get).", "direction"),
		running:     desc("ckptd_store_running_requests", "Requests that the store is working on, by class of work.", "class"),
		waiting:     desc("ckptd_store_waiting_requests", "Requests that wait for their turn, by class of work.", "class"),
		allowed:     desc("ckptd_store_allowed_requests", "How many requests may run now, by class of work: fewer after the store has throttled.", "class"),
		how:         desc("ckptd_build_info", "Always 1: the daemon's version, and that of Go that built it.", "version", "goversion"),
	}
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(g, out) }

// Collect implements prometheus.Collector.
func (g *gauges) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	jobs := g.all()
	if g.s.opts.JobMetrics > 0 { // the first ones have series of their own
		slices.SortFunc(jobs, func(a, b *shell.Job) int { return cmp.Compare(a.ID(), b.ID()) })
	}
	count, pending, failures, condemned, oldest, bytes := 0, 0, 0, 0, 0.0, 0.0
	away := int(g.s.unread.Load())
	verified, damaged := 0.0, 0
	for _, j := range jobs {
		if j.WaitsForStore() {
			away++
		}
		v := j.Vitals()
		if v == nil {
			continue
		}
		age := max(0, time.Since(v.Last).Seconds())
		if count < g.s.opts.JobMetrics {
			gauge(g.jobPending, float64(v.Pending), j.ID())
			gauge(g.jobAge, age, j.ID())
			gauge(g.jobFailures, float64(v.Failures), j.ID())
			g.seen.collect(out, j.ID(), &v.Seen)
		}
		if g.s.scrub != nil {
			of := g.s.scrub.of(j.ID())
			unverified := max(0, time.Since(of.verified).Seconds())
			if count < g.s.opts.JobMetrics {
				gauge(g.jobVerified, unverified, j.ID())
			}
			if verified = max(verified, unverified); of.damaged {
				damaged++
			}
		}
		count, pending, oldest = count+1, pending+v.Pending, max(oldest, age)
		failures, condemned, bytes = max(failures, v.Failures), condemned+v.Condemned, bytes+float64(v.Bytes)
	}
	gauge(g.jobs, float64(count))
	gauge(g.pending, float64(pending))
	gauge(g.away, float64(away))
	gauge(g.failures, float64(failures))
	gauge(g.condemned, float64(condemned))
	gauge(g.retained, bytes)
	if count > 0 {
		gauge(g.age, oldest)
	}
	if g.s.scrub != nil {
		if gauge(g.damaged, float64(damaged)); count > 0 {
			gauge(g.verified, verified)
		}
	}
	used, most := g.s.memory.usage()
	gauge(g.memory, float64(used))
	gauge(g.memoryLimit, float64(most))
	puts, gets := g.s.data.InFlight()
	gauge(g.streams, float64(puts), "put")
	gauge(g.streams, float64(gets), "get")
	for _, c := range []limit.Class{limit.Commit, limit.Restore, limit.Upload, limit.Collect} {
		line := g.s.stores.limiter.Line(c)
		gauge(g.running, float64(line.Running), c.String())
		gauge(g.waiting, float64(line.Waiting), c.String())
		gauge(g.allowed, float64(line.Allowed), c.String())
	}
	gauge(g.how, 1, g.s.opts.Version, runtime.Version())
}
