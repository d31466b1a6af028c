package s3

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/ckptd/ckptd/layout/storage"
)

// hazards asks the bucket for settings that keep or remove objects without ckptd.
func (s *store) hazards(ctx context.Context) []storage.Hazard {
	var versions, lock, rules storage.Hazard
	var cleared bool
	var all sync.WaitGroup
	all.Go(func() { versions = s.versioning(ctx) })
	all.Go(func() { lock = s.objectLock(ctx) })
	all.Go(func() { rules, cleared = s.lifecycle(ctx) })
	all.Wait()
	if cleared && versions.Weight == storage.WeightWarning {
		versions.Weight, versions.Advice = storage.WeightNone, ""
		versions.Seen = "on: deleted files stay as old versions, until a lifecycle rule removes them"
	}
	return []storage.Hazard{versions, lock, rules}
}

// unexamined is the hazard that is reported if the store does not answer the question.
func unexamined(name string, err error, permission, ask string) storage.Hazard {
	h := storage.Hazard{Name: name, Weight: storage.WeightUnknown}
	switch statusOf(err) {
	case http.StatusForbidden:
		h.Seen = "not looked at: " + permission + " is not allowed"
		h.Advice = "Give whoever runs doctor " + permission + ", or ask the bucket's owner " + ask + "."
	case http.StatusNotImplemented, http.StatusMethodNotAllowed:
		h.Seen = fmt.Sprintf("not looked at: the server has no answer to that (status %d)", statusOf(err))
		h.Advice = "Ask whoever runs the server " + ask + "."
	default:
		h.Seen = "not looked at: " + plain(err).Error()
		h.Advice = "Run doctor again, or ask whoever runs the server " + ask + "."
	}
	return h
}

func (s *store) versioning(ctx context.Context) storage.Hazard {
	h := storage.Hazard{Name: "versioning", Seen: "off"}
	out, err := s.client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &s.config.Bucket})
	switch {
	case err != nil:
		return unexamined(h.Name, err, "s3:GetBucketVersioning", "whether it keeps old versions")
	case out.Status == types.BucketVersioningStatusEnabled:
		h.Weight, h.Seen = storage.WeightWarning, "on: deleted files stay as old versions, and are billed"
		h.Advice = "Add a lifecycle rule that removes noncurrent versions (NoncurrentVersionExpiration), or use a bucket without versioning."
	case out.Status == types.BucketVersioningStatusSuspended:
		h.Seen = "suspended"
	}
	return h
}

func (s *store) objectLock(ctx context.Context) storage.Hazard {
	h := storage.Hazard{Name: "object lock", Seen: "off"}
	out, err := s.client.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &s.config.Bucket})
	switch {
	case err != nil && statusOf(err) == http.StatusNotFound && codeOf(err) != "NoSuchBucket":
	case err != nil:
		return unexamined(h.Name, err, "s3:GetBucketObjectLockConfiguration", "whether files are retained")
	case out.ObjectLockConfiguration == nil || out.ObjectLockConfiguration.ObjectLockEnabled != types.ObjectLockEnabledEnabled:
	case out.ObjectLockConfiguration.Rule != nil && out.ObjectLockConfiguration.Rule.DefaultRetention != nil:
		h.Weight, h.Holds = storage.WeightWarning, true
		h.Seen = fmt.Sprintf("on, with a default retention of %s: each file, and each old one, takes up space that long",
			retentionText(out.ObjectLockConfiguration.Rule.DefaultRetention))
		h.Advice = "Use a bucket without a default retention: checkpoints come and go by the minute, and none of their space would come back."
	default:
		h.Seen = "on, without a default retention"
	}
	return h
}

func retentionText(r *types.DefaultRetention) string {
	n, unit := aws.ToInt32(r.Days), "days"
	if years := aws.ToInt32(r.Years); years > 0 {
		n, unit = years, "years"
	}
	if n == 1 {
		unit = strings.TrimSuffix(unit, "s")
	}
	return fmt.Sprintf("%d %s (%s)", n, unit, r.Mode)
}

