package stores

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/ckptd/ckptd/layout/storage"
)

func manys() []check {
	return []check{
		{"many streams at once, each whole", manyStreams},
		{"every operation at once, of two processes", manyOperations},
	}
}

func manyStreams(t *testing.T, r *root) {
	const n = 64
	data := func(i int) []byte { return random(uint64(i), 100_000+i*1000) }
	key := func(i int) string { return fmt.Sprintf("job/shared/%d", i) }
	each(t, n, n, func(i int) error {
		data := data(i)
		opts := announced(data)
		if i%2 == 0 {
			opts = storage.CreateOptions{}
		}
		return create(t.Context(), r, key(i), data, opts)
	})
	each(t, n, n, func(i int) error {
		got, err := read(t.Context(), r, key(i), 0, -1)
		if err == nil && !bytes.Equal(got, data(i)) {
			err = fmt.Errorf("%s: read %d other bytes, want the %d that were written", key(i), len(got), len(data(i)))
		}
		return err
	})
}

func manyOperations(t *testing.T, r *root) {
	other := r.again()
	each(t, 8, 8*r.races, func(i int) error {
		s := []storage.Store{r, other}[i%2]
		key, data := fmt.Sprintf("job-%d/chk-%d/%d", i%3, i%5, i), random(uint64(i), 1000)
		if err := create(t.Context(), s, key, data, announced(data)); err != nil {
			return err
		}
		for info, err := range s.List(t.Context(), fmt.Sprintf("job-%d/", i%3)) {
			if err != nil {
				return err
			}
			if info.Size != 1000 {
				return fmt.Errorf("list showed %s with %d bytes, want 1000", info.Key, info.Size)
			}
		}
		if _, err := s.Stat(t.Context(), key); err != nil {
			return err
		}
		if i%2 == 0 {
			return nil
		}
		return remove(t.Context(), s, key)
	})
	for i := range 8 * r.races {
		key := fmt.Sprintf("job-%d/chk-%d/%d", i%3, i%5, i)
		if i%2 == 0 {
			got, err := read(t.Context(), r, key, 0, -1)
			must(t, err)
			if !bytes.Equal(got, random(uint64(i), 1000)) {
				t.Errorf("%s: read %d other bytes, want the 1000 that were written", key, len(got))
			}
		} else {
			_, err := r.Stat(t.Context(), key)
			wantError(t, err, key, storage.ErrNotFound)
		}
	}
}
