package gcs

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/storage"

	contract "github.com/ckptd/ckptd/layout/storage"
)

// hazards asks the bucket for settings that keep or remove objects without ckptd.
func (s *store) hazards(ctx context.Context) []contract.Hazard {
	attrs, err := s.bucket.Attrs(ctx)
	if err != nil {
		var all []contract.Hazard
		for _, name := range []string{"soft delete", "versioning", "retention policy", "object holds", "lifecycle rules"} {
			all = append(all, unexamined(name, err))
		}
		return all
	}
	rules, cleared := judgeRules(attrs.Lifecycle.Rules, s.prefix, s.classOf(attrs))
	return []contract.Hazard{s.softDelete(ctx, attrs), versioning(attrs, cleared), retention(attrs), holds(attrs), rules, s.storageClass(attrs)}
}

// unexamined is the hazard that is reported if the bucket does not tell its settings.
func unexamined(name string, err error) contract.Hazard {
	h := contract.Hazard{Name: name, Weight: contract.WeightUnknown}
	if statusOf(err) == http.StatusForbidden {
		h.Seen = "not looked at: storage.buckets.get is not allowed"
		h.Advice = "Give whoever runs doctor storage.buckets.get (roles/storage.bucketViewer), or ask the bucket's owner."
		return h
	}
	h.Seen = "not looked at: " + plain(err).Error()
	h.Advice = "Run doctor again, or ask the bucket's owner."
	return h
}

const (
	// listPrice is Google's list price of a GiB for a month, in dollars: Standard, one region.
	listPrice = 0.02
	// mostSoftDeleted bounds how many deleted objects are counted.
	mostSoftDeleted = 20_000
)

// softDelete says what the deleted files cost that are kept below the prefix now.
func (s *store) softDelete(ctx context.Context, attrs *storage.BucketAttrs) contract.Hazard {
	h := contract.Hazard{Name: "soft delete", Seen: "off"}
	if attrs.SoftDeletePolicy == nil || attrs.SoftDeletePolicy.RetentionDuration <= 0 {
		return h
	}
	kept := attrs.SoftDeletePolicy.RetentionDuration
	h.Weight = contract.WeightWarning
	h.Advice = "Switch it off for this bucket (gcloud storage buckets update gs://" + attrs.Name + " --clear-soft-delete): checkpoints come and go by the minute."
	n, size, more := 0, int64(0), ""
	err := s.list(ctx, &storage.Query{Prefix: s.prefix, SoftDeleted: true}, func(o *storage.ObjectAttrs) bool {
		n, size = n+1, size+o.Size
		return n < mostSoftDeleted
	})
	if n == mostSoftDeleted {
		more = "at least "
	}
	h.Seen = fmt.Sprintf("on: deleted files are kept, and billed, for %s; ", days(kept))
	if err != nil || n == 0 {
		gib := 100 * kept.Hours() / 24
		h.Seen += fmt.Sprintf("a job that deletes 100 GiB a day pays for %.0f GiB more, about %.2f $ a month at %.2f $ per GiB", gib, gib*listPrice, listPrice)
		return h
	}
	gib := float64(size) / (1 << 30)
	h.Seen += fmt.Sprintf("below the prefix that is %s%d files of %.2f GiB now, about %.2f $ a month at %.2f $ per GiB", more, n, gib, gib*listPrice, listPrice)
	return h
}

