package file

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Many files in one root, most of them in one folder, are listed and deleted within a fixed budget of memory: 20,000
// files here, a million with CKPTD_NIGHTLY=1.
func TestManyFiles(t *testing.T) {
	files, budget := 20_000, uint64(24<<20)
	if os.Getenv("CKPTD_NIGHTLY") != "" {
		files, budget = 1_000_000, 200<<20
	}
	root := memoryDir(t)
	s := openAt(t, root, realSystem()).Store
	publish(t, s, "job/_journal/1")
	began := time.Now()
	makeFiles(t, root, files)
	t.Logf("%d files made in %v", files, time.Since(began))

	debug.FreeOSMemory()
	resetPeak()
	before, residentBefore := inUse(), peak()
	highest := uint64(0)
	look := func() { highest = max(highest, inUse()) }

	began = time.Now()
	shown := 0
	for info, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		if info.Size != 1 && info.Key != "job/_journal/1" {
			t.Fatalf("List showed %+v, want 1 byte", info)
		}
		if shown++; shown%5000 == 0 {
			look()
		}
	}
	if shown != files+1 {
		t.Errorf("List shows %d files, want %d", shown, files+1)
	}
	t.Logf("listed in %v", time.Since(began))

	// As in a sweep: the listed files are deleted, a thousand at a time, while the list continues.
	began = time.Now()
	var batch []string
	deleted := 0
	drop := func() {
		if errs := s.Delete(t.Context(), batch); errs != nil {
			t.Fatal(errs)
		}
		deleted += len(batch)
		batch = batch[:0]
		look()
	}
	for info, err := range s.List(t.Context(), "job/") {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(info.Key, "job/_journal/") {
			continue
		}
		if batch = append(batch, info.Key); len(batch) == 1000 {
			drop()
		}
	}
	drop()
	t.Logf("listed and deleted in %v", time.Since(began))
	if deleted != files {
		t.Errorf("%d files deleted, want %d", deleted, files)
	}
	if left := everything(t, root); len(left) != 4 {
		t.Errorf("left: %d files and folders, want the journal's entry, its folder, the job's and the root", len(left))
	}
	t.Logf("memory: %d MiB more than before; resident at most %d MiB (%d before)", mib(highest-min(highest, before)), mib(peak()), mib(residentBefore))
	if highest > before+budget {
		t.Errorf("%d MiB more in use than before, want at most %d", mib(highest-before), mib(budget))
	}
}

// makeFiles makes nine of ten files in one folder, and the others in folders of a hundred. The driver would sync each
// file.
func makeFiles(t *testing.T, root string, files int) {
	t.Helper()
	var wg sync.WaitGroup
	const makers = 4
	for maker := range makers {
		wg.Go(func() {
			for i := maker; i < files; i += makers {
				dir := filepath.Join(root, "job", "shared")
				if i%10 == 0 {
					dir = filepath.Join(root, "job", fmt.Sprintf("chk-%d", i/1000))
				}
				path := filepath.Join(dir, fmt.Sprintf("%02x-1-%d-abcdefghijklmnopqrstuvwxyz-%d", i%256, i/1000, i))
				err := os.WriteFile(path, []byte{1}, 0o666)
				if os.IsNotExist(err) {
					if err = os.MkdirAll(dir, 0o777); err == nil {
						err = os.WriteFile(path, []byte{1}, 0o666)
					}
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// inUse returns the memory of Go's heap and stacks.
func inUse() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// peak returns the largest resident memory since resetPeak; 0 if the system does not tell.
func peak() uint64 {
	status, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	line, _, _ := strings.Cut(rest, "kB")
	kib, _ := strconv.ParseUint(strings.TrimSpace(line), 10, 64)
	return kib << 10
}

func resetPeak() { _ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o200) }

func mib(bytes uint64) uint64 { return bytes >> 20 }
