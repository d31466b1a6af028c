package file

import (
	"slices"
	"testing"
)

func TestMountOptions(t *testing.T) {
	const table = `22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
40 22 0:35 / /mnt/my\040data rw,nosuid - nfs4 host:/x rw,vers=4.2,hard,noac
41 22 0:36 / /mnt rw - tmpfs tmpfs rw,size=8k
`
	for path, want := range map[string]string{
		"/srv": "errors=remount-ro", "/": "relatime", "/mnt/my data/ckptd": "noac", "/mnt/my data": "nosuid", "/mnt/my": "size=8k", "/mntx": "errors=remount-ro",
	} {
		if got := optionsOf(table, path); !slices.Contains(got, want) {
			t.Errorf("%s: %v, want %s among them", path, got, want)
		}
	}
	if mountOptions("/") == nil {
		t.Error("the root has no mount options, want some")
	}
	if b := roomAt(t.TempDir()).bytes; b.free == 0 || b.total < b.free {
		t.Errorf("space: %d of %d bytes free, want some free, and at most the total", b.free, b.total)
	}
}
