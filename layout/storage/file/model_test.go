package file

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
)

// Two processes over one root of files behave like two over one store in memory, for any operations.
func TestAgainstMem(t *testing.T) {
	for name, newSystem := range map[string]func() *system{"unnamed": realSystem, "named": withoutUnnamed} {
		t.Run(name, func(t *testing.T) {
			base := memoryDir(t)
			rapid.Check(t, func(rt *rapid.T) { againstMem(t, rt, base, newSystem) })
		})
	}
}

func againstMem(t *testing.T, rt *rapid.T, base string, newSystem func() *system) {
	root, err := os.MkdirTemp(base, "model-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(root)
	model := mem.New()
	var stores []storage.Store
	for range 2 {
		stores = append(stores, openAt(t, root, unsynced(newSystem())).Store)
	}
	keys := rapid.SampledFrom([]string{"top", "a/f", "a/g", "a/b/f", "a/b/g", "a/c/d/f", "b/f", "b/~%"})
	which := rapid.IntRange(0, 1)
	data := rapid.SliceOfN(rapid.Byte(), 0, 40)
	type open struct {
		file, model storage.Writer
		key         string
	}
	var writers []open
	compare := func(what string, got, want error) {
		if verdictOf(got) != verdictOf(want) {
			rt.Fatalf("%s: %v, in memory %v", what, got, want)
		}
	}
	rt.Repeat(map[string]func(*rapid.T){
		"publish": func(rt *rapid.T) {
			key, data := keys.Draw(rt, "key"), data.Draw(rt, "data")
			compare("publish "+key, stores[which.Draw(rt, "process")].Publish(t.Context(), key, data), model.Publish(t.Context(), key, data))
		},
		"create": func(rt *rapid.T) {
			key := keys.Draw(rt, "key")
			opts := storage.CreateOptions{IfAbsent: rapid.Bool().Draw(rt, "if absent"), HasSize: rapid.Bool().Draw(rt, "has size"), Size: 5}
			w, err := stores[which.Draw(rt, "process")].Create(t.Context(), key, opts)
			m, modelErr := model.Create(t.Context(), key, opts)
			compare("create "+key, err, modelErr)
			writers = append(writers, open{w, m, key})
		},
		"write": func(rt *rapid.T) {
			if len(writers) == 0 {
				rt.Skip()
			}
			w, data := rapid.SampledFrom(writers).Draw(rt, "writer"), data.Draw(rt, "data")
			_, err := w.file.Write(data)
			_, modelErr := w.model.Write(data)
			compare("write "+w.key, err, modelErr)
		},
		"end": func(rt *rapid.T) {
			if len(writers) == 0 {
				rt.Skip()
			}
			i := rapid.IntRange(0, len(writers)-1).Draw(rt, "writer")
			w := writers[i]
			if rapid.Bool().Draw(rt, "commit") {
				compare("commit "+w.key, w.file.Commit(), w.model.Commit())
			}
			w.file.Abort()
			w.model.Abort()
			writers = slices.Delete(writers, i, i+1)
		},
		"delete": func(rt *rapid.T) {
			some := rapid.SliceOf(keys).Draw(rt, "keys")
			if errs := stores[which.Draw(rt, "process")].Delete(t.Context(), some); errs != nil {
				rt.Fatal(errs)
			}
			model.Delete(t.Context(), some)
		},
		"": func(rt *rapid.T) {
			want := dump(rt, model)
			for i, s := range stores {
				if got := dump(rt, s); got != want {
					rt.Fatalf("process %d sees\n%s, in memory\n%s", i, got, want)
				}
			}
		},
	})
	for _, w := range writers {
		w.file.Abort()
	}
}

// dump returns all objects with their bytes.
func dump(rt *rapid.T, s storage.Store) string {
	var lines []string
	for info, err := range s.List(rt.Context(), "") {
		if err != nil {
			rt.Fatal(err)
		}
		r, err := s.Open(rt.Context(), info.Key, 0, -1)
		if err != nil {
			rt.Fatal(err)
		}
		data, err := io.ReadAll(r)
		r.Close()
		if err != nil || int64(len(data)) != info.Size {
			rt.Fatalf("%s: read %d bytes, want %d; %v", info.Key, len(data), info.Size, err)
		}
		lines = append(lines, fmt.Sprintf("%s %x", info.Key, data))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// verdictOf returns the outcomes that the contract lets a caller tell apart.
func verdictOf(err error) string {
	for _, target := range []error{storage.ErrUnknown, storage.ErrExists, storage.ErrNotFound, storage.ErrMismatch} {
		if errors.Is(err, target) {
			return target.Error()
		}
	}
	if err != nil {
		return "not done"
	}
	return "done"
}
