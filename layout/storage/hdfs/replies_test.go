package hdfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout/storage"
)

// TestLostReplies: whatever happens to one call of a mutation, the driver finds out what became of it, and the mutation is
// done. The caller of a larger object sends it again, if its bytes were on the way.
func TestLostReplies(t *testing.T) {
	c := cluster(t)
	small := []byte("an entry")
	for name, do := range map[string]func(s storage.Store, key string) error{
		"publish": func(s storage.Store, key string) error { return s.Publish(t.Context(), key, small) },
		"create": func(s storage.Store, key string) error {
			return create(t.Context(), s, key, small, storage.CreateOptions{}, nil)
		},
		"create with IfAbsent": func(s storage.Store, key string) error {
			return create(t.Context(), s, key, small, storage.CreateOptions{IfAbsent: true}, nil)
		},
	} {
		for _, method := range []string{"create", "addBlock", "complete", "rename2"} {
			for i, way := range ways() {
				t.Run(fmt.Sprintf("%s/%s/%s", name, method, way.name), func(t *testing.T) {
					m := newMiddleman(t, c.Address, 0, way)
					m.watch(method, false)
					opened := open(t, c.URLAt(m.address(), "lost", ""))
					defer opened.Close()
					repeats := 0
					opened.Facts.Repeats(func(error) { repeats++ })
					m.arm()
					key := fmt.Sprintf("job/%s/%s-%d", name, method, i)
					if err := do(opened.Store, key); err != nil {
						t.Errorf("%v, want it done", err)
					}
					if !m.happened() || repeats == 0 {
						t.Errorf("the fault happened: %v, %d repetitions told; want it, and some", m.happened(), repeats)
					}
					if got, err := readAll(t.Context(), opened.Store, key); err != nil || !bytes.Equal(got, small) {
						t.Errorf("read %q, %v; want what was written", got, err)
					}
					if err := do(opened.Store, key); !errors.Is(err, storage.ErrExists) {
						t.Errorf("the same again: %v, want that it exists", err)
					}
				})
			}
		}
	}
}

// TestOwnRenameIsDurable: the reply to the owner's rename was lost. It finds its object under the key, which the NameNode
// shows before it is durable. Only after a mutation that succeeded since, the driver may say that it is done.
func TestOwnRenameIsDurable(t *testing.T) {
	c := cluster(t)
	m := newMiddleman(t, c.Address, 0, way{forwarded: true})
	m.watch("rename2", false)
	opened := open(t, c.URLAt(m.address(), "durable", ""))
	defer opened.Close()
	must(t, opened.Store.Publish(t.Context(), "job/_journal/0", []byte("makes the folder")))
	m.arm()
	must(t, opened.Store.Publish(t.Context(), "job/_journal/1", []byte("an entry")))
	called := m.since("rename2", "getFileInfo", "mkdirs")
	if !m.happened() || slices.Index(called, "mkdirs") < slices.Index(called, "getFileInfo") {
		t.Errorf("calls after the lost reply: %q, want one of mkdirs after those that look", called)
	}
}

// TestLateRename: the owner's rename does not arrive, and neither does anything else. The owner is told that the outcome is
// unknown. Another takes the slot, and the late rename does not replace it.
func TestLateRename(t *testing.T) {
	c := cluster(t)
	clean := open(t, c.URL("late", ""))
	defer clean.Close()
	for name, do := range map[string]func(s storage.Store, key string) error{
		"publish": func(s storage.Store, key string) error { return s.Publish(t.Context(), key, []byte("old owner")) },
		"create": func(s storage.Store, key string) error {
			return create(t.Context(), s, key, []byte("old owner"), storage.CreateOptions{IfAbsent: true}, nil)
		},
	} {
		for _, taken := range []bool{true, false} {
			key := fmt.Sprintf("job/_journal/%s-%v", name, taken)
			m := newMiddleman(t, c.Address, 0, way{later: 1 << 30})
			m.watch("rename2", true)
			opened := open(t, c.URLAt(m.address(), "late", "timeout=500ms"))
			defer opened.Close()
			m.arm()
			if err := do(opened.Store, key); !errors.Is(err, storage.ErrUnknown) {
				t.Errorf("%s without a reply: %v, want an unknown outcome", name, err)
			}
			want := "old owner"
			if taken {
				want = "new owner"
				must(t, clean.Store.Publish(t.Context(), key, []byte(want)))
			}
			m.happened() // the rename lands
			if got, err := readAll(t.Context(), clean.Store, key); err != nil || string(got) != want {
				t.Errorf("%s, taken %v: read %q, %v; want %q", name, taken, got, err, want)
			}
			must(t, clean.Facts.Settle(t.Context(), "job/_journal/"))
		}
	}
	if _, err := clean.Store.AbortUnfinished(t.Context(), "", func(string) bool { return true }); err != nil {
		t.Error(err)
	}
	for info, err := range clean.Store.List(t.Context(), "") {
		must(t, err)
		must(t, errors.Join(clean.Store.Delete(t.Context(), []string{info.Key})...))
	}
	nothingLeft(t, c, "late", clean.Store)
}

