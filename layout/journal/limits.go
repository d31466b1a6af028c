package journal

import (
	"fmt"
	"strconv"
)

// The limits of an entry. Together they fit into MaxBytes (TestEverythingAtItsLimitFits), so a job whose parts keep
// them can always append. Fits refuses what exceeds one, before it is begun.
const (
	// MaxBytes bounds an encoded entry.
	MaxBytes = 256 << 10
	// MaxConfig bounds the bytes of a configuration.
	MaxConfig = 2 << 10
	// MaxPlan bounds the operators of a plan: the bytes of their ids and names, and 24 for each.
	MaxPlan = 64 << 10
	// MaxLabels bounds the labels: the bytes of their keys and values, and 8 for each.
	MaxLabels = 64 << 10
	// MaxURLs and MaxURL bound the addresses of an owner and the bytes of one.
	MaxURLs = 8
	MaxURL  = 512
	// MaxRetained bounds the retained checkpoints; the trashed and the hidden ones count.
	MaxRetained = 200
	// MaxTrashed bounds the retained checkpoints that are in the trash.
	MaxTrashed = 64
	// MaxTags and MaxTag bound the tags of all checkpoints together and the bytes of one.
	MaxTags = 64
	MaxTag  = 64
	// MaxSavepoints bounds the savepoints on record.
	MaxSavepoints = 32
	// MaxPath bounds the bytes of the URL of a savepoint, and of the request and the source of an import.
	MaxPath = 1 << 10
	// MaxLent and MaxBorrowed bound the pins of other jobs here, and of this job elsewhere.
	MaxLent     = 64
	MaxBorrowed = 64
	// MaxJob bounds the bytes of a job's or a root's id.
	MaxJob = 128
	// MaxRequests bounds the requests on record.
	MaxRequests = 32
	// MaxReason bounds the bytes of the reason of an end. EndedAt cuts a longer one.
	MaxReason = 1 << 10
)

// Overheads of an operator and a label, counted against MaxPlan and MaxLabels.
const (
	operatorOverhead = 24
	labelOverhead    = 8
)

// LimitError says which part of an entry exceeds its limit. ErrTooLarge is in its chain.
type LimitError struct {
	// Field is what is too large: "labels".
	Field string
	// Have and Limit are numbers of bytes if Bytes is true, else numbers of items.
	Have, Limit int
	Bytes       bool
	// Advice tells the caller what to do.
	Advice string
}

// Error names the field, how much of it there is, its limit, and what to do.
func (e *LimitError) Error() string {
	if e.Bytes {
		return fmt.Sprintf("%s: %s bytes; a journal entry holds %s: %s", e.Field, grouped(e.Have), bytesText(e.Limit), e.Advice)
	}
	return fmt.Sprintf("%s: %s; a journal entry holds %s: %s", e.Field, grouped(e.Have), grouped(e.Limit), e.Advice)
}

// Unwrap is ErrTooLarge.
func (e *LimitError) Unwrap() error { return ErrTooLarge }

// Fits says which part of a job exceeds its limit. Callers ask it before they begin the job, or give the job another
// plan or configuration.
func Fits(plan *Plan, config *Config, about *About, urls []string) error {
	e := Entry{Plan: plan, Config: config, About: about, URLs: urls}
	return e.Fits()
}

// Fits says which part of the entry exceeds its limit, as a *LimitError. A caller that adds to an entry asks before it
// begins any work.
func (e *Entry) Fits() error {
	for _, fits := range []func() error{e.jobFits, e.checkpointsFit, e.pinsFit, e.savepointsFit, e.restFits} {
		if err := fits(); err != nil {
			return err
		}
	}
	return nil
}

