package copying_test

import (
	"bytes"
	"encoding/binary"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ckptd/ckptd/crc32c"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/copying"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// Objects that are damaged or hostile are not copied, and nothing outside of the job's folder is written.
func TestHostileSource(t *testing.T) {
	for name, harm := range map[string]func(w *world, files []layout.File){
		"a file is missing":      func(w *world, files []layout.File) { w.store.Delete(t.Context(), []string{"a/" + files[3].Key}) },
		"a file has other bytes": func(w *world, files []layout.File) { w.put("a/"+files[3].Key, bytes.Repeat([]byte{9}, 30)) },
		"a file is shorter":      func(w *world, files []layout.File) { w.put("a/"+files[3].Key, []byte{9}) },
		"a _metadata is missing": func(w *world, _ []layout.File) { w.store.Delete(t.Context(), []string{layout.MetadataKey("a", 3)}) },
		"a _metadata is cut": func(w *world, _ []layout.File) {
			w.put(layout.MetadataKey("a", 3), w.get(layout.MetadataKey("a", 3))[:60])
		},
		"a _metadata is another's": func(w *world, _ []layout.File) { w.put(layout.MetadataKey("a", 3), w.get(layout.MetadataKey("a", 2))) },
		"a path leaves the root": func(w *world, files []layout.File) {
			w.reseal(3, path.Base(files[3].Key), strings.Repeat("../", len(files[3].Key))[:len(path.Base(files[3].Key))])
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, files := threeCheckpoints(t)
				harm(w, files)
				to := place(t, mem.Open())
				report := w.copyTo(to, copying.Options{})
				outcomes := map[uint64]ckptdv1.CopyOutcome{}
				for _, c := range report.GetJobs()[0].GetCheckpoints() {
					outcomes[c.GetCheckpointId()] = c.GetOutcome()
				}
				want := map[uint64]ckptdv1.CopyOutcome{1: ckptdv1.CopyOutcome_COPY_OUTCOME_COPIED, 2: ckptdv1.CopyOutcome_COPY_OUTCOME_COPIED, 3: ckptdv1.CopyOutcome_COPY_OUTCOME_DAMAGED}
				if !maps.Equal(outcomes, want) {
					t.Errorf("outcomes %v, want only 3 damaged: %v", outcomes, report)
				}
				isWhole(t, to.Store)
				for _, key := range keys(t, to.Store) {
					if key != layout.RootMarkerKey && !strings.HasPrefix(key, "a/") {
						t.Errorf("%s was written", key)
					}
				}
			})
		})
	}
}

func (w *world) get(key string) []byte {
	w.t.Helper()
	body, err := w.store.Open(w.t.Context(), key, 0, -1)
	w.must(err)
	defer body.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(body)
	w.must(err)
	return b.Bytes()
}

// put replaces an object, which ckptd never does.
func (w *world) put(key string, data []byte) {
	w.t.Helper()
	w.store.Delete(w.t.Context(), []string{key})
	w.must(w.store.Publish(w.t.Context(), key, data))
}

// reseal replaces a text in a _metadata by another of the same length, and gives every record and the journal right sums.
func (w *world) reseal(id uint64, was, is string) {
	w.t.Helper()
	b := bytes.ReplaceAll(w.get(layout.MetadataKey("a", id)), []byte(was), []byte(is))
	if !bytes.Contains(b, []byte(is)) {
		w.t.Fatalf("no %q in the _metadata", was)
	}
	sum := uint32(0)
	for at := 16; at < len(b); {
		end := at + 4 + int(binary.LittleEndian.Uint32(b[at:]))
		sum = crc32c.Update(sum, b[at:end])
		binary.LittleEndian.PutUint32(b[end:], sum)
		at = end + 4
	}
	w.put(layout.MetadataKey("a", id), b)
	w.edit("a", func(e *journal.Entry) {
		e.Retained = slices.Clone(e.Retained)
		e.Retained[id-1].CRC = crc32c.Sum(b)
	})
}
