package file

import (
	"testing"

	"golang.org/x/sys/unix"
)

// The jobs of a new root on ext4 lie in different block groups.
func TestSpread(t *testing.T) {
	dir := t.TempDir()
	if kind, _ := fileSystem(dir); kind != ext4 {
		t.Skipf("%s is on %s; want ext4", dir, kind)
	}
	openAt(t, dir, realSystem())
	f, err := openDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil || flags&topOfHierarchy == 0 {
		t.Errorf("the attributes of a new root are %#x (%v), want %#x among them", flags, err, topOfHierarchy)
	}
}
