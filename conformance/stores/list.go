package stores

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ckptd/ckptd/layout/storage"
)

func lists() []check {
	return []check{
		{"list: every finished object once, in any order", listOnce},
		{"list: a prefix is a folder", listPrefix},
		{"list: an absent prefix shows nothing", listAbsent},
		{"list: folders are the first elements below a prefix, each once", listFolders},
		{"list: stopping early releases everything", listEarly},
		{"list: deleting what is shown, while it is shown", listDeleting},
		{"list: after a publish its key is shown to every process", listPublished},
		{"abort unfinished: never touches what was committed", abortCommitted},
		{"abort unfinished: a creation given up is not done", abortUnfinished},
	}
}

func listOnce(t *testing.T, r *root) {
	const n = 1200 // more than a page of S3
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("job-%d/shared/%04d", i%2, i)
		if i%100 == 0 {
			keys[i] = fmt.Sprintf("job-%d/chk-%d/f", i%2, i)
		}
	}
	each(t, 16, n, func(i int) error { return r.Publish(t.Context(), keys[i], nil) })
	wantList(t, r, "", keys...)
	wantList(t, r.again(), "", keys...)
}

func listPrefix(t *testing.T, r *root) {
	for _, key := range []string{"a/x", "a/y/z", "a/y/u/v", "ab/x", "top"} {
		must(t, r.Publish(t.Context(), key, nil))
	}
	wantList(t, r, "", "a/x", "a/y/z", "a/y/u/v", "ab/x", "top")
	wantList(t, r, "a/", "a/x", "a/y/z", "a/y/u/v")
	wantList(t, r, "a/y/", "a/y/z", "a/y/u/v")
	wantList(t, r, "a/y/u/", "a/y/u/v")
}

func listAbsent(t *testing.T, r *root) {
	wantList(t, r, "")
	wantList(t, r, "a/")
	must(t, r.Publish(t.Context(), "a/x", nil))
	wantList(t, r, "a/x/")
	wantList(t, r, "a/y/")
	wantList(t, r, "b/c/")
}

func listFolders(t *testing.T, r *root) {
	wantFolders(t, r.Store, "")
	const n = 1100 // more than a page of S3
	var jobs []string
	for i := range n {
		jobs = append(jobs, fmt.Sprintf("job-%04d", i))
	}
	each(t, 16, n, func(i int) error { return r.Publish(t.Context(), jobs[i]+"/_journal/1", nil) })
	for _, key := range []string{"top", "job-0000/shared/a", "job-0000/shared/b", "job-0000/chk-1/c", "job-0000/d", "job-00/e"} {
		must(t, r.Publish(t.Context(), key, nil))
	}
	wantFolders(t, r.Store, "", append(jobs, "job-00")...)
	wantFolders(t, r.again(), "job-0000/", "_journal", "chk-1", "shared")
	wantFolders(t, r.Store, "job-0000/shared/")
	wantFolders(t, r.Store, "job/")
	for _, err := range storage.Folders(t.Context(), r.Store, "") {
		must(t, err)
		break
	}
	for _, err := range storage.Folders(gone(t), r.Store, "job-0000/") {
		wantError(t, err, "job-0000/", context.Canceled)
	}
}

func wantFolders(t *testing.T, s storage.Store, prefix string, want ...string) {
	t.Helper()
	var got []string
	for name, err := range storage.Folders(t.Context(), s, prefix) {
		must(t, err)
		got = append(got, name)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Folders(%q), -want +got:\n%s", prefix, diff)
	}
}

func listEarly(t *testing.T, r *root) {
	each(t, 16, 50, func(i int) error { return r.Publish(t.Context(), fmt.Sprintf("job/%d/f", i), nil) })
	for stop := range 20 {
		seen := 0
		for _, err := range r.List(t.Context(), "") {
			must(t, err)
			if seen++; seen > stop {
				break
			}
		}
	}
	for range r.List(t.Context(), "job/") {
		break
	}
}

