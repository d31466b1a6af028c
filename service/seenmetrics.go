package service

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ckptd/ckptd/service/shell"
)

// seenGauges show what a daemon has seen of one job's checkpoints: the counts and the newest values of Flink's page of checkpoints.
type seenGauges struct {
	checkpoints, last, duration, bytes, restored *prometheus.Desc
}

func newSeenGauges() seenGauges {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return seenGauges{
		checkpoints: desc("ckptd_job_checkpoints_total", "Checkpoints of one job that have ended here, by outcome: completed or failed.", "job", "outcome"),
		last:        desc("ckptd_job_last_checkpoint_id", "The newest checkpoint of one job that has completed here, savepoints not among them.", "job"),
		duration:    desc("ckptd_job_last_checkpoint_duration_seconds", "From that checkpoint's trigger to the end of its commit.", "job"),
		bytes:       desc("ckptd_job_last_checkpoint_bytes", "Bytes of that checkpoint: all state that it names, or what it brought.", "job", "kind"),
		restored:    desc("ckptd_job_last_restore_timestamp_seconds", "When an attempt of one job last began here with a checkpoint's state.", "job"),
	}
}

// collect passes the values of a job. Those of what has not happened are absent.
func (g *seenGauges) collect(out chan<- prometheus.Metric, job string, seen *shell.Seen) {
	count := func(outcome string, n uint64) {
		out <- prometheus.MustNewConstMetric(g.checkpoints, prometheus.CounterValue, float64(n), job, outcome)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{job}, labels...)...)
	}
	count("completed", seen.Completed)
	count("failed", seen.Failed)
	if r := seen.Last; r != nil {
		gauge(g.last, float64(r.GetCheckpointId()))
		gauge(g.duration, r.GetDuration().AsDuration().Seconds())
		gauge(g.bytes, float64(r.GetStateBytes()), "state")
		gauge(g.bytes, float64(r.GetNewBytes()), "new")
	}
	if !seen.Restored.IsZero() {
		gauge(g.restored, float64(seen.Restored.UnixMilli())/1000)
	}
}
