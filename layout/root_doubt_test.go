package layout_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
)

// A store that says that it deleted what is still there is refused; one whose answers say nothing starts, and the start-up line has it.
func TestOpenRootProbesDeletes(t *testing.T) {
	ignoring := &keeping{mem.New(), nil}
	if _, err := layout.OpenRoot(t.Context(), ignoring); !errors.Is(err, layout.ErrUnfit) || !errors.Is(err, layout.ErrDeleteIgnored) {
		t.Errorf("%v, want ErrUnfit", err)
	}
	silent := &keeping{mem.New(), fmt.Errorf("not the answer of a store: %w", storage.ErrUnknown)}
	for range 2 {
		r, err := layout.OpenRoot(t.Context(), silent)
		if err != nil || !strings.Contains(r.String(), "WARNING: it is not known whether the store deletes anything: ") || !errors.Is(r.Probe.Kept, storage.ErrUnknown) {
			t.Errorf("%v, %v", r, err)
		}
	}
	refusing := &keeping{mem.New(), errors.New("AccessDenied")}
	if _, err := layout.OpenRoot(t.Context(), refusing); !errors.Is(err, layout.ErrDeleteRefused) {
		t.Errorf("%v", err)
	}
	if r, err := layout.OpenRoot(t.Context(), mem.New()); err != nil || r.Probe.Kept != nil || strings.Contains(r.String(), "WARNING") {
		t.Errorf("%v, %v", r, err)
	}
}

// Where every write is carried out twice, the winner is told that the object exists: it is its own, and who won is known by what is there.
func TestOpenRootWhereWritesComeTwice(t *testing.T) {
	twice := altered{mem.New(), func(ctx context.Context, s storage.Store, key string, data []byte) error {
		_ = s.Publish(ctx, key, data)
		return s.Publish(ctx, key, data)
	}}
	if r, err := layout.OpenRoot(t.Context(), twice); err != nil || !r.Created || r.Probe.Decided != r.Probe.Rounds {
		t.Errorf("%v, %v", r, err)
	}
	foreign := altered{mem.New(), func(ctx context.Context, s storage.Store, key string, data []byte) error {
		_ = s.Publish(ctx, key, []byte("somebody else's"))
		return s.Publish(ctx, key, data)
	}}
	if _, err := layout.OpenRoot(t.Context(), foreign); !errors.Is(err, storage.ErrExists) {
		t.Errorf("%v, want ErrExists", err)
	}
}

// A store that tells every publisher that it came too late, and replaces the object all the same, is unfit.
func TestOpenRootWhereAllLoseAndReplace(t *testing.T) {
	replacing := altered{mem.New(), func(ctx context.Context, s storage.Store, key string, data []byte) error {
		if !strings.HasSuffix(key, "canary") {
			if err := put(ctx, s, key, data); err != nil {
				return err
			}
			return storage.ErrExists
		}
		return s.Publish(ctx, key, data)
	}}
	if r, err := layout.OpenRoot(t.Context(), replacing); !errors.Is(err, layout.ErrUnfit) {
		t.Errorf("%v, %v, want ErrUnfit", r, err)
	}
}

// The first write is tried again if it has no answer.
func TestOpenRootTriesAgain(t *testing.T) {
	var n atomic.Int64
	slow := altered{mem.New(), func(ctx context.Context, s storage.Store, key string, data []byte) error {
		if n.Add(1) < 3 {
			return fmt.Errorf("500: %w", storage.ErrUnknown)
		}
		return s.Publish(ctx, key, data)
	}}
	if r, err := layout.OpenRoot(t.Context(), slow); err != nil || r.Probe.Decided != r.Probe.Rounds {
		t.Errorf("%v, %v", r, err)
	}
}
