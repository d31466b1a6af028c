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

// A store that keeps what it says it deleted is refused. A store whose answers prove nothing is accepted, with a
// warning in the start-up line.
func TestOpenRootProbesDeletes(t *testing.T) {
	ignoring := &keeping{mem.New(), nil}
	if _, err := layout.OpenRoot(t.Context(), ignoring); !errors.Is(err, layout.ErrUnfit) || !errors.Is(err, layout.ErrDeleteIgnored) {
		t.Errorf("%v, want ErrUnfit", err)
	}
	silent := &keeping{mem.New(), fmt.Errorf("not the answer of a store: %w", storage.ErrUnknown)}
	for range 2 {
		r, err := layout.OpenRoot(t.Context(), silent)
		if err != nil || !strings.Contains(r.String(), "WARNING: it is not known whether the store deletes anything: ") || !errors.Is(r.Probe.Kept, storage.ErrUnknown) {
			t.Errorf("OpenRoot = %v, %v; want a warning, with ErrUnknown in it", r, err)
		}
	}
	refusing := &keeping{mem.New(), errors.New("AccessDenied")}
	if _, err := layout.OpenRoot(t.Context(), refusing); !errors.Is(err, layout.ErrDeleteRefused) {
		t.Errorf("OpenRoot of a store that refuses deletes: %v, want ErrDeleteRefused", err)
	}
	if r, err := layout.OpenRoot(t.Context(), mem.New()); err != nil || r.Probe.Kept != nil || strings.Contains(r.String(), "WARNING") {
		t.Errorf("OpenRoot of a fit store = %v, %v; want no warning", r, err)
	}
}

// If every write is carried out twice, the winner is told that its own object exists. Reading the object shows who
// won.
func TestOpenRootWhereWritesComeTwice(t *testing.T) {
	twice := altered{mem.New(), func(ctx context.Context, s storage.Store, key string, data []byte) error {
		_ = s.Publish(ctx, key, data)
		return s.Publish(ctx, key, data)
	}}
	if r, err := layout.OpenRoot(t.Context(), twice); err != nil || !r.Created || r.Probe.Decided != r.Probe.Rounds {
		t.Errorf("OpenRoot = %v, %v; want it created, and all races decided", r, err)
	}
	foreign := altered{mem.New(), func(ctx context.Context, s storage.Store, key string, data []byte) error {
		_ = s.Publish(ctx, key, []byte("somebody else's"))
		return s.Publish(ctx, key, data)
	}}
	if _, err := layout.OpenRoot(t.Context(), foreign); !errors.Is(err, storage.ErrExists) {
		t.Errorf("%v, want ErrExists", err)
	}
}

// A store that tells every publisher that the key is taken, and still replaces the object, is unfit.
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
		t.Errorf("OpenRoot = %v, %v; want all races decided", r, err)
	}
}
