package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/layout/storage"
)

var _ storage.Copier = (*store)(nil)

// An object larger than copySize is copied by the server in parts of copyPart, several at once. Otherwise a connection
// would stay silent for too long.
const (
	copySize = 256 << 20
	copyPart = 128 << 20
)

// CopyFrom implements storage.Copier, within one server.
func (s *store) CopyFrom(ctx context.Context, source storage.Store, sourceKey, key string, opts storage.CreateOptions) error {
	from, ok := source.(*store)
	var err error
	if !ok || opts.IfAbsent || !opts.HasSize || from.config.Endpoint != s.config.Endpoint || from.config.Region != s.config.Region {
		err = errors.ErrUnsupported
	}
	if err == nil {
		err = s.writable(ctx, key)
	}
	if err == nil {
		err = s.copyFrom(ctx, from, sourceKey, key, opts)
	}
	if err != nil {
		return &storage.Error{Op: "copy", Key: key, Err: err}
	}
	return nil
}

func (s *store) copyFrom(ctx context.Context, from *store, sourceKey, key string, opts storage.CreateOptions) error {
	info, err := from.stat(ctx, sourceKey)
	if err != nil {
		return err
	}
	if info.Size != opts.Size {
		return fmt.Errorf("%w: %s has %d bytes, announced %d", storage.ErrMismatch, sourceKey, info.Size, opts.Size)
	}
	// Some servers decode a path, others a query, so that + stays itself only if it is escaped.
	at := from.config.Bucket + "/" + strings.ReplaceAll((&url.URL{Path: *from.name(sourceKey)}).EscapedPath(), "+", "%2B")
	if opts.Size > s.copySize {
		return s.copyParts(ctx, at, key, opts)
	}
	return s.copyWhole(ctx, at, key, opts)
}

// copyRefused turns an error of a copy into the contract's words. A server that lacks the request, or that does not let
// these credentials read the source, has done nothing.
func copyRefused(err, outcome error) error {
	switch status := statusOf(err); {
	case absent(err):
		return storage.ErrNotFound
	case status == http.StatusForbidden || status == http.StatusNotImplemented || status == http.StatusMethodNotAllowed:
		return fmt.Errorf("%w: %w", errors.ErrUnsupported, outcome)
	}
	return outcome
}

// copyWhole copies by one request. If the server tells no sum of the copy, the copy is read.
func (s *store) copyWhole(ctx context.Context, at, key string, opts storage.CreateOptions) error {
	input := &s3.CopyObjectInput{Bucket: &s.config.Bucket, Key: s.name(key), CopySource: &at, StorageClass: types.StorageClass(s.config.StorageClass)}
	if !s.config.NoChecksums {
		input.ChecksumAlgorithm = types.ChecksumAlgorithmCrc32c
	}
	if s.config.KMSKeyID != "" {
		input.ServerSideEncryption, input.SSEKMSKeyId = types.ServerSideEncryptionAwsKms, &s.config.KMSKeyID
	}
	watchedCtx, tries := watched(ctx)
	reply, err := s.client.CopyObject(watchedCtx, input)
	if err == nil && reply.CopyObjectResult == nil {
		err = errNotS3
	}
	if err == nil {
		err = checkETag(reply.CopyObjectResult.ETag)
	}
	if err != nil {
		return copyRefused(err, tries.outcome(err, false))
	}
	if !opts.HasCRC32C {
		return nil
	}
	if told := aws.ToString(reply.CopyObjectResult.ChecksumCRC32C); told != "" && !s.config.NoChecksums {
		if told != *s.encode(opts.CRC32C) {
			return s.undo(ctx, key, fmt.Errorf("%w: the server's sum of the copy is %s, announced %s", storage.ErrMismatch, told, *s.encode(opts.CRC32C)))
		}
		return nil
	}
	return s.readBack(ctx, key, opts)
}

// readBack compares a copy with what was announced.
func (s *store) readBack(ctx context.Context, key string, opts storage.CreateOptions) error {
	verifier := storage.NewVerifier(opts)
	body, err := s.Open(ctx, key, 0, -1)
	if err != nil {
		return s.undo(ctx, key, err)
	}
	defer body.Close()
	buffer := make([]byte, 256<<10)
	for {
		n, readErr := body.Read(buffer)
		if err := verifier.Add(buffer[:n]); err != nil {
			return s.undo(ctx, key, err)
		}
		if readErr != nil {
			err = readErr
			break
		}
	}
	if err := verifier.Check(); err != nil {
		return s.undo(ctx, key, errors.Join(err, ctx.Err()))
	}
	return nil
}

// undo deletes a copy that is not as announced. If that fails, the outcome is not known.
func (s *store) undo(ctx context.Context, key string, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
	defer cancel()
	for _, err := range s.Delete(ctx, []string{key}) {
		if err != nil {
			return &unknownError{errors.Join(cause, err)}
		}
	}
	return cause
}

// copyParts has the server copy ranges of a large object, makes them one object, and reads it for its sum.
func (s *store) copyParts(ctx context.Context, at, key string, opts storage.CreateOptions) error {
	u, err := s.newUpload(ctx, key, true)
	if err != nil {
		return copyRefused(err, err)
	}
	defer u.abort()
	part := max(s.copyPart, (opts.Size+maxParts-1)/maxParts)
	g, groupCtx := errgroup.WithContext(u.ctx)
	g.SetLimit(partsAtOnce)
	var mu sync.Mutex
	for number, begin := int32(1), int64(0); begin < opts.Size; number, begin = number+1, begin+part {
		g.Go(func() error {
			bytes := fmt.Sprintf("bytes=%d-%d", begin, min(begin+part, opts.Size)-1)
			reply, err := s.client.UploadPartCopy(groupCtx, &s3.UploadPartCopyInput{
				Bucket: &s.config.Bucket, Key: s.name(key), UploadId: u.id, PartNumber: &number, CopySource: &at, CopySourceRange: &bytes,
			})
			if err != nil {
				return copyRefused(err, plain(err)) // no object is made of the parts
			}
			if reply.CopyPartResult == nil || checkETag(reply.CopyPartResult.ETag) != nil {
				return errNotS3
			}
			mu.Lock()
			defer mu.Unlock()
			u.parts = append(u.parts, types.CompletedPart{ETag: reply.CopyPartResult.ETag, PartNumber: &number})
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	slices.SortFunc(u.parts, func(a, b types.CompletedPart) int { return int(*a.PartNumber - *b.PartNumber) })
	if err := u.complete(opts.Size, opts.CRC32C, false); err != nil {
		return err
	}
	return s.readBack(ctx, key, opts)
}
