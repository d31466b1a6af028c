package layout_test

import (
	"slices"
	"testing"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
)

func create(t *testing.T, s storage.Store, key string) {
	t.Helper()
	w, err := s.Create(t.Context(), key, storage.CreateOptions{})
	if err == nil {
		err = w.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A deletion that was interrupted after the _metadata goes on, whatever the folder's name is. What others have put into the folder stays.
func TestDeleteSavepointAgain(t *testing.T) {
	file := layout.FileName{Epoch: 1, Checkpoint: 2, Nonce: layout.NewNonce(), Sequence: 3}.String()
	for _, prefix := range []string{"moved/", "savepoint-a-0f4a5b6c7d8e/"} {
		s := mem.New()
		for _, name := range []string{file, "job.a." + file, layout.ClaimName} {
			create(t, s, prefix+name)
		}
		want := []string{"notes.txt", "savepoint-a-1f4a5b6c7d8e/" + layout.MetadataName, "savepoint-a-1f4a5b6c7d8e/" + file, "zz" + file, "_job." + file}
		for i, name := range want {
			want[i] = prefix + name
			create(t, s, want[i])
		}
		if err := layout.DeleteSavepoint(t.Context(), s, prefix); err != nil {
			t.Fatal(err)
		}
		slices.Sort(want)
		if got := slices.Sorted(slices.Values(keys(t, s))); !slices.Equal(got, want) {
			t.Errorf("left: %q, want %q", got, want)
		}
	}
}
