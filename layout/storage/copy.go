package storage

import (
	"context"
	"errors"
)

// Copier is an optional part of a store: it copies an object of another root without sending the bytes through this
// process. A driver that offers it says so by Facts.Copies.
type Copier interface {
	// CopyFrom makes key from the object sourceKey of source. The outcome is as for Create and Commit with opts: the object
	// is whole and durable after nil, and has the announced size and sum; ErrNotFound in the chain means that the source's
	// object is missing. With errors.ErrUnsupported in the chain nothing was done: the store cannot reach the source, or
	// cannot copy this object, and the caller copies it by reading and writing.
	CopyFrom(ctx context.Context, source Store, sourceKey, key string, opts CreateOptions) error
}

// CopyWithin has the target's driver copy an object, if it is a Copier. Otherwise errors.ErrUnsupported is in the chain of
// its error.
func CopyWithin(ctx context.Context, source Opened, sourceKey string, target Opened, key string, opts CreateOptions) error {
	c, ok := target.Store.(Copier)
	if !ok || !target.Facts.Copies || source.Facts.Kind != target.Facts.Kind {
		return &Error{Op: "copy", Key: key, Err: errors.ErrUnsupported}
	}
	return c.CopyFrom(ctx, source.Store, sourceKey, key, opts)
}
