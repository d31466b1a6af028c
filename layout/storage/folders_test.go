package storage_test

import (
	"context"
	"errors"
	"iter"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/limit"
	"github.com/ckptd/ckptd/layout/storage/measure"
	"github.com/ckptd/ckptd/layout/storage/mem"
	"github.com/ckptd/ckptd/layout/storage/retry"
)

// A vast store finds its folders by itself; its List must never be called.
type vast struct {
	storage.Store
	t     *testing.T
	fails int
}

func (v *vast) List(context.Context, string) iter.Seq2[storage.Info, error] {
	v.t.Error("List was called, want only Folders")
	return func(func(storage.Info, error) bool) {}
}

func (v *vast) Folders(context.Context, string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if v.fails--; v.fails >= 0 {
			yield("", errors.New("not now"))
			return
		}
		yield("job", nil)
	}
}

// Through all decorators, a store that finds its folders by itself is called in turn, and again after a failure.
func TestFoldersThroughAllLayers(t *testing.T) {
	v := &vast{Store: mem.New(), t: t, fails: 2}
	counts := measure.New("vast", prometheus.NewRegistry())
	retried := 0
	s := retry.New(limit.New(limit.Budgets{}).Store(counts.Store(v), limit.Restore), retry.Policy{First: 1, Retried: func(string) { retried++ }})
	var got []string
	for name, err := range storage.Folders(t.Context(), s, "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, name)
	}
	if len(got) != 1 || got[0] != "job" || retried != 2 {
		t.Errorf("folders %q after %d repetitions, want job alone after 2", got, retried)
	}
}
