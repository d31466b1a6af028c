package layout_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
)

// clearing removes probes so many times before they are looked at, as a daemon does that starts.
type clearing struct {
	storage.Store
	left int
}

func (c *clearing) Stat(ctx context.Context, key string) (storage.Info, error) {
	if strings.HasPrefix(key, layout.ProbePrefix) && c.left > 0 {
		c.left--
		for range c.Store.Delete(ctx, []string{key}) {
		}
	}
	return c.Store.Stat(ctx, key)
}

// The store's time is found though daemons start meanwhile. A store that never shows the object is no endless loop.
func TestStoreTimeWhileDaemonsStart(t *testing.T) {
	for removals, want := range map[int]error{0: nil, 2: nil, 1000: storage.ErrNotFound} {
		now, err := layout.StoreTime(t.Context(), &clearing{mem.New(), removals})
		if !errors.Is(err, want) || (err == nil) == now.IsZero() {
			t.Errorf("%d removals: %v, %v; want %v", removals, now, err, want)
		}
	}
}
