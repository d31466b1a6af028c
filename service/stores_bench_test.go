package service

import (
	"fmt"
	"io"
	"testing"

	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
)

// BenchmarkStores measures what the layers over a driver cost. It runs each request on the store in memory, bare and
// through all layers.
func BenchmarkStores(b *testing.B) {
	root := mem.Open()
	o := (*Options)(nil).withDefaults()
	through := newStores(root, &o, newMetrics()).commit
	ctx, data := b.Context(), make([]byte, 4<<20)
	for _, s := range []struct {
		name  string
		store storage.Store
	}{{"bare", root.Store}, {"through", through}} {
		n := 0
		key := func() string { n++; return fmt.Sprintf("%s/%d", s.name, n) }
		b.Run("publish 300 B/"+s.name, func(b *testing.B) {
			for b.Loop() {
				k := key()
				if err := s.store.Publish(ctx, k, data[:300]); err != nil {
					b.Fatal(err)
				}
				s.store.Delete(ctx, []string{k})
			}
		})
		b.Run("create 4 MiB/"+s.name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				k := key()
				w, err := s.store.Create(ctx, k, storage.CreateOptions{Size: int64(len(data)), HasSize: true})
				if err != nil {
					b.Fatal(err)
				}
				for at := 0; at < len(data); at += 512 << 10 {
					_, _ = w.Write(data[at:][:512<<10])
				}
				if err := w.Commit(); err != nil {
					b.Fatal(err)
				}
				s.store.Delete(ctx, []string{k})
			}
		})
		if err := root.Store.Publish(ctx, s.name+"/read", data); err != nil {
			b.Fatal(err)
		}
		b.Run("read 4 MiB/"+s.name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				r, err := s.store.Open(ctx, s.name+"/read", 0, -1)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.ReadFull(r, data)
				r.Close()
			}
		})
		b.Run("stat/"+s.name, func(b *testing.B) {
			for b.Loop() {
				_, _ = s.store.Stat(ctx, s.name+"/read")
			}
		})
		for range 1000 {
			_ = root.Store.Publish(ctx, "list-"+key(), nil)
		}
		b.Run("list 1000/"+s.name, func(b *testing.B) {
			for b.Loop() {
				for range s.store.List(ctx, "list-"+s.name+"/") {
				}
			}
		})
	}
}