// TestCancelled cancels mutations at all moments. Each ends as done or as not done, and leaves nothing behind.
func TestCancelled(t *testing.T) {
	c := cluster(t)
	opened := open(t, c.URL("cancelled", ""))
	defer opened.Close()
	var want []string
	var mu sync.Mutex
	var all errgroup.Group
	all.SetLimit(4)
	for i := range 40 {
		all.Go(func() error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*4*time.Millisecond)
			defer cancel()
			key, data := fmt.Sprintf("job/shared/%02d", i), random(300<<10)
			var err error
			if i%4 == 3 {
				err = opened.Store.Publish(ctx, key, data[:100])
			} else {
				err = create(ctx, opened.Store, key, data, storage.CreateOptions{IfAbsent: i%2 == 0}, nil)
			}
			if errors.Is(err, storage.ErrUnknown) {
				t.Errorf("%s: %v, want it done or not done: the NameNode answers", key, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				want = append(want, key)
			}
			return nil
		})
	}
	_ = all.Wait()
	got := map[string]bool{}
	for info, err := range opened.Store.List(t.Context(), "") {
		must(t, err)
		got[info.Key] = true
	}
	for _, key := range want {
		if !got[key] {
			t.Errorf("%s was done, and is not there", key)
		}
		delete(got, key)
	}
	for key := range got {
		t.Errorf("%s was not done, and is there", key)
	}
	t.Logf("%d of 40 were done", len(want))
	slices.Sort(want)
	nothingLeft(t, c, "cancelled", opened.Store, want...)
}

// TestProxy puts a proxy that adds faults between driver and NameNode. What each mutation reports agrees with what is there.
func TestProxy(t *testing.T) {
	c := harmful(t)
	proxy := servers.StartProxy(t, c.Address)
	clean := open(t, c.URL("proxy", ""))
	defer clean.Close()
	for i, toxic := range []servers.Toxic{
		{Type: "latency", Stream: "downstream", Attributes: map[string]any{"latency": 20, "jitter": 15}},
		{Type: "slicer", Stream: "downstream", Attributes: map[string]any{"average_size": 16, "size_variation": 8, "delay": 10}},
		{Type: "reset_peer", Stream: "downstream", Attributes: map[string]any{"timeout": 20}},
		{Type: "limit_data", Stream: "downstream", Attributes: map[string]any{"bytes": 700}},
		{Type: "limit_data", Stream: "upstream", Attributes: map[string]any{"bytes": 1500}},
	} {
		opened := open(t, c.URLAt(proxy.Address, "proxy", "timeout=1s"))
		for n := range 6 {
			must(t, clean.Store.Publish(t.Context(), fmt.Sprintf("job/victims/%d-%d", i, n), []byte("victim")))
		}
		harm := proxy.Add(t, toxic)
		var all sync.WaitGroup
		for n := range 6 {
			all.Go(func() {
				entry, file, victim := fmt.Sprintf("job/_journal/%d-%d", i, n), fmt.Sprintf("job/shared/%d-%d", i, n), fmt.Sprintf("job/victims/%d-%d", i, n)
				for key, err := range map[string]error{
					entry: opened.Store.Publish(t.Context(), entry, []byte("entry")),
					file:  create(t.Context(), opened.Store, file, random(200<<10), storage.CreateOptions{}, nil),
				} {
					judge(t, clean.Store, key, err, true)
				}
				judge(t, clean.Store, victim, errors.Join(opened.Store.Delete(t.Context(), []string{victim})...), false)
			})
		}
		all.Wait()
		proxy.Remove(t, harm)
		must(t, opened.Store.Publish(t.Context(), fmt.Sprintf("job/_journal/%d-after", i), []byte("x"))) // no broken client is used again
		must(t, opened.Close())
	}
}

// judge compares a mutation's report with what is there; present says how it is after the mutation.
func judge(t *testing.T, clean storage.Store, key string, err error, present bool) {
	t.Helper()
	_, statErr := clean.Stat(t.Context(), key)
	if statErr != nil && !errors.Is(statErr, storage.ErrNotFound) {
		t.Error(statErr)
	}
	there := statErr == nil
	if err == nil && there != present {
		t.Errorf("%s: done, but there: %v", key, there)
	}
	if err != nil && !errors.Is(err, storage.ErrUnknown) && there == present {
		t.Errorf("%s: not done (%v), but there: %v", key, err, there)
	}
}