func listDeleting(t *testing.T, r *root) {
	const n = 300
	each(t, 16, n, func(i int) error { return r.Publish(t.Context(), fmt.Sprintf("job/chk-%d/f-%d", i%7, i), nil) })
	seen := map[string]bool{}
	for info, err := range r.List(t.Context(), "job/") {
		must(t, err)
		if seen[info.Key] {
			t.Errorf("List showed %s twice, want once", info.Key)
		}
		seen[info.Key] = true
		must(t, remove(t.Context(), r, info.Key))
	}
	if len(seen) != n {
		t.Errorf("List showed %d objects, want %d", len(seen), n)
	}
	wantList(t, r, "")
}

func listPublished(t *testing.T, r *root) {
	other := r.again()
	var want []string
	for i := range r.races {
		key := fmt.Sprintf("job/_journal/%020d", i+1)
		must(t, r.Publish(t.Context(), key, []byte("entry")))
		want = append(want, key)
		wantList(t, other, "job/_journal/", want...)
		wantList(t, r, "job/_journal/", want...)
	}
}

func abortCommitted(t *testing.T, r *root) {
	must(t, r.Publish(t.Context(), "job/_journal/1", []byte("x")))
	must(t, create(t.Context(), r, "job/shared/f", []byte("y"), storage.CreateOptions{}))
	for _, prefix := range []string{"", "job/", "job/shared/", "other/"} {
		n, err := r.again().AbortUnfinished(t.Context(), prefix, func(string) bool { return true })
		if n != 0 || err != nil {
			t.Errorf("AbortUnfinished(%q) = %d, %v; want 0, nothing is unfinished", prefix, n, err)
		}
	}
	wantObject(t, r, "job/_journal/1", []byte("x"))
	wantObject(t, r, "job/shared/f", []byte("y"))
}

// abortUnfinished: the creation of a dead target either fails and is not done, or continues unchanged. The creation
// of any other target always continues.
func abortUnfinished(t *testing.T, r *root) {
	data := random(1, 9<<20)
	for _, key := range []string{"job/chk-1/dead", "job/chk-1/alive", "other/chk-1/dead"} {
		defer begun(t, r, key+"-left", data, storage.CreateOptions{}).Abort()
	}
	dead := begun(t, r, "job/chk-1/dead", data, storage.CreateOptions{})
	defer dead.Abort()
	alive := begun(t, r, "job/chk-1/alive", data, storage.CreateOptions{})
	defer alive.Abort()
	elsewhere := begun(t, r, "other/chk-1/dead", data, storage.CreateOptions{})
	defer elsewhere.Abort()
	var asked []string
	n, err := r.again().AbortUnfinished(t.Context(), "job/", func(key string) bool {
		asked = append(asked, key)
		return key == "job/chk-1/dead"
	})
	must(t, err)
	if n > 1 {
		t.Errorf("AbortUnfinished aborted %d, want at most 1", n)
	}
	for _, key := range asked {
		if key != "job/chk-1/dead" && key != "job/chk-1/alive" && key != "job/chk-1/dead-left" && key != "job/chk-1/alive-left" {
			t.Errorf("AbortUnfinished asked whether %s is dead, want only begun keys below job/", key)
		}
	}
	must(t, alive.Commit())
	must(t, elsewhere.Commit())
	wantObject(t, r, "job/chk-1/alive", data)
	wantObject(t, r, "other/chk-1/dead", data)
	switch err := dead.Commit(); {
	case err == nil && n == 1:
		t.Error("Commit of an aborted creation: no error, want one")
	case err == nil:
		wantObject(t, r, "job/chk-1/dead", data)
	case errors.Is(err, storage.ErrUnknown):
		t.Errorf("Commit of an aborted creation: %v, want an error that is not an unknown outcome", err)
	default:
		wantAbsent(t, r, "job/chk-1/dead")
	}
}
