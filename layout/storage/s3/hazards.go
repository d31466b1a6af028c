package s3

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/ckptd/ckptd/layout/storage"
)

// hazards asks the bucket what it keeps or removes by itself.
func (s *store) hazards(ctx context.Context) []storage.Hazard {
	bucket := aws.String(s.config.Bucket)
	return []storage.Hazard{s.versioning(ctx, bucket), s.objectLock(ctx, bucket), s.lifecycle(ctx, bucket)}
}

// unasked is a hazard that the store does not tell of.
func unasked(name string, err error, permission string) storage.Hazard {
	h := storage.Hazard{Name: name, Weight: storage.WeightUnknown, Seen: "not known: " + plain(err).Error()}
	if statusOf(err) == http.StatusForbidden {
		h.Advice = "Give whoever runs doctor " + permission + " to have it looked at."
	}
	return h
}

func (s *store) versioning(ctx context.Context, bucket *string) storage.Hazard {
	h := storage.Hazard{Name: "versioning", Seen: "off"}
	out, err := s.client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: bucket})
	switch {
	case err != nil:
		return unasked(h.Name, err, "s3:GetBucketVersioning")
	case out.Status == types.BucketVersioningStatusEnabled:
		h.Weight, h.Seen = storage.WeightWarning, "on: deleted files stay as old versions, and are billed"
		h.Advice = "Add a lifecycle rule that removes noncurrent versions (NoncurrentVersionExpiration), or use a bucket without versioning."
	case out.Status == types.BucketVersioningStatusSuspended:
		h.Seen = "suspended"
	}
	return h
}

func (s *store) objectLock(ctx context.Context, bucket *string) storage.Hazard {
	h := storage.Hazard{Name: "object lock", Seen: "off"}
	out, err := s.client.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: bucket})
	switch {
	case err != nil && statusOf(err) == http.StatusNotFound:
	case err != nil:
		return unasked(h.Name, err, "s3:GetBucketObjectLockConfiguration")
	case out.ObjectLockConfiguration == nil || out.ObjectLockConfiguration.ObjectLockEnabled != types.ObjectLockEnabledEnabled:
	case out.ObjectLockConfiguration.Rule != nil && out.ObjectLockConfiguration.Rule.DefaultRetention != nil:
		h.Weight, h.Seen = storage.WeightWarning, "on, with a default retention: files that nothing needs cannot be deleted for a while"
		h.Advice = "Use a bucket without a default retention: checkpoints come and go by the minute."
	default:
		h.Seen = "on, without a default retention"
	}
	return h
}

func (s *store) lifecycle(ctx context.Context, bucket *string) storage.Hazard {
	const name = "lifecycle rules"
	out, err := s.client.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: bucket})
	switch {
	case err != nil && statusOf(err) == http.StatusNotFound && codeOf(err) != "NoSuchBucket":
		return storage.Hazard{Name: name, Seen: "none"}
	case err != nil:
		return unasked(name, err, "s3:GetLifecycleConfiguration")
	}
	return judgeRules(out.Rules, s.prefix)
}

// judgeRules finds the worst that lifecycle rules do to objects below a prefix.
func judgeRules(rules []types.LifecycleRule, prefix string) storage.Hazard {
	h := storage.Hazard{Name: "lifecycle rules", Seen: "none that touch the prefix"}
	for _, r := range rules {
		if r.Status != types.ExpirationStatusEnabled || !touches(r, prefix) {
			continue
		}
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
			}
		}
	}
	return h
}

// touches tells whether a rule is for some object of ours: they have no tags.
func touches(r types.LifecycleRule, prefix string) bool {
	of := aws.ToString(r.Prefix) //nolint:staticcheck // an old form that buckets still have
	if f := r.Filter; f != nil {
		if f.Tag != nil || f.And != nil && len(f.And.Tags) > 0 {
			return false
		}
		if f.Prefix != nil {
			of = *f.Prefix
		}
		if f.And != nil && f.And.Prefix != nil {
			of = *f.And.Prefix
		}
	}
	return strings.HasPrefix(prefix, of) || strings.HasPrefix(of, prefix)
}
