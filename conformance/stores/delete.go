package stores

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/ckptd/ckptd/layout/storage"
)

func deletes() []check {
	return []check{
		{"delete: gone for every process", deleteGone},
		{"FS-25 delete: an absent object is fine", deleteAbsent},
		{"delete: one result per key, in order", deleteResults},
		{"delete: many at once", deleteMany},
		{"delete: an already cancelled context changes nothing", deleteCancelled},
		{"delete: a prefix or folder is not an object", deleteFolder},
		{"delete: a name can be published again", deleteAgain},
	}
}

func deleteGone(t *testing.T, r *root) {
	must(t, r.Publish(t.Context(), "job/chk-1/a", []byte("a")))
	must(t, r.Publish(t.Context(), "job/chk-1/b", []byte("b")))
	must(t, remove(t.Context(), r, "job/chk-1/a"))
	for _, s := range []storage.Store{r, r.again()} {
		wantAbsent(t, s, "job/chk-1/a")
		wantObject(t, s, "job/chk-1/b", []byte("b"))
	}
}

func deleteAbsent(t *testing.T, r *root) {
	must(t, r.Publish(t.Context(), "a/f", nil))
	if err := remove(t.Context(), r, "x", "a/x", "x/y/z", "a/f/below", "a/f", "a/f"); err != nil {
		t.Errorf("Delete of absent objects: %v, want no error", err)
	}
	if err := remove(t.Context(), r); err != nil {
		t.Errorf("Delete of no keys: %v, want no error", err)
	}
	wantList(t, r, "")
}

func deleteResults(t *testing.T, r *root) {
	must(t, r.Publish(t.Context(), "a/f", nil))
	must(t, r.Publish(t.Context(), "a/g", nil))
	errs, err := results(t.Context(), r, "a/f", "../bad", "a/g")
	must(t, err)
	if errs[0] != nil || errs[2] != nil {
		t.Fatalf("Delete = %v, want an error for the second key alone", errs)
	}
	wantError(t, errs[1], "../bad", nil)
	wantList(t, r, "")
}

func deleteMany(t *testing.T, r *root) {
	const n = 1200 // more than a page of S3
	var keys []string
	for i := range n {
		keys = append(keys, fmt.Sprintf("job/chk-%d/f-%d", i%5, i))
	}
	each(t, 16, n, func(i int) error { return r.Publish(t.Context(), keys[i], nil) })
	must(t, r.Publish(t.Context(), "job/shared/stays", nil))
	must(t, remove(t.Context(), r, keys...))
	wantList(t, r, "", "job/shared/stays")
}

func deleteCancelled(t *testing.T, r *root) {
	must(t, r.Publish(t.Context(), "a/f", []byte("x")))
	errs, err := results(gone(t), r, "a/f")
	must(t, err)
	wantError(t, errs[0], "a/f", context.Canceled)
	wantObject(t, r, "a/f", []byte("x"))
	_, err = r.AbortUnfinished(gone(t), "a/", func(string) bool { return true })
	wantError(t, err, "a/", context.Canceled)
}

func deleteFolder(t *testing.T, r *root) {
	must(t, r.Publish(t.Context(), "a/b/f", []byte("x")))
	if err := remove(t.Context(), r, "a", "a/b"); err != nil {
		t.Errorf("Delete of folders, which are absent objects: %v, want no error", err)
	}
	wantObject(t, r, "a/b/f", []byte("x"))
}

func deleteAgain(t *testing.T, r *root) {
	for i := range 5 {
		data := fmt.Appendf(nil, "content %d", i)
		must(t, r.Publish(t.Context(), "job/_journal/1", data))
		wantObject(t, r, "job/_journal/1", data)
		must(t, remove(t.Context(), r, "job/_journal/1"))
	}
}

// each calls do for 0 to n-1, from this number of goroutines.
func each(t *testing.T, workers, n int, do func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				if err := do(i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}
