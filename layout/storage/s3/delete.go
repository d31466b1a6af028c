package s3

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/ckptd/ckptd/layout/storage"
)

// Delete implements storage.Store.
func (s *store) Delete(ctx context.Context, keys []string) []error {
	results := make([]error, len(keys))
	var valid []string
	var at []int // the index in keys of each element of valid
	for i, key := range keys {
		if results[i] = s.writable(ctx, key); results[i] == nil {
			valid, at = append(valid, key), append(at, i)
		}
	}
	for len(valid) > 0 {
		n := min(len(valid), deleteBatch)
		for i, err := range s.deleteBatch(ctx, valid[:n]) {
			results[at[i]] = err
		}
		valid, at = valid[n:], at[n:]
	}
	failed := false
	for i, err := range results {
		if err != nil {
			failed = true
			results[i] = &storage.Error{Op: "delete", Key: keys[i], Err: err}
		}
	}
	if !failed {
		return nil
	}
	return results
}

// deleteBatch deletes keys by one request; its result has one element per key.
func (s *store) deleteBatch(ctx context.Context, keys []string) []error {
	results := make([]error, len(keys))
	if err := ctx.Err(); err != nil {
		for i := range results {
			results[i] = err
		}
		return results
	}
	objects := make([]types.ObjectIdentifier, 0, len(keys))
	places := map[string][]int{}
	for i, key := range keys {
		if places[key] = append(places[key], i); len(places[key]) == 1 {
			objects = append(objects, types.ObjectIdentifier{Key: s.name(key)})
		}
	}
	input := &s3.DeleteObjectsInput{Bucket: &s.config.Bucket, Delete: &types.Delete{Objects: objects}}
	options := []func(*s3.Options){s.repeatedAbove}
	if s.config.NoChecksums {
		options = append(options, sendContentMD5)
	}
	ctx, tries := watched(ctx)
	reply, err := s.client.DeleteObjects(ctx, input, options...)
	if err != nil {
		err = tries.outcome(err, false)
		for i := range results {
			results[i] = err
		}
		return results
	}
	for i := range results {
		results[i] = &unknownError{errNotS3} // unless the reply names the key
	}
	for _, done := range reply.Deleted {
		for _, i := range places[strings.TrimPrefix(aws.ToString(done.Key), s.prefix)] {
			results[i] = nil
		}
	}
	for _, refused := range reply.Errors {
		key := strings.TrimPrefix(aws.ToString(refused.Key), s.prefix)
		for _, i := range places[key] {
			results[i] = deleted(refused)
		}
		// The reply names a key that was not asked for, so no result is believed.
		if len(places[key]) == 0 && results[0] == nil {
			results[0] = fmt.Errorf("%w: the reply has an error for %q, which was not to be deleted: %s", storage.ErrUnknown, aws.ToString(refused.Key), aws.ToString(refused.Code))
		}
	}
	return results
}

// deleted returns the outcome of one key of a batch.
func deleted(refused types.Error) error {
	code := aws.ToString(refused.Code)
	err := error(&refusal{text: code + ": " + aws.ToString(refused.Message), throttled: throttles(0, code)})
	switch code {
	case "NoSuchKey", "NoSuchVersion":
		return nil
	case "AccessDenied", "MalformedXML", "InvalidRequest", "InvalidArgument", "MethodNotAllowed":
		return err
	}
	return fmt.Errorf("%w: %w", storage.ErrUnknown, err)
}

// AbortUnfinished implements storage.Store. It lists the uploads of the whole bucket, because some servers find none
// by prefix.
func (s *store) AbortUnfinished(ctx context.Context, prefix string, dead func(key string) bool) (int, error) {
	n, err := s.abortUnfinished(ctx, prefix, dead)
	if err != nil {
		return n, &storage.Error{Op: "abort unfinished", Key: prefix, Err: err}
	}
	return n, nil
}

func (s *store) abortUnfinished(ctx context.Context, prefix string, dead func(key string) bool) (int, error) {
	if err := errors.Join(ctx.Err(), storage.ValidatePrefix(prefix)); err != nil {
		return 0, err
	}
	if s.config.ReadOnly {
		return 0, errReadOnly
	}
	var found []types.MultipartUpload
	input := &s3.ListMultipartUploadsInput{Bucket: &s.config.Bucket}
	for {
		page, err := s.client.ListMultipartUploads(ctx, input)
		if codeOf(err) == "NoSuchUpload" {
			break // gofakes3 says so of a bucket that never had an upload
		}
		if err != nil {
			return 0, plain(err)
		}
		for _, upload := range page.Uploads {
			if strings.HasPrefix(aws.ToString(upload.Key), s.prefix+prefix) {
				found = append(found, upload)
			}
		}
		if !aws.ToBool(page.IsTruncated) {
			break
		}
		if aws.ToString(page.NextKeyMarker) == aws.ToString(input.KeyMarker) && aws.ToString(page.NextUploadIdMarker) == aws.ToString(input.UploadIdMarker) {
			return 0, errors.New("the store lists the same uploads again and again")
		}
		input.KeyMarker, input.UploadIdMarker = page.NextKeyMarker, page.NextUploadIdMarker
	}
	found = slices.DeleteFunc(found, func(u types.MultipartUpload) bool { return !dead(strings.TrimPrefix(*u.Key, s.prefix)) })
	var errs []error
	for _, upload := range found {
		if err := s.abortUpload(ctx, upload.Key, upload.UploadId); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", *upload.Key, plain(err)))
		}
	}
	return len(found) - len(errs), errors.Join(errs...)
}
