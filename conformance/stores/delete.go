package stores

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/ckptd/ckptd/layout/storage"
)

func deletes() []check {
	return []check{
		{"delete: gone for every process", deleteGone},
		{"delete: an absent object is fine", deleteAbsent},
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
	if errs := r.Delete(t.Context(), []string{"job/chk-1/a"}); errs != nil {
		t.Fatal(errs)
	}
	for _, s := range []storage.Store{r, r.again()} {
		wantAbsent(t, s, "job/chk-1/a")
		wantObject(t, s, "job/chk-1/b", []byte("b"))
	}
}

func deleteAbsent(t *testing.T, r *root) {
	must(t, r.Publish(t.Context(), "a/f", nil))
	if errs := r.Delete(t.Context(), []string{"x", "a/x", "x/y/z", "a/f/below", "a/f", "a/f"}); errs != nil {
		t.Errorf("Delete of absent objects: %v", errs)
	}
	if errs := r.Delete(t.Context(), nil); errs != nil {
		t.Errorf("Delete of nothing: %v", errs)
	}
	wantList(t, r, "")
}

func deleteResults(t *testing.T, r *root) {
	must(t, r.Publish(t.Context(), "a/f", nil))
	must(t, r.Publish(t.Context(), "a/g", nil))
	errs := r.Delete(t.Context(), []string{"a/f", "../bad", "a/g"})
	if len(errs) != 3 || errs[0] != nil || errs[2] != nil {
		t.Fatalf("Delete = %v, want three results with one error", errs)
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
	if errs := r.Delete(t.Context(), keys); errs != nil {
		t.Fatal(errors.Join(errs...))
	}
	wantList(t, r, "", "job/shared/stays")
}

func deleteCancelled(t *testing.T, r *root) {
	must(t, r.Publish(t.Context(), "a/f", []byte("x")))
	errs := r.Delete(gone(t), []string{"a/f"})
	if len(errs) != 1 {
		t.Fatalf("Delete = %v, want one error", errs)
	}
	wantError(t, errs[0], "a/f", context.Canceled)
	wantObject(t, r, "a/f", []byte("x"))
	_, err := r.AbortUnfinished(gone(t), "a/", func(string) bool { return true })
	wantError(t, err, "a/", context.Canceled)
}

func deleteFolder(t *testing.T, r *root) {
	must(t, r.Publish(t.Context(), "a/b/f", []byte("x")))
	if errs := r.Delete(t.Context(), []string{"a", "a/b"}); errs != nil {
		t.Errorf("Delete of folders, which are absent objects: %v", errs)
	}
	wantObject(t, r, "a/b/f", []byte("x"))
}

func deleteAgain(t *testing.T, r *root) {
	for i := range 5 {
		data := fmt.Appendf(nil, "content %d", i)
		must(t, r.Publish(t.Context(), "job/_journal/1", data))
		wantObject(t, r, "job/_journal/1", data)
		if errs := r.Delete(t.Context(), []string{"job/_journal/1"}); errs != nil {
			t.Fatal(errs)
		}
	}
}

// each calls do for 0 to n-1, by so many goroutines.
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
