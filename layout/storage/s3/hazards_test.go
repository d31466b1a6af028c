package s3

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/ckptd/ckptd/layout/storage"
)

func TestLifecycleRules(t *testing.T) {
	expire := func(filter *types.LifecycleRuleFilter) types.LifecycleRule {
		return types.LifecycleRule{
			ID: aws.String("old"), Status: types.ExpirationStatusEnabled, Filter: filter, Expiration: &types.LifecycleExpiration{Days: aws.Int32(30)},
		}
	}
	prefix := func(p string) *types.LifecycleRuleFilter { return &types.LifecycleRuleFilter{Prefix: aws.String(p)} }
	disabled := expire(prefix(""))
	disabled.Status = types.ExpirationStatusDisabled
	aborts := types.LifecycleRule{
		Status: types.ExpirationStatusEnabled, Filter: prefix(""),
		AbortIncompleteMultipartUpload: &types.AbortIncompleteMultipartUpload{DaysAfterInitiation: aws.Int32(7)},
		NoncurrentVersionExpiration:    &types.NoncurrentVersionExpiration{NoncurrentDays: aws.Int32(1)},
	}
	//lint:ignore SA1019 an old form that buckets still have
	old := types.LifecycleRule{Status: types.ExpirationStatusEnabled, Prefix: aws.String("jobs/"), Expiration: &types.LifecycleExpiration{Days: aws.Int32(1)}}
	for name, c := range map[string]struct {
		rule types.LifecycleRule
		want storage.Weight
	}{
		"whole bucket":       {expire(nil), storage.WeightUnfit},
		"our prefix":         {expire(prefix("jobs/ckptd/")), storage.WeightUnfit},
		"above ours":         {expire(prefix("jobs/")), storage.WeightUnfit},
		"below ours":         {expire(prefix("jobs/ckptd/clicks/")), storage.WeightUnfit},
		"another":            {expire(prefix("logs/")), storage.WeightNone},
		"by tag":             {expire(&types.LifecycleRuleFilter{Tag: &types.Tag{}}), storage.WeightNone},
		"by tag and prefix":  {expire(&types.LifecycleRuleFilter{And: &types.LifecycleRuleAndOperator{Prefix: aws.String("jobs/"), Tags: []types.Tag{{}}}}), storage.WeightNone},
		"by size and prefix": {expire(&types.LifecycleRuleFilter{And: &types.LifecycleRuleAndOperator{Prefix: aws.String("jobs/")}}), storage.WeightUnfit},
		"disabled":           {disabled, storage.WeightNone},
		"harmless":           {aborts, storage.WeightNone},
		"old form":           {old, storage.WeightUnfit},
		"to an archive": {types.LifecycleRule{
			Status: types.ExpirationStatusEnabled, Filter: prefix(""), Transitions: []types.Transition{{StorageClass: types.TransitionStorageClassGlacier}},
		}, storage.WeightUnfit},
		"to a cheaper class": {types.LifecycleRule{
			Status: types.ExpirationStatusEnabled, Filter: prefix(""), Transitions: []types.Transition{{StorageClass: types.TransitionStorageClassStandardIa}},
		}, storage.WeightWarning},
		"to where it is read most": {types.LifecycleRule{
			Status: types.ExpirationStatusEnabled, Filter: prefix(""), Transitions: []types.Transition{{StorageClass: types.TransitionStorageClassIntelligentTiering}},
		}, storage.WeightNone},
	} {
		if h := judgeRules([]types.LifecycleRule{c.rule}, "jobs/ckptd/"); h.Weight != c.want || h.Seen == "" || h.Weight != storage.WeightNone && h.Advice == "" {
			t.Errorf("%s: %+v, want weight %d", name, h, c.want)
		}
	}
}

// A rule removes old versions if it covers everything below the prefix.
func TestRulesThatClearVersions(t *testing.T) {
	rule := func(filter *types.LifecycleRuleFilter) types.LifecycleRule {
		return types.LifecycleRule{
			Status: types.ExpirationStatusEnabled, Filter: filter, NoncurrentVersionExpiration: &types.NoncurrentVersionExpiration{NoncurrentDays: aws.Int32(1)},
		}
	}
	prefix := func(p string) *types.LifecycleRuleFilter { return &types.LifecycleRuleFilter{Prefix: aws.String(p)} }
	for name, c := range map[string]struct {
		rule types.LifecycleRule
		want bool
	}{
		"whole bucket": {rule(nil), true},
		"our prefix":   {rule(prefix("jobs/ckptd/")), true},
		"below ours":   {rule(prefix("jobs/ckptd/clicks/")), false},
		"another":      {rule(prefix("logs/")), false},
		"by size":      {rule(&types.LifecycleRuleFilter{ObjectSizeGreaterThan: aws.Int64(1)}), false},
		"by tag":       {rule(&types.LifecycleRuleFilter{Tag: &types.Tag{}}), false},
	} {
		if got := clears([]types.LifecycleRule{c.rule}, "jobs/ckptd/"); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
