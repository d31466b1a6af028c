package layout

import (
	"context"
	"errors"

	"github.com/ckptd/ckptd/layout/storage"
)

// Contents is what lies at a prefix, for tools that have to know whether they may write there.
type Contents struct {
	// Root is what the marker says; nil: there is no marker.
	Root *Root
	// Found names some of what lies there without a marker, probes and temporaries left out.
	Found []string
}

// Writable tells whether this program may write below the prefix: nothing is there, or a root of ckptd that is not too new.
func (c Contents) Writable() bool {
	if c.Root != nil {
		return c.Root.LeastWriter <= RootFormat
	}
	return len(c.Found) == 0
}

// Survey looks at a prefix and writes nothing. A marker that cannot be read is an error.
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
