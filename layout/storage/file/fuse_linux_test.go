package file

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// An odd node hands everything on to a real folder, except what its file system lacks.
type odd struct {
	*fs.LoopbackNode
	noLinks, foldsCase bool
}

func (o *odd) WrapChild(_ context.Context, child fs.InodeEmbedder) fs.InodeEmbedder {
	return &odd{child.(*fs.LoopbackNode), o.noLinks, o.foldsCase}
}

func (o *odd) name(name string) string {
	if o.foldsCase {
		return strings.ToLower(name)
	}
	return name
}

// Few file systems below FUSE have unnamed files.
func (o *odd) Tmpfile(context.Context, uint32, uint32, *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	return nil, nil, 0, syscall.EOPNOTSUPP
}

func (o *odd) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if o.noLinks {
		return nil, syscall.EPERM // as FAT says
	}
	return o.LoopbackNode.Link(ctx, target.(*odd).LoopbackNode, o.name(name), out)
}

func (o *odd) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return o.LoopbackNode.Lookup(ctx, o.name(name), out)
}

func (o *odd) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return o.LoopbackNode.Mkdir(ctx, o.name(name), mode, out)
}

func (o *odd) Unlink(ctx context.Context, name string) syscall.Errno {
	return o.LoopbackNode.Unlink(ctx, o.name(name))
}

func (o *odd) Rmdir(ctx context.Context, name string) syscall.Errno {
	return o.LoopbackNode.Rmdir(ctx, o.name(name))
}

func (o *odd) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	return o.LoopbackNode.Create(ctx, o.name(name), flags, mode, out)
}

// mountOdd mounts such a file system until the test ends.
func mountOdd(t *testing.T, noLinks, foldsCase bool) string {
	t.Helper()
	privileged(t)
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("NOT RUN: /dev/fuse is missing: modprobe fuse, or a container that has it: %v", err)
	}
	base, dir := memoryDir(t), t.TempDir()
	root, err := fs.NewLoopbackRoot(base)
	if err != nil {
		t.Fatal(err)
	}
	options := &fs.Options{MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "odd"}}
	server, err := fs.Mount(dir, &odd{root.(*fs.LoopbackNode), noLinks, foldsCase}, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// What is unfit is refused when it is opened, and says what it lacks; a plain FUSE file system is fit.
func TestOddFileSystems(t *testing.T) {
	for _, c := range []struct {
		name               string
		noLinks, foldsCase bool
		text               string
	}{
		{"plain", false, false, ""},
		{"no hard links", true, false, "the file system (FUSE) has no hard links"},
		{"folds case", false, true, "(on FUSE) does not tell upper case from lower case"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := mountOdd(t, c.noLinks, c.foldsCase)
			if c.foldsCase {
				upper, lower := filepath.Join(dir, "A"), filepath.Join(dir, "a")
				if err := os.Mkdir(upper, 0o777); err != nil {
					t.Fatal(err)
				}
				if err := os.Remove(lower); err != nil {
					t.Fatalf("this does not fold case: %v", err)
				}
			}
			for _, root := range []string{dir, filepath.Join(dir, "new")} {
				opened, err := Open(t.Context(), root, nil)
				if c.text != "" {
					if err == nil || !strings.Contains(err.Error(), c.text) {
						t.Errorf("Open(%s) = %v, want %q", root, err, c.text)
					}
					if left := everything(t, root); len(left) != 1 {
						t.Errorf("left behind: %v", left)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				publish(t, opened.Store, "job/_journal/1")
				if got := listed(t, opened.Store, "job/"); len(got) != 1 {
					t.Errorf("List = %v", got)
				}
				if errs := opened.Store.Delete(t.Context(), []string{"job/_journal/1"}); errs != nil {
					t.Error(errs)
				}
			}
		})
	}
}
