package file

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestKindOf(t *testing.T) {
	for _, c := range []struct {
		magic   int64
		kind    string
		network bool
	}{
		{unix.EXT4_SUPER_MAGIC, "ext4", false},
		{unix.XFS_SUPER_MAGIC, "xfs", false},
		{unix.NFS_SUPER_MAGIC, "NFS", true},
		{unix.SMB2_SUPER_MAGIC, "SMB", true},
		{0x1234, "file system of type 0x1234", false},
	} {
		if kind, network := kindOf(c.magic); kind != c.kind || network != c.network {
			t.Errorf("%#x is taken for %s, %v", c.magic, kind, network)
		}
	}
}