// days is a duration in words.
func days(d time.Duration) string {
	switch {
	case d == 24*time.Hour:
		return "1 day"
	case d%(24*time.Hour) == 0:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	return d.String()
}

func versioning(attrs *storage.BucketAttrs, cleared bool) contract.Hazard {
	h := contract.Hazard{Name: "versioning", Seen: "off"}
	switch {
	case attrs.VersioningEnabled && cleared:
		h.Seen = "on: deleted files stay as old versions, until a lifecycle rule removes them"
	case attrs.VersioningEnabled:
		h.Weight, h.Seen = contract.WeightWarning, "on: deleted files stay as old versions, and are billed"
		h.Advice = "Add a lifecycle rule that deletes noncurrent versions (daysSinceNoncurrentTime), or use a bucket without versioning."
	}
	return h
}

func retention(attrs *storage.BucketAttrs) contract.Hazard {
	h := contract.Hazard{Name: "retention policy", Seen: "none"}
	if p := attrs.RetentionPolicy; p != nil && p.RetentionPeriod > 0 {
		h.Weight, h.Holds = contract.WeightUnfit, true
		h.Seen = fmt.Sprintf("no object can be deleted in its first %s", days(p.RetentionPeriod))
		h.Advice = "Use a bucket without a retention policy: ckptd could not delete what nothing needs, nor its own probes."
	}
	return h
}

func holds(attrs *storage.BucketAttrs) contract.Hazard {
	h := contract.Hazard{Name: "object holds", Seen: "none by default"}
	if attrs.DefaultEventBasedHold {
		h.Weight, h.Holds = contract.WeightUnfit, true
		h.Seen = "each new object is under an event-based hold, so it cannot be deleted"
		h.Advice = "Switch the default hold off (gcloud storage buckets update gs://" + attrs.Name + " --no-default-event-based-hold)."
	}
	return h
}

// classOf is the storage class of new objects.
func (s *store) classOf(attrs *storage.BucketAttrs) string {
	if s.config.StorageClass != "" {
		return s.config.StorageClass
	}
	return attrs.StorageClass
}

func (s *store) storageClass(attrs *storage.BucketAttrs) contract.Hazard {
	class := s.classOf(attrs)
	h := contract.Hazard{Name: "storage class", Seen: class}
	if least, ok := map[string]int{"NEARLINE": 30, "COLDLINE": 90, "ARCHIVE": 365}[class]; ok {
		h.Weight = contract.WeightWarning
		h.Seen = fmt.Sprintf("%s: each file is billed for at least %d days, however soon it is deleted, and each read is billed", class, least)
		h.Advice = "Say storage_class=STANDARD, or use a bucket of that class."
	}
	return h
}

// judgeRules returns the worst effect that lifecycle rules have on live objects below a prefix. cleared: a rule deletes
// the old versions of everything there.
func judgeRules(rules []storage.LifecycleRule, prefix, class string) (worst contract.Hazard, cleared bool) {
	worst = contract.Hazard{Name: "lifecycle rules", Seen: "none that touch the prefix"}
	if len(rules) == 0 {
		worst.Seen = "none"
	}
	for i, r := range rules {
		if !touches(r.Condition, prefix, class) {
			continue
		}
		if onlyOld(r.Condition) {
			cleared = cleared || r.Action.Type == storage.DeleteAction && covers(r.Condition, prefix)
			continue
		}
		if h := judgeRule(i+1, r); h.Weight > worst.Weight {
			worst.Weight, worst.Seen, worst.Advice = h.Weight, h.Seen, h.Advice
		}
	}
	return worst, cleared
}

func judgeRule(number int, r storage.LifecycleRule) (h contract.Hazard) {
	switch r.Action.Type {
	case storage.DeleteAction:
		h.Weight, h.Seen = contract.WeightUnfit, fmt.Sprintf("rule %d deletes objects below the prefix by their age", number)
		if len(r.Condition.MatchesSuffix) > 0 {
			h.Weight, h.Seen = contract.WeightWarning, fmt.Sprintf("rule %d deletes objects below the prefix whose names end with %q", number, r.Condition.MatchesSuffix)
		}
		h.Advice = "Take the prefix out of that rule: files that checkpoints share grow old and are needed all the same; ckptd deletes what nothing needs."
	case storage.SetStorageClassAction:
		h.Weight, h.Seen = contract.WeightWarning, fmt.Sprintf("rule %d moves objects below the prefix into %s", number, r.Action.StorageClass)
		h.Advice = "Take the prefix out of that rule: a restore reads everything at once, and what is deleted soon is billed for longer there."
	}
	return h
}

// touches reports whether a rule applies to any object of ours. Ours have no custom time.
func touches(c storage.LifecycleCondition, prefix, class string) bool {
	if c.DaysSinceCustomTime > 0 || !c.CustomTimeBefore.IsZero() {
		return false
	}
	if len(c.MatchesStorageClasses) > 0 && !slices.Contains(c.MatchesStorageClasses, class) {
		return false
	}
	near := func(of string) bool { return strings.HasPrefix(prefix, of) || strings.HasPrefix(of, prefix) }
	return len(c.MatchesPrefix) == 0 || slices.ContainsFunc(c.MatchesPrefix, near)
}

// covers reports whether a rule applies to all that lies below a prefix.
func covers(c storage.LifecycleCondition, prefix string) bool {
	within := func(of string) bool { return strings.HasPrefix(prefix, of) }
	return len(c.MatchesSuffix) == 0 && (len(c.MatchesPrefix) == 0 || slices.ContainsFunc(c.MatchesPrefix, within))
}

// onlyOld reports whether a rule leaves live objects alone.
func onlyOld(c storage.LifecycleCondition) bool {
	return c.Liveness == storage.Archived || c.NumNewerVersions > 0 || c.DaysSinceNoncurrentTime > 0 || !c.NoncurrentTimeBefore.IsZero()
}
