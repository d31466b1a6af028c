package file

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptd/ckptd/layout/storage"
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
			t.Errorf("file system type %#x is %s, network %v; want %s, %v", c.magic, kind, network, c.kind, c.network)
		}
	}
}

// NFS is recognized by its type, and named in every error on it.
func TestNFSIsNamed(t *testing.T) {
	sys := realSystem()
	sys.fileSystem = func(string) (string, bool) { return kindOf(unix.NFS_SUPER_MAGIC) }
	link := sys.link
	root := t.TempDir()
	opened := openAt(t, root, sys)
	if f := opened.Facts; f.ListShowsPublished || !strings.Contains(strings.Join(f.Notes, "\n"), "NFS: listings may come from a cache") {
		t.Errorf("facts %+v, want those of a network file system", f)
	}
	sys.link = func(*os.File, string, *os.File, string) error { return unix.ESTALE }
	if err := opened.Store.Publish(t.Context(), "job/_journal/1", nil); !errors.Is(err, storage.ErrUnknown) || !strings.Contains(err.Error(), "on NFS: ") {
		t.Errorf("a stale handle: %v, want an unknown outcome that names NFS", err)
	}
	sys.link = link
	if err := opened.Store.Publish(t.Context(), "job/_journal/1", nil); err != nil {
		t.Error(err)
	}
	if err := opened.Store.Publish(t.Context(), "job/_journal/1", nil); !errors.Is(err, storage.ErrExists) || strings.Contains(err.Error(), "NFS") {
		t.Errorf("a taken key: %v, want ErrExists without a word of NFS", err)
	}
	sys.link = func(*os.File, string, *os.File, string) error { return unix.EPERM }
	if _, err := open(t.Context(), t.TempDir(), nil, sys); err == nil || !strings.Contains(err.Error(), "(NFS) has no hard links") {
		t.Errorf("open of an empty root without hard links: %v, want an error that names NFS", err)
	}
}

// A folder may be removed between the check of its name and the creation in it. Then it is absent, whatever error the
// file system returns.
func TestUnnamedInAFolderThatIsRemoved(t *testing.T) {
	for _, base := range []string{t.TempDir(), memoryDir(t)} {
		dir := filepath.Join(base, "folder")
		if err := os.Mkdir(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		f, err := openUnnamedIn(at, dir)
		switch {
		case err == nil: // on tmpfs; it is the link that fails then
			f.Close()
		case !errors.Is(err, os.ErrNotExist):
			t.Errorf("open of an unnamed file in a removed folder: %v, want that it does not exist", err)
		}
		if err := unix.Close(at); err != nil {
			t.Fatal(err)
		}
	}
}
