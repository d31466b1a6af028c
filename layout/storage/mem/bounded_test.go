package mem_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
)

// createSized writes an object whose size is announced, or not.
func createSized(t testing.TB, s *mem.Store, key string, size int, announced bool) error {
	t.Helper()
	w, err := s.Create(t.Context(), key, storage.CreateOptions{Size: int64(size), HasSize: announced})
	if err != nil {
		return err
	}
	defer w.Abort()
	for _, part := range [][]byte{make([]byte, size/2), make([]byte, size-size/2)} {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return w.Commit()
}

// TestBound: what takes the last byte is stored, one byte more is refused, and what is deleted, aborted or refused frees
// its room.
func TestBound(t *testing.T) {
	t.Parallel()
	const size = 10_000
	cost := mem.Cost("a", size)
	for _, announced := range []bool{true, false} {
		t.Run(fmt.Sprintf("announced %v", announced), func(t *testing.T) {
			t.Parallel()
			limit := cost
			if !announced { // while the writer moves its bytes, both slices exist
				limit += size / 2
			}
			if err := createSized(t, mem.Bounded(limit), "a", size, announced); err != nil {
				t.Fatal("exactly the room:", err)
			}
			s := mem.Bounded(limit - 1)
			err := createSized(t, s, "a", size, announced)
			if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, storage.ErrUnknown) || !strings.Contains(err.Error(), "memory for state is full") {
				t.Fatalf("one byte less room: %v, want a full store", err)
			}
			if used, limit := s.Usage(); used != 0 || limit == 0 {
				t.Fatalf("a refused object keeps %d bytes of %d", used, limit)
			}
			s = mem.Bounded(limit)
			for range 3 {
				if err := createSized(t, s, "a", size, announced); err != nil {
					t.Fatal(err)
				}
				if used, _ := s.Usage(); used != cost {
					t.Fatalf("%d bytes are used, want %d", used, cost)
				}
				if err := createSized(t, s, "a", size, announced); !errors.Is(err, syscall.ENOSPC) {
					t.Fatal("a second object:", err)
				}
				s.Delete(t.Context(), []string{"a", "b"})
			}
			if used, _ := s.Usage(); used != 0 {
				t.Fatalf("an empty store uses %d bytes", used)
			}
		})
	}
}

// TestBoundKeepsNoSpareRoom: an object counts what it keeps, also if its writer had to guess its size.
func TestBoundKeepsNoSpareRoom(t *testing.T) {
	t.Parallel()
	s := mem.Bounded(1 << 20)
	w, err := s.Create(t.Context(), "a", storage.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := w.Write(make([]byte, 777)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	if used, _ := s.Usage(); used != mem.Cost("a", 77_700) {
		t.Fatalf("%d bytes are used, want %d", used, mem.Cost("a", 77_700))
	}
}

// TestBoundOfRacingWriters: of many writers that race for the last bytes, exactly as many win as there is room for. Writers
// in flight count.
func TestBoundOfRacingWriters(t *testing.T) {
	t.Parallel()
	const writers, room, size = 64, 7, 1000
	s := mem.Bounded(room * mem.Cost("00", size))
	for round := range 20 {
		var won atomic.Int64
		var group sync.WaitGroup
		start := make(chan struct{})
		for i := range writers {
			group.Go(func() {
				<-start
				if err := createSized(t, s, fmt.Sprintf("%02d", i), size, true); err == nil {
					won.Add(1)
				} else if !errors.Is(err, syscall.ENOSPC) {
					t.Error(err)
				}
			})
		}
		close(start)
		group.Wait()
		used, limit := s.Usage()
		if won.Load() > room || used != won.Load()*mem.Cost("00", size) || used > limit || won.Load() == 0 {
			t.Fatalf("round %d: %d objects, %d bytes of %d", round, won.Load(), used, limit)
		}
		for i := range writers {
			s.Delete(t.Context(), []string{fmt.Sprintf("%02d", i)})
		}
	}
	open, err := s.Create(t.Context(), "in flight", storage.CreateOptions{Size: 1, HasSize: true})
	if err != nil {
		t.Fatal(err)
	}
	if used, _ := s.Usage(); used != mem.Cost("in flight", 1) {
		t.Fatalf("a writer in flight counts %d bytes", used)
	}
	open.Abort()
	open.Abort()
	if used, _ := s.Usage(); used != 0 {
		t.Fatalf("an aborted writer keeps %d bytes", used)
	}
}

// TestBoundLeavesRoomForTheJournal: a full store still takes small published objects, up to its extra room.
func TestBoundLeavesRoomForTheJournal(t *testing.T) {
	t.Parallel()
	s := mem.Bounded(mem.Cost("a", 100))
	if err := createSized(t, s, "a", 100, true); err != nil {
		t.Fatal(err)
	}
	entry, refused := bytes.Repeat([]byte("e"), 64<<10), 0
	for i := range 100 {
		if err := s.Publish(t.Context(), fmt.Sprint("entry ", i), entry); errors.Is(err, syscall.ENOSPC) {
			refused++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if refused < 80 || refused > 90 {
		t.Fatalf("%d of 100 entries were refused, want those beyond 1 MiB", refused)
	}
	before, _ := s.Usage()
	if err := s.Publish(t.Context(), "entry 0", nil); !errors.Is(err, storage.ErrExists) {
		t.Fatal(err)
	}
	if after, _ := s.Usage(); after != before {
		t.Fatalf("an entry that was there takes %d bytes", after-before)
	}
}
