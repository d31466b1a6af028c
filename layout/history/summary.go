package history

import (
	"math/bits"
	"slices"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// Summary sums up the completed ones of the records; nil: there is none.
func Summary(records []*ckptdv1.CheckpointRecord) *ckptdv1.HistorySummary {
	var duration, state, fresh []uint64
	for _, r := range records {
		if r.GetOutcome() == ckptdv1.CheckpointOutcome_CHECKPOINT_OUTCOME_COMPLETED {
			duration, state, fresh = append(duration, fromDuration(r.GetDuration())), append(state, r.GetStateBytes()), append(fresh, r.GetNewBytes())
		}
	}
	if len(duration) == 0 {
		return nil
	}
	d := spread(duration)
	return &ckptdv1.HistorySummary{StateBytes: spread(state), NewBytes: spread(fresh), Duration: &ckptdv1.DurationSummary{
		Count: d.Count, Min: toDuration(d.Min), Avg: toDuration(d.Avg), Max: toDuration(d.Max), P50: toDuration(d.P50), P90: toDuration(d.P90),
		P95: toDuration(d.P95), P99: toDuration(d.P99), P999: toDuration(d.P999),
	}}
}

// spread sorts the values and sums them up.
func spread(values []uint64) *ckptdv1.ByteSummary {
	slices.Sort(values)
	n := uint64(len(values))
	var high, low, carry uint64
	for _, v := range values {
		low, carry = bits.Add64(low, v, 0)
		high += carry
	}
	mean, _ := bits.Div64(high, low, n) // high < n: each value carries at most 1
	// at is the least value that is not below so many thousandths of all.
	at := func(thousandths uint64) uint64 { return values[(n*thousandths+999)/1000-1] }
	return &ckptdv1.ByteSummary{
		Count: n, Min: values[0], Avg: mean, Max: values[n-1], P50: at(500), P90: at(900), P95: at(950), P99: at(990), P999: at(999),
	}
}
