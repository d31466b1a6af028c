package stores

import (
	"errors"
	"testing"

	"github.com/ckptd/ckptd/layout/storage"
)

// copies are about storage.Copier. A store that is none must not say that it is one.
func copies() []check {
	return []check{
		{"copy: the copy is whole and durable once CopyFrom returned nil", copyWhole},
		{"copy: not done if the source's object is missing", copyMissing},
		{"copy: not done if the object has another size or sum", copyMismatch},
		{"copy: a source that the store cannot reach is unsupported, and nothing is done", copyUnreachable},
		{"copy: with a cancelled context nothing is changed", copyCancelled},
	}
}

// copier returns the store as a Copier, and another root of the same driver; nil: the driver offers no copies.
func copier(t *testing.T, r *root) (storage.Copier, storage.Opened) {
	t.Helper()
	c, ok := r.Store.(storage.Copier)
	if ok != r.facts.Copies {
		t.Fatalf("the store is a Copier: %t, but Facts.Copies is %t", ok, r.facts.Copies)
	}
	if !ok {
		return nil, storage.Opened{}
	}
	return c, r.other()
}

func copyWhole(t *testing.T, r *root) {
	c, from := copier(t, r)
	if c == nil {
		return
	}
	for name, size := range map[string]int{"empty": 0, "small": 20 << 10, "large": 9<<20 + 17, "with a blank + and %2F": 10} {
		data := random(uint64(size), size)
		must(t, create(t.Context(), from.Store, "a/shared/"+name, data, announced(data)))
		must(t, c.CopyFrom(t.Context(), from.Store, "a/shared/"+name, "b/shared/"+name, announced(data)))
		for _, s := range []storage.Store{r, r.again()} {
			wantObject(t, s, "b/shared/"+name, data)
		}
		wantObject(t, from.Store, "a/shared/"+name, data)
	}
}

func copyMissing(t *testing.T, r *root) {
	c, from := copier(t, r)
	if c == nil {
		return
	}
	must(t, from.Store.Publish(t.Context(), "a/there", []byte("x")))
	wantError(t, c.CopyFrom(t.Context(), from.Store, "a/missing", "b/f", announced([]byte("x"))), "b/f", storage.ErrNotFound)
	wantAbsent(t, r, "b/f")
}

func copyMismatch(t *testing.T, r *root) {
	c, from := copier(t, r)
	if c == nil {
		return
	}
	data := random(3, 1000)
	must(t, from.Store.Publish(t.Context(), "a/f", data))
	shorter, other := announced(data), announced(data)
	shorter.Size--
	other.CRC32C++
	for _, opts := range []storage.CreateOptions{shorter, other} {
		wantError(t, c.CopyFrom(t.Context(), from.Store, "a/f", "b/f", opts), "b/f", storage.ErrMismatch)
		wantAbsent(t, r, "b/f")
	}
}

// foreign hides what a store is.
type foreign struct{ storage.Store }

func copyUnreachable(t *testing.T, r *root) {
	c, from := copier(t, r)
	if c == nil {
		return
	}
	must(t, from.Store.Publish(t.Context(), "a/f", []byte("x")))
	wantError(t, c.CopyFrom(t.Context(), foreign{from.Store}, "a/f", "b/f", announced([]byte("x"))), "b/f", errors.ErrUnsupported)
	wantAbsent(t, r, "b/f")
}

func copyCancelled(t *testing.T, r *root) {
	c, from := copier(t, r)
	if c == nil {
		return
	}
	must(t, from.Store.Publish(t.Context(), "a/f", []byte("x")))
	if err := c.CopyFrom(gone(t), from.Store, "a/f", "b/f", announced([]byte("x"))); err == nil {
		t.Error("copied with a cancelled context")
	}
	wantAbsent(t, r, "b/f")
}
