package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/ckptd/ckptd/layout/storage"
)

// purge removes the old versions and delete markers of objects below a prefix, if the bucket ever had versions.
// Current versions stay.
func (s *store) purge(ctx context.Context, prefix string) (left int, err error) {
	if err := errors.Join(ctx.Err(), storage.ValidatePrefix(prefix)); err != nil {
		return 0, err
	}
	if s.config.ReadOnly {
		return 0, errReadOnly
	}
	versions, err := s.client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &s.config.Bucket})
	asked := statusOf(err) != http.StatusForbidden
	switch status := statusOf(err); {
	case status == http.StatusNotImplemented || status == http.StatusMethodNotAllowed || err == nil && versions.Status == "":
		return 0, nil
	case err != nil && asked:
		return 0, plain(err)
	}
	// Markers are removed last, and only if no version is left below them: without its marker an old version would be
	// current again.
	for _, markers := range []bool{false, true} {
		left, err = s.purgeAll(ctx, s.name(prefix), markers)
		if statusOf(err) == http.StatusForbidden && !asked {
			return 0, nil // we may not ask whether there are versions
		}
		if left > 0 || err != nil {
			break
		}
	}
	return left, err
}

// purgeAll removes the old versions, or the delete markers.
func (s *store) purgeAll(ctx context.Context, prefix *string, markers bool) (left int, err error) {
	input := &s3.ListObjectVersionsInput{Bucket: &s.config.Bucket, Prefix: prefix}
	for {
		page, listErr := s.client.ListObjectVersions(ctx, input)
		if listErr != nil {
			return left, errors.Join(err, plain(listErr))
		}
		var old []types.ObjectIdentifier
		for _, v := range page.Versions {
			if !markers && !aws.ToBool(v.IsLatest) {
				old = append(old, types.ObjectIdentifier{Key: v.Key, VersionId: v.VersionId})
			}
		}
		for _, m := range page.DeleteMarkers {
			if markers {
				old = append(old, types.ObjectIdentifier{Key: m.Key, VersionId: m.VersionId})
			}
		}
		n, purgeErr := s.purgeVersions(ctx, old)
		left += n
		if err == nil {
			err = purgeErr
		}
		if !aws.ToBool(page.IsTruncated) {
			return left, err
		}
		if aws.ToString(page.NextKeyMarker) == aws.ToString(input.KeyMarker) && aws.ToString(page.NextVersionIdMarker) == aws.ToString(input.VersionIdMarker) {
			return left, errors.New("the store lists the same versions again and again")
		}
		input.KeyMarker, input.VersionIdMarker = page.NextKeyMarker, page.NextVersionIdMarker
	}
}

// purgeVersions removes versions. It returns the number that it could not remove, and the error of the first of them.
func (s *store) purgeVersions(ctx context.Context, old []types.ObjectIdentifier) (left int, err error) {
	if len(old) == 0 {
		return 0, nil
	}
	var options []func(*s3.Options)
	if s.config.NoChecksums {
		options = append(options, sendContentMD5)
	}
	input := &s3.DeleteObjectsInput{Bucket: &s.config.Bucket, Delete: &types.Delete{Objects: old, Quiet: aws.Bool(true)}}
	reply, err := s.client.DeleteObjects(ctx, input, options...)
	if err != nil {
		return len(old), plain(err)
	}
	if len(reply.Errors) > 0 {
		first := reply.Errors[0]
		return len(reply.Errors), fmt.Errorf("%s: %s", aws.ToString(first.Code), aws.ToString(first.Message))
	}
	return 0, nil
}