func (e *Entry) jobFits() error {
	if c := e.Config; c != nil && len(c.Bytes) > MaxConfig {
		return tooLong("configuration", len(c.Bytes), MaxConfig, "use shorter values")
	}
	if e.Plan != nil {
		n := 0
		for i := range e.Plan.Operators {
			n += len(e.Plan.Operators[i].ID) + len(e.Plan.Operators[i].UID) + operatorOverhead
		}
		if n > MaxPlan {
			return tooLong("plan", n, MaxPlan, "use fewer operators or shorter names")
		}
	}
	if e.About != nil {
		n := 0
		for _, l := range e.About.Labels {
			n += len(l.Key) + len(l.Value) + labelOverhead
		}
		if n > MaxLabels {
			return tooLong("labels", n, MaxLabels, "use fewer or shorter labels")
		}
		if n := len(e.About.Job); n > MaxJob {
			return tooLong("job id", n, MaxJob, "use a shorter one")
		}
	}
	if n := len(e.URLs); n > MaxURLs {
		return tooMany("owner URLs", n, MaxURLs, "let the daemon listen at fewer addresses")
	}
	for _, u := range e.URLs {
		if n := len(u); n > MaxURL {
			return tooLong("owner URL", n, MaxURL, "let the daemon listen at a shorter address")
		}
	}
	return nil
}

func (e *Entry) checkpointsFit() error {
	trashed, tags := 0, 0
	for i := range e.Retained {
		c := &e.Retained[i]
		if c.State == StateTrashed {
			trashed++
		}
		tags += len(c.Tags)
		for _, t := range c.Tags {
			if n := len(t); n > MaxTag {
				return tooLong("tag", n, MaxTag, "use a shorter one")
			}
		}
	}
	switch n := len(e.Retained); {
	case n > MaxRetained:
		return tooMany("retained checkpoints", n, MaxRetained, "remove some, or retain fewer")
	case trashed > MaxTrashed:
		return tooMany("checkpoints in the trash", trashed, MaxTrashed, "purge some")
	case tags > MaxTags:
		return tooMany("tags", tags, MaxTags, "remove some")
	}
	return nil
}

func (e *Entry) pinsFit() error {
	for _, l := range e.Lent {
		if n := len(l.Holder); n > MaxJob {
			return tooLong("id of a job that borrows", n, MaxJob, "use a shorter one")
		}
	}
	for _, b := range e.Borrowed {
		if n := len(b.Job); n > MaxJob {
			return tooLong("id of a job that lends", n, MaxJob, "use a shorter one")
		}
	}
	switch {
	case len(e.Lent) > MaxLent:
		return tooMany("pins of other jobs", len(e.Lent), MaxLent, "return some, or wait until the jobs that hold them return them")
	case len(e.Borrowed) > MaxBorrowed:
		return tooMany("pins in other jobs", len(e.Borrowed), MaxBorrowed, "restore from a checkpoint whose files lie in fewer jobs")
	}
	return nil
}

func (e *Entry) savepointsFit() error {
	for i := range e.Savepoints {
		if n := len(e.Savepoints[i].Path); n > MaxPath {
			return tooLong("path of a savepoint", n, MaxPath, "use a shorter one")
		}
	}
	if n := len(e.Savepoints); n > MaxSavepoints {
		return tooMany("savepoints", n, MaxSavepoints, "wait until one of them is done or cleaned")
	}
	return nil
}

func (e *Entry) restFits() error {
	for _, text := range []struct {
		field string
		have  string
		limit int
	}{
		{"request of the import", e.Import.Request, MaxPath},
		{"source of the import", e.Import.Source, MaxPath},
		{"id of the job imported from", e.Import.Job, MaxJob},
		{"id of the root copied from", e.CopiedFrom.RootID, MaxJob},
		{"id of the job copied from", e.CopiedFrom.Job, MaxJob},
		{"reason of the end", e.Ended.Why, MaxReason},
	} {
		if n := len(text.have); n > text.limit {
			return tooLong(text.field, n, text.limit, "use a shorter one")
		}
	}
	if n := len(e.Requests); n > MaxRequests {
		return tooMany("requests", n, MaxRequests, "forget the oldest")
	}
	return nil
}

func tooLong(field string, have, limit int, advice string) error {
	return &LimitError{Field: field, Have: have, Limit: limit, Bytes: true, Advice: advice}
}

func tooMany(field string, have, limit int, advice string) error {
	return &LimitError{Field: field, Have: have, Limit: limit, Advice: advice}
}

func bytesText(n int) string {
	if n%1024 == 0 {
		return strconv.Itoa(n/1024) + " KiB"
	}
	return strconv.Itoa(n) + " bytes"
}

// grouped writes a number with commas: 100,690.
func grouped(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
