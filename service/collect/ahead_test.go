package collect

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"

	"github.com/ckptd/ckptd/layout/storage"
)

// aList is a store that lists so many objects, and then fails or ends.
type aList struct {
	storage.Store
	objects int
	err     error
	ended   bool
}

func (l *aList) List(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		defer func() { l.ended = true }()
		for i := range l.objects {
			if ctx.Err() != nil || !yield(storage.Info{Key: fmt.Sprint(prefix, i)}, nil) {
				return
			}
		}
		if l.err != nil {
			yield(storage.Info{}, l.err)
		}
	}
}

// TestAhead: a list that runs ahead has the same objects and the same error. It ends when its reader stops, however long it is.
func TestAhead(t *testing.T) {
	broken := errors.New("broken")
	const endless = 10 * batchObjects * batchesAhead
	for _, c := range []struct {
		list aList
		read int // then stop; -1: all
		want error
	}{
		{list: aList{objects: 3*batchObjects + 7}, read: -1},
		{list: aList{}, read: -1},
		{list: aList{objects: batchObjects + 1, err: broken}, read: -1, want: broken},
		{list: aList{objects: endless}, read: 10},
		{list: aList{objects: endless}, read: 0},
	} {
		l := c.list
		objects, stop := ahead(t.Context(), &l, "p/")
		got, failed := 0, error(nil)
		for info, err := range objects {
			if got == c.read {
				break
			}
			if failed = err; err == nil && info.Key != fmt.Sprint("p/", got) {
				t.Fatalf("object %d is %s", got, info.Key)
			}
			if err == nil {
				got++
			}
		}
		stop()
		want := c.read
		if want < 0 {
			want = c.list.objects
		}
		if got != want || !errors.Is(failed, c.want) || !l.ended {
			t.Errorf("%d objects: read %d, error %v, ended %v; want %d, %v and an end", c.list.objects, got, failed, l.ended, want, c.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	objects, stop := ahead(ctx, &aList{objects: 1}, "p/")
	defer stop()
	var failed error
	for _, err := range objects {
		failed = err
	}
	if !errors.Is(failed, context.Canceled) {
		t.Errorf("after a cancellation: %v, want that a list cut short is no whole list", failed)
	}
}
