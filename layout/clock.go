package layout

import (
	"context"
	"fmt"
	"time"

	"github.com/ckptd/ckptd/layout/storage"
)

// StoreTime is the time by the store's clock: that of an object which it has written just now. The host's clock decides nothing.
func StoreTime(ctx context.Context, s storage.Store) (time.Time, error) {
	key, remove, err := ProveRoot(ctx, s)
	if err != nil {
		return time.Time{}, err
	}
	defer remove()
	info, err := s.Stat(ctx, key)
	if err != nil {
		return time.Time{}, fmt.Errorf("layout: the store's time: %w", err)
	}
	return info.ModTime, nil
}
