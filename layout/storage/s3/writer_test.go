package s3

import (
	"testing"

	"github.com/ckptd/ckptd/layout/storage"
)

// Parts grow, so that the protocol's number of parts is enough. No part is larger than the pool.
func TestPartLimit(t *testing.T) {
	for _, size := range []int64{1, partSize, 80 << 30, 1 << 40, largestSize - 1, largestSize} {
		w := writer{opts: storage.CreateOptions{Size: size, HasSize: true}}
		limit := int64(w.partLimit())
		if parts := (size + limit - 1) / limit; parts > maxParts || limit > poolSize || limit < partSize {
			t.Errorf("%d bytes: %d parts of %d bytes, want both within the limits", size, parts, limit)
		}
	}
	w, sum, before := writer{upload: &upload{}}, int64(0), 0
	for w.upload.sent = range maxParts {
		limit := w.partLimit()
		if limit < before || limit > poolSize {
			t.Fatalf("part %d has %d bytes after one of %d, want it no smaller, and within the pool", w.upload.sent, limit, before)
		}
		before = limit
		sum += int64(limit)
	}
	if sum < 7<<40/5 {
		t.Errorf("an object of unknown length may have %d bytes, want 1.4 TiB", sum)
	}
}
