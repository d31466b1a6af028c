package layout

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ckptd/ckptd/layout/storage"
)

// StoreTime is the time by the store's clock: that of an object which it has written just now. The host's clock decides nothing.
func StoreTime(ctx context.Context, s storage.Store) (now time.Time, err error) {
	for range timeTries {
		if now, err = timeOfProof(ctx, s); !errors.Is(err, storage.ErrNotFound) {
			break
		}
	}
	return now, err
}

// timeTries is how often StoreTime writes an object: somebody may remove what lies below ProbePrefix.
const timeTries = 5

func timeOfProof(ctx context.Context, s storage.Store) (time.Time, error) {
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
