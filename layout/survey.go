package layout

import (
	"context"
	"errors"

	"github.com/ckptd/ckptd/layout/storage"
)

// Contents is what lies at a prefix. Tools use it to decide whether they may write there.
type Contents struct {
	// Root is the content of the marker; nil: there is no marker.
	Root *Root
	// Found names some of the content if there is no marker. Probes and temporaries do not count.
	Found []string
}

// Writable reports whether this program may write below the prefix: the prefix is empty, or a root that is not too
// new.
func (c Contents) Writable() bool {
	if c.Root != nil {
		return c.Root.LeastWriter <= RootFormat
	}
	return len(c.Found) == 0
}

// Survey examines a prefix and writes nothing. It returns an error for a marker that cannot be read.
func Survey(ctx context.Context, s storage.Store) (Contents, error) {
	r, err := readMarker(ctx, s)
	if err == nil {
		return Contents{Root: &r}, nil
	}
	if !errors.Is(err, storage.ErrNotFound) {
		return Contents{}, err
	}
	found, err := lookAround(ctx, s)
	return Contents{Found: found}, err
}
