package gcs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"cloud.google.com/go/storage"

	contract "github.com/ckptd/ckptd/layout/storage"
)

var _ contract.Copier = (*store)(nil)

// CopyFrom implements storage.Copier, between buckets of one server. The store compares length and sum of the source
// before, and of the copy after.
func (s *store) CopyFrom(ctx context.Context, source contract.Store, sourceKey, key string, opts contract.CreateOptions) error {
	from, ok := source.(*store)
	var err error
	if !ok || !opts.HasSize || from.config.Endpoint != s.config.Endpoint {
		err = errors.ErrUnsupported
	}
	if err == nil {
		err = s.writable(ctx, key)
	}
	if err == nil {
		err = s.copyFrom(ctx, from, sourceKey, key, opts)
	}
	if err != nil {
		return &contract.Error{Op: "copy", Key: key, Err: err}
	}
	return nil
}

func (s *store) copyFrom(ctx context.Context, from *store, sourceKey, key string, opts contract.CreateOptions) error {
	attrs, err := from.object(sourceKey).Attrs(ctx)
	switch {
	case err != nil:
		return readError(err)
	case attrs.Size != opts.Size || opts.HasCRC32C && attrs.CRC32C != opts.CRC32C:
		return fmt.Errorf("%w: %s has %d bytes with CRC32C %08x, announced %d with %08x", contract.ErrMismatch, sourceKey, attrs.Size, attrs.CRC32C, opts.Size, opts.CRC32C)
	}
	mark := rand.Text()
	var arrived atomic.Int64
	watchedCtx, tries := watched(ctx)
	copier := s.repeating(key, &arrived).If(storage.Conditions{DoesNotExist: true}).CopierFrom(s.conn.client.Bucket(from.config.Bucket).Object(from.prefix + sourceKey).Generation(attrs.Generation))
	copier.ContentType, copier.Metadata = attrs.ContentType, map[string]string{markName: mark}
	copier.StorageClass, copier.DestinationKMSKeyName = s.config.StorageClass, s.config.KMSKey
	copier.ProgressFunc = func(copied, _ uint64) { arrived.Store(int64(copied)) }
	made, err := copier.Run(watchedCtx) // asks again until all is copied
	outcome := tries.outcome(err)
	switch status := statusOf(err); {
	case err == nil:
		return s.confirm(ctx, made, key, attrs.Size, attrs.CRC32C)
	case errors.Is(outcome, contract.ErrUnknown), errors.Is(outcome, contract.ErrExists) && tries.unknown(true):
		return s.resolve(ctx, key, mark, attrs.Size, attrs.CRC32C, outcome)
	case absent(err):
		return contract.ErrNotFound
	case status == http.StatusForbidden && !errors.Is(outcome, contract.ErrThrottled), status == http.StatusNotImplemented || status == http.StatusMethodNotAllowed:
		return fmt.Errorf("%w: %w", errors.ErrUnsupported, outcome) // these credentials may not read the source
	}
	return outcome
}
