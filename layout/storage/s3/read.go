package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/ckptd/ckptd/layout/storage"
)

// Open implements storage.Store.
func (s *store) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	err := s.usable(ctx, key)
	var r io.ReadCloser
	if err == nil {
		r, err = s.openRange(ctx, key, offset, length)
	}
	if err != nil {
		return nil, &storage.Error{Op: "open", Key: key, Err: err}
	}
	return r, nil
}

func (s *store) openRange(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	input := &s3.GetObjectInput{Bucket: &s.config.Bucket, Key: s.name(key)}
	switch {
	case offset < 0:
		return nil, fmt.Errorf("range from %d; want 0 or more", offset)
	case length == 0 || length > 0 && offset > math.MaxInt64-length:
		return s.openNothing(ctx, key, offset, length) // no request can ask for an empty range
	case length > 0:
		input.Range = aws.String(fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	case offset > 0:
		input.Range = aws.String(fmt.Sprintf("bytes=%d-", offset))
	}
	reply, err := s.client.GetObject(ctx, input, s.repeatedAbove)
	switch {
	case statusOf(err) == http.StatusNotFound && codeOf(err) == "NotFound":
		// The SDK says NotFound for a gateway's page; stores say NoSuchKey.
		return nil, fmt.Errorf("%w: %w", errNotS3, plain(err))
	case statusOf(err) == http.StatusRequestedRangeNotSatisfiable:
		return s.openNothing(ctx, key, offset, length)
	case err != nil:
		return nil, readError(err)
	}
	got := aws.ToInt64(reply.ContentLength)
	if length < 0 {
		length = got
	}
	switch {
	case checkETag(reply.ETag) != nil:
		err = errNotS3
	case reply.ContentLength == nil:
		err = errors.New("the reply has no Content-Length")
	case input.Range != nil && !strings.HasPrefix(aws.ToString(reply.ContentRange), fmt.Sprintf("bytes %d-", offset)):
		err = fmt.Errorf("asked for %s, the reply has the range %q: the server does not support ranges", *input.Range, aws.ToString(reply.ContentRange))
	case got < length:
		err = fmt.Errorf("range of %d bytes from %d, of which the object has %d: %w", length, offset, got, io.ErrUnexpectedEOF)
	}
	if err != nil {
		return nil, errors.Join(err, reply.Body.Close())
	}
	return &rangeReader{body: reply.Body, key: key, rest: length}, nil
}

// openNothing opens an empty range, or returns the error for an invalid one.
func (s *store) openNothing(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	info, err := s.stat(ctx, key)
	if err != nil {
		return nil, err
	}
	if offset > info.Size || length > 0 {
		return nil, fmt.Errorf("range of %d bytes from %d of an object of %d: %w", length, offset, info.Size, io.ErrUnexpectedEOF)
	}
	if length < 0 && offset < info.Size {
		return nil, fmt.Errorf("range from %d refused for an object of %d bytes", offset, info.Size)
	}
	return emptyReader{}, nil
}

// A rangeReader gives exactly rest more bytes, or an error.
type rangeReader struct {
	body io.ReadCloser
	key  string
	rest int64
}

func (r *rangeReader) Read(p []byte) (int, error) {
	if r.rest == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > r.rest {
		p = p[:r.rest]
	}
	n, err := r.body.Read(p)
	r.rest -= int64(n)
	switch {
	case err == io.EOF && r.rest == 0:
		return n, io.EOF
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		err = &storage.Error{Op: "read", Key: r.key, Err: err}
	}
	return n, err
}

func (r *rangeReader) Close() error {
	if r.rest == 0 {
		_, _ = r.body.Read(make([]byte, 1)) // reads the end, so that the connection can be used again
	}
	return r.body.Close()
}

// Stat implements storage.Store.
func (s *store) Stat(ctx context.Context, key string) (storage.Info, error) {
	err := s.usable(ctx, key)
	var info storage.Info
	if err == nil {
		info, err = s.stat(ctx, key)
	}
	if err != nil {
		return storage.Info{}, &storage.Error{Op: "stat", Key: key, Err: err}
	}
	return info, nil
}

func (s *store) stat(ctx context.Context, key string) (storage.Info, error) {
	head, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.config.Bucket, Key: s.name(key)}, s.repeatedAbove)
	if err != nil {
		return storage.Info{}, readError(err)
	}
	if err := checkETag(head.ETag); err != nil {
		return storage.Info{}, err
	}
	return storage.Info{Key: key, Size: aws.ToInt64(head.ContentLength), ModTime: aws.ToTime(head.LastModified)}, nil
}

