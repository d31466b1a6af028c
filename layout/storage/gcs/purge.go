package gcs

import (
	"context"
	"errors"
	"net/http"

	"cloud.google.com/go/storage"

	contract "github.com/ckptd/ckptd/layout/storage"
)

// purge removes the old versions of objects below a prefix. Current versions stay. What soft delete keeps of them
// nobody can remove before its time.
func (s *store) purge(ctx context.Context, prefix string) (left int, err error) {
	if err := errors.Join(ctx.Err(), contract.ValidatePrefix(prefix)); err != nil {
		return 0, err
	}
	if s.config.ReadOnly {
		return 0, errReadOnly
	}
	var old []*storage.ObjectAttrs
	err = s.list(ctx, &storage.Query{Prefix: s.prefix + prefix, Versions: true}, func(attrs *storage.ObjectAttrs) bool {
		if !attrs.Deleted.IsZero() {
			old = append(old, attrs)
		}
		return true
	})
	if err != nil {
		return 0, err
	}
	var first error
	for _, attrs := range old {
		err := s.bucket.Object(attrs.Name).Generation(attrs.Generation).Delete(ctx)
		if err == nil || statusOf(err) == http.StatusNotFound {
			continue
		}
		if left++; first == nil {
			first = plain(err)
		}
	}
	return left, first
}
