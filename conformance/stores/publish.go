package stores

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/ckptd/ckptd/layout/storage"
)

func publishes() []check {
	return []check{
		{"publish: whole and durable on return", publishWhole},
		{"publish: an existing object is kept", publishExisting},
		{"publish: the caller's bytes may change afterwards", publishCopies},
		{"publish: an already cancelled context changes nothing", publishCancelled},
		{"publish: of concurrent writers exactly one wins, and knows it", publishRace},
		{"publish: no reader ever sees a part", publishParts},
		{"create: with IfAbsent one of several creators wins, and knows it", ifAbsentRace},
		{"publish: a new folder and its emptying do not lose objects", publishEmptying},
	}
}

func publishWhole(t *testing.T, r *root) {
	for i, size := range []int{0, 1, 150, 64 << 10, 1 << 20} {
		key := fmt.Sprintf("job/_journal/%020d", i+1)
		data := random(uint64(i), size)
		must(t, r.Publish(t.Context(), key, data))
		wantObject(t, r, key, data)
		wantObject(t, r.again(), key, data)
	}
	must(t, r.Publish(t.Context(), "_ckptd", []byte("marker")))
	wantObject(t, r, "_ckptd", []byte("marker"))
}

func publishExisting(t *testing.T, r *root) {
	must(t, r.Publish(t.Context(), "job/_journal/1", []byte("first")))
	for _, s := range []storage.Store{r, r.again()} {
		wantError(t, s.Publish(t.Context(), "job/_journal/1", []byte("second")), "job/_journal/1", storage.ErrExists)
		wantError(t, s.Publish(t.Context(), "job/_journal/1", []byte("first")), "job/_journal/1", storage.ErrExists)
		wantObject(t, s, "job/_journal/1", []byte("first"))
	}
}

func publishCopies(t *testing.T, r *root) {
	data := []byte("as it was")
	must(t, r.Publish(t.Context(), "job/_journal/1", data))
	copy(data, "altered")
	wantObject(t, r, "job/_journal/1", []byte("as it was"))
}

func publishCancelled(t *testing.T, r *root) {
	wantError(t, r.Publish(gone(t), "job/_journal/1", []byte("x")), "job/_journal/1", context.Canceled)
	wantAbsent(t, r, "job/_journal/1")
	wantList(t, r, "")
}

// race lets writers create one key at the same time, each with its own content. It wants one winner that knows that
// it won.
func race(t *testing.T, r *root, key string, write func(s storage.Store, data []byte) error) {
	t.Helper()
	const writers = 8
	var wg sync.WaitGroup
	start := make(chan struct{})
	results := make([]error, writers)
	content := make([][]byte, writers)
	other := r.again()
	for i := range writers {
		s := []storage.Store{r, other}[i%2]
		content[i] = random(uint64(i+1), 3000+i)
		wg.Go(func() {
			<-start
			results[i] = write(s, content[i])
		})
	}
	close(start)
	wg.Wait()
	may, wrong := judgeRace(results)
	if wrong != "" {
		t.Fatalf("%s: %s", key, wrong)
	}
	got, err := read(t.Context(), r, key, 0, -1)
	must(t, err)
	for _, i := range may {
		if bytes.Equal(got, content[i]) {
			wantObject(t, r, key, content[i])
			return
		}
	}
	t.Fatalf("%s: %d bytes, want the content of one of the writers %d", key, len(got), may)
}

// judgeRace returns the writers that the object may belong to: the winner. A store may answer 409 to some of many
// writers; then their outcome is unknown. If no writer was told that it won, the object belongs to one of those.
func judgeRace(results []error) (may []int, wrong string) {
	var unknown []int
	for i, err := range results {
		switch {
		case err == nil && len(may) > 0:
			return nil, fmt.Sprintf("writers %d and %d both won", may[0], i)
		case err == nil:
			may = append(may, i)
		case errors.Is(err, storage.ErrUnknown):
			unknown = append(unknown, i)
		case !errors.Is(err, storage.ErrExists):
			return nil, fmt.Sprintf("a loser got %v", err)
		}
	}
	if len(may) == 0 {
		may = unknown
	}
	if len(may) == 0 {
		return nil, "nobody won"
	}
	return may, ""
}

func publishRace(t *testing.T, r *root) {
	for i := range r.races {
		key := fmt.Sprintf("job-%d/_journal/1", i%3*100+i) // often the first object of its folder
		race(t, r, key, func(s storage.Store, data []byte) error { return s.Publish(t.Context(), key, data) })
	}
}

func ifAbsentRace(t *testing.T, r *root) {
	for i := range r.races {
		key := fmt.Sprintf("job/chk-%d/_metadata", i)
		race(t, r, key, func(s storage.Store, data []byte) error {
			opts := announced(data)
			opts.IfAbsent = true
			return create(t.Context(), s, key, data, opts)
		})
	}
}

func publishParts(t *testing.T, r *root) {
	other := r.again()
	for i := range r.races {
		key, data := fmt.Sprintf("job/_journal/%d", i), random(uint64(i), 64<<10)
		written := make(chan error, 1)
		go func() { written <- r.Publish(t.Context(), key, data) }()
		for over := false; !over; {
			select {
			case err := <-written:
				must(t, err)
				over = true
			default:
			}
			got, err := read(t.Context(), other, key, 0, -1)
			switch {
			case errors.Is(err, storage.ErrNotFound) && !over:
			case err != nil:
				t.Fatalf("%s: %v", key, err)
			case !bytes.Equal(got, data):
				t.Fatalf("%s: a reader saw %d bytes, want the whole %d", key, len(got), len(data))
			}
		}
	}
}

// publishEmptying: one writer fills a folder while another deletes the last object in it.
func publishEmptying(t *testing.T, r *root) {
	other := r.again()
	var wg sync.WaitGroup
	for writer := range 2 {
		s := []storage.Store{r, other}[writer]
		wg.Go(func() {
			for i := range 5 * r.races {
				key := fmt.Sprintf("job/chk-1/%d-%d", writer, i)
				err := s.Publish(t.Context(), key, []byte(key))
				// MinIO denies some requests while their folder is being removed, and does nothing. That is an
				// outcome like any other.
				for try := 0; try < 3 && err != nil && !errors.Is(err, storage.ErrUnknown) && !errors.Is(err, storage.ErrExists); try++ {
					err = s.Publish(t.Context(), key, []byte(key))
				}
				if err != nil {
					t.Errorf("%v", err)
					return
				}
				if got, err := read(t.Context(), s, key, 0, -1); err != nil || string(got) != key {
					t.Errorf("%s: read %q, %v; want the key itself", key, got, err)
				}
				if err := remove(t.Context(), s, key); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	wantList(t, r, "")
}