// List implements storage.Store.
func (s *store) List(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		err := ctx.Err()
		if err == nil {
			err = storage.ValidatePrefix(prefix)
		}
		if err == nil {
			err = s.list(ctx, prefix, yield)
		}
		if err != nil && err != errStopped {
			yield(storage.Info{}, &storage.Error{Op: "list", Key: prefix, Err: err})
		}
	}
}

// Folders implements storage.FolderLister, by S3's delimiter.
func (s *store) Folders(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		err := ctx.Err()
		if err == nil {
			err = storage.ValidatePrefix(prefix)
		}
		if err == nil {
			seen := map[string]bool{}
			input := &s3.ListObjectsV2Input{Bucket: &s.config.Bucket, Prefix: s.name(prefix), Delimiter: aws.String("/")}
			err = s.pages(ctx, input, func(page *s3.ListObjectsV2Output) error {
				for _, folder := range page.CommonPrefixes {
					key, ok := strings.CutPrefix(aws.ToString(folder.Prefix), s.prefix+prefix)
					name := strings.TrimSuffix(key, "/")
					if !ok || name == "" || name == storage.TempElement || strings.Contains(name, "/") || seen[name] {
						continue
					}
					seen[name] = true
					if !yield(name, nil) {
						return errStopped
					}
				}
				return nil
			})
		}
		if err != nil && err != errStopped {
			yield("", &storage.Error{Op: "list", Key: prefix, Err: err})
		}
	}
}

var errStopped = errors.New("the caller has seen enough")

// list shows the objects of all pages.
func (s *store) list(ctx context.Context, prefix string, yield func(storage.Info, error) bool) error {
	input := &s3.ListObjectsV2Input{Bucket: &s.config.Bucket, Prefix: s.name(prefix)}
	var pages distinct
	return s.pages(ctx, input, func(page *s3.ListObjectsV2Output) error {
		for _, object := range pages.next(page.Contents) {
			key, ok := strings.CutPrefix(aws.ToString(object.Key), s.prefix)
			if !ok || key == "" || strings.HasSuffix(key, "/") {
				continue // consoles make objects for folders; ckptd makes none
			}
			info := storage.Info{Key: key, Size: aws.ToInt64(object.Size), ModTime: aws.ToTime(object.LastModified)}
			if !yield(info, nil) {
				return errStopped
			}
		}
		return nil
	})
}

// pages requests page after page until the store says that there are no more. A page may be short or empty.
func (s *store) pages(ctx context.Context, input *s3.ListObjectsV2Input, show func(*s3.ListObjectsV2Output) error) error {
	policy := s.repeatedAbove
	for {
		page, err := s.client.ListObjectsV2(ctx, input, policy)
		if err != nil {
			return plain(err)
		}
		if page.Name == nil && page.KeyCount == nil && page.IsTruncated == nil {
			return errNotS3 // an empty list would have these fields
		}
		if err := show(page); err != nil {
			return err
		}
		if !aws.ToBool(page.IsTruncated) {
			return nil
		}
		if aws.ToString(page.NextContinuationToken) == "" {
			return errors.New("the store says that there are more pages, but sends no continuation token")
		}
		if aws.ToString(page.NextContinuationToken) == aws.ToString(input.ContinuationToken) {
			return errors.New("the store lists the same page again and again")
		}
		input.ContinuationToken = page.NextContinuationToken
		policy = func(*s3.Options) {} // no caller can repeat a later page without showing objects again
	}
}

// A distinct drops keys that a store shows again on the next page, as some do when objects change meanwhile.
type distinct struct {
	last   string // the greatest key so far
	before map[string]bool
}

// next returns the objects of a page that were not shown before. Nearly all stores list in order; a key beyond the
// last one is new.
func (d *distinct) next(page []types.Object) (fresh []types.Object) {
	now := make(map[string]bool, len(page))
	for _, object := range page {
		key := aws.ToString(object.Key)
		if key <= d.last && (d.before[key] || now[key]) {
			continue
		}
		now[key] = true
		d.last = max(d.last, key)
		fresh = append(fresh, object)
	}
	d.before = now
	return fresh
}
