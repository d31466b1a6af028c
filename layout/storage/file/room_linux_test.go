package file

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ckptd/ckptd/layout/storage"
)

func TestQuota(t *testing.T) {
	for name, c := range map[string]struct {
		kernel diskQuota
		want   []quota
	}{
		"none":           {diskQuota{space: 5 << 20, inodes: 7}, nil},
		"only soft":      {diskQuota{softSpace: 10, softInodes: 10}, nil},
		"space":          {diskQuota{hardSpace: 10 << 10, space: 4 << 20, inodes: 7}, []quota{{of: "user 7", bytes: share{6 << 20, 10 << 20}}}},
		"inodes":         {diskQuota{hardInodes: 100, inodes: 40}, []quota{{of: "user 7", inodes: share{60, 100}}}},
		"more than full": {diskQuota{hardSpace: 1, space: 5000, hardInodes: 1, inodes: 2}, []quota{{of: "user 7", bytes: share{0, 1024}, inodes: share{0, 1}}}},
	} {
		if d := cmp.Diff(c.want, c.kernel.quotas("user 7"), cmp.AllowUnexported(quota{}, share{})); d != "" {
			t.Errorf("%s: -want +got:\n%s", name, d)
		}
	}
}

// A file system without quotas says so in one of few ways. Another error would mean a wrong call.
func TestGetQuota(t *testing.T) {
	f, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := getQuota(f, 0, os.Geteuid()); err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENOSYS) &&
		!errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EPERM) {
		t.Errorf("%v, want a quota, or that there is none", err)
	}
}

// A file system has space but no inodes. The hazards warn before, and the error says so.
func TestWithoutInodes(t *testing.T) {
	privileged(t)
	dir := t.TempDir()
	command(t, "mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=60", "tmpfs", dir)
	t.Cleanup(func() { command(t, "umount", dir) })
	opened := openAt(t, dir, realSystem())
	if !slices.ContainsFunc(opened.Facts.Hazards(t.Context()), func(h storage.Hazard) bool { return h.Name == "inodes" && h.Weight == storage.WeightWarning }) {
		t.Errorf("hazards: %+v, want a warning of few inodes", opened.Facts.Hazards(t.Context()))
	}
	for i := range 100 {
		err := opened.Store.Publish(t.Context(), fmt.Sprintf("job/_journal/%d", i+1), nil)
		if err == nil {
			continue
		}
		if !errors.Is(err, unix.ENOSPC) || errors.Is(err, storage.ErrUnknown) || !strings.Contains(err.Error(), "inodes free: 0 of 60") {
			t.Errorf("%v, want ENOSPC that names the inodes", err)
		}
		return
	}
	t.Error("100 objects fit into 60 inodes, want an error")
}
