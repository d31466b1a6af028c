package retention

import (
	"fmt"
	"slices"
	"time"
)

// Rules say what a person wants to keep of the checkpoints of one group, as restic has it. A number 0 keeps nothing by that rule, -1 keeps
// all that it counts.
type Rules struct {
	// Last keeps that many of the newest. Hourly to Yearly keep the newest of each of the last hours, and so on, in which there is one.
	Last, Hourly, Daily, Weekly, Monthly, Yearly int
	// Within keeps what is at most that much older than the newest.
	Within time.Duration
	// Tags keeps what has all tags of one of these lists.
	Tags [][]string
}

// Empty tells whether the rules keep nothing at all.
func (r *Rules) Empty() bool {
	return r.Last|r.Hourly|r.Daily|r.Weekly|r.Monthly|r.Yearly == 0 && r.Within == 0 && len(r.Tags) == 0
}

// Candidate is a checkpoint that a person may want to forget.
type Candidate struct {
	Job string
	ID  uint64
	// At is when it completed.
	At   time.Time
	Tags []string
	// Newest: a job of its lineage would begin from it. Kept: a person wants it kept. Borrowers have borrowed it.
	Newest, Kept bool
	Borrowers    []string
}

// Verdict says whether a candidate stays, and why.
type Verdict struct {
	Candidate
	Keep    bool
	Reasons []string
}

// bucket is one rule that counts.
type bucket struct {
	name string
	left int
	// of is the period in which a checkpoint lies. nr is its number, the newest first.
	of   func(at time.Time, nr int) string
	last string
}

func buckets(r *Rules) []bucket {
	period := func(layout string) func(time.Time, int) string {
		return func(at time.Time, _ int) string { return at.Format(layout) }
	}
	return []bucket{
		{name: "last", left: r.Last, of: func(_ time.Time, nr int) string { return fmt.Sprint(nr) }},
		{name: "hourly", left: r.Hourly, of: period("2006-01-02 15")},
		{name: "daily", left: r.Daily, of: period("2006-01-02")},
		{name: "weekly", left: r.Weekly, of: func(at time.Time, _ int) string { y, w := at.ISOWeek(); return fmt.Sprint(y, " ", w) }},
		{name: "monthly", left: r.Monthly, of: period("2006-01")},
		{name: "yearly", left: r.Yearly, of: period("2006")},
	}
}

// Forget decides which checkpoints of a group stay. The verdicts come newest first. Times count in UTC. While a rule has a number left, it
// also keeps the oldest checkpoint. What would be the end of a lineage stays, and what a person or another job wants.
func Forget(group []Candidate, r *Rules) []Verdict {
	sorted := slices.Clone(group)
	slices.SortStableFunc(sorted, func(a, b Candidate) int {
		if c := b.At.Compare(a.At); c != 0 {
			return c
		}
		return int(int64(b.ID) - int64(a.ID))
	})
	rules := buckets(r)
	out := make([]Verdict, len(sorted))
	for nr, c := range sorted {
		c.At = c.At.UTC()
		v := Verdict{Candidate: c, Reasons: c.protected()}
		for _, tags := range r.Tags {
			if !slices.ContainsFunc(tags, func(t string) bool { return !slices.Contains(c.Tags, t) }) {
				v.Reasons = append(v.Reasons, "has the tags")
			}
		}
		if r.Within > 0 && sorted[0].At.Sub(c.At) <= r.Within {
			v.Reasons = append(v.Reasons, "within the time")
		}
		for i := range rules {
			if why := rules[i].counts(&c, nr, nr == len(sorted)-1); why != "" {
				v.Reasons = append(v.Reasons, why)
			}
		}
		if v.Keep = len(v.Reasons) > 0; !v.Keep {
			v.Reasons = []string{"no rule keeps it"}
		}
		out[nr] = v
	}
	return out
}

// counts tells why a rule keeps a checkpoint; empty: it does not.
func (b *bucket) counts(c *Candidate, nr int, oldest bool) string {
	if b.left == 0 {
		return ""
	}
	in := b.of(c.At, nr)
	why := b.name
	switch {
	case in != b.last:
	case oldest:
		why = "oldest " + b.name
	default:
		return ""
	}
	b.last = in
	if b.left > 0 {
		b.left--
	}
	return why
}

// protected says why a checkpoint stays whatever the rules say.
func (c *Candidate) protected() (why []string) {
	if c.Newest {
		why = append(why, "the newest of its lineage")
	}
	if c.Kept {
		why = append(why, "kept by a person")
	}
	for _, b := range c.Borrowers {
		why = append(why, "borrowed by "+b)
	}
	return why
}

// Line is what a lineage is made of: a job, the one that it began from, and whether it has a checkpoint that can be restored.
type Line struct {
	Job, From  string
	Restorable bool
}

// Ends are the jobs at the ends of their lineages: each has a checkpoint that can be restored, and no job that began from it, directly or
// not, has one.
func Ends(lines []Line) map[string]bool {
	from, ends := map[string]string{}, map[string]bool{}
	for _, l := range lines {
		from[l.Job] = l.From
		if l.Restorable {
			ends[l.Job] = true
		}
	}
	for _, l := range lines {
		seen := map[string]bool{l.Job: true}
		for up := l.From; l.Restorable && up != "" && !seen[up]; up = from[up] {
			seen[up] = true
			delete(ends, up)
		}
	}
	return ends
}