// lifecycle examines the lifecycle rules. cleared: a rule removes the old versions of everything below the prefix.
func (s *store) lifecycle(ctx context.Context) (h storage.Hazard, cleared bool) {
	const name = "lifecycle rules"
	out, err := s.client.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: &s.config.Bucket})
	switch {
	case err != nil && statusOf(err) == http.StatusNotFound && codeOf(err) != "NoSuchBucket":
		return storage.Hazard{Name: name, Seen: "none"}, false
	case err != nil:
		return unexamined(name, err, "s3:GetLifecycleConfiguration", "whether rules delete or archive old files"), false
	}
	return judgeRules(out.Rules, s.prefix), clears(out.Rules, s.prefix)
}

// judgeRules returns the worst effect that lifecycle rules have on objects below a prefix.
func judgeRules(rules []types.LifecycleRule, prefix string) storage.Hazard {
	worst := storage.Hazard{Name: "lifecycle rules", Seen: "none that touch the prefix"}
	for _, r := range rules {
		if r.Status != types.ExpirationStatusEnabled || !touches(r, prefix) {
			continue
		}
		if h := judgeRule(r); h.Weight > worst.Weight {
			worst.Weight, worst.Seen, worst.Advice = h.Weight, h.Seen, h.Advice
		}
	}
	return worst
}

func judgeRule(r types.LifecycleRule) (h storage.Hazard) {
	id := aws.ToString(r.ID)
	if e := r.Expiration; e != nil && (aws.ToInt32(e.Days) > 0 || e.Date != nil) {
		h.Weight, h.Seen = storage.WeightUnfit, fmt.Sprintf("rule %q deletes objects below the prefix by their age", id)
		h.Advice = "Take the prefix out of that rule: files that checkpoints share grow old and are needed all the same; ckptd deletes what nothing needs."
		return h
	}
	for _, t := range r.Transitions {
		switch t.StorageClass {
		case types.TransitionStorageClassGlacier, types.TransitionStorageClassDeepArchive:
			h.Weight, h.Seen = storage.WeightUnfit, fmt.Sprintf("rule %q moves objects below the prefix into %s, where they cannot be read at once", id, t.StorageClass)
			h.Advice = "Take the prefix out of that rule: a job could not be restored."
			return h
		case types.TransitionStorageClassIntelligentTiering:
		default:
			h.Weight, h.Seen = storage.WeightWarning, fmt.Sprintf("rule %q moves objects below the prefix into %s", id, t.StorageClass)
			h.Advice = "Take the prefix out of that rule, unless reads from there are quick and cheap: a restore reads everything at once."
		}
	}
	return h
}

// clears reports whether a rule removes the old versions of everything below a prefix.
func clears(rules []types.LifecycleRule, prefix string) bool {
	for _, r := range rules {
		if r.Status == types.ExpirationStatusEnabled && r.NoncurrentVersionExpiration != nil && touches(r, prefix) &&
			strings.HasPrefix(prefix, prefixOf(r)) && !bySize(r) {
			return true
		}
	}
	return false
}

func bySize(r types.LifecycleRule) bool {
	f := r.Filter
	return f != nil && (f.ObjectSizeGreaterThan != nil || f.ObjectSizeLessThan != nil ||
		f.And != nil && (f.And.ObjectSizeGreaterThan != nil || f.And.ObjectSizeLessThan != nil))
}

// touches reports whether a rule applies to any object of ours; our objects have no tags.
func touches(r types.LifecycleRule, prefix string) bool {
	if f := r.Filter; f != nil && (f.Tag != nil || f.And != nil && len(f.And.Tags) > 0) {
		return false
	}
	of := prefixOf(r)
	return strings.HasPrefix(prefix, of) || strings.HasPrefix(of, prefix)
}

func prefixOf(r types.LifecycleRule) string {
	if f := r.Filter; f != nil {
		if f.Prefix != nil {
			return *f.Prefix
		}
		if f.And != nil && f.And.Prefix != nil {
			return *f.And.Prefix
		}
	}
	return aws.ToString(r.Prefix) //lint:ignore SA1019 buckets still have this old form
}
