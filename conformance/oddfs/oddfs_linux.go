package oddfs

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Lacks is what a file system lacks.
type Lacks struct {
	// NoLinks: link(2) fails, as on FAT.
	NoLinks bool
	// FoldsCase: names that differ only in case are the same name.
	FoldsCase bool
}

// A node passes every call to a real folder, except what its file system lacks.
type node struct {
	*fs.LoopbackNode
	Lacks
}

// Mount mounts such a file system over the folder base, until the test ends, and returns its folder. If the machine
// cannot mount it, the test is skipped with the reason.
func Mount(t testing.TB, base string, lacks Lacks) string {
	t.Helper()
	if os.Getenv("CKPTD_PRIVILEGED") == "" {
		t.Skipf("not run: %s: CKPTD_PRIVILEGED=1, as root (it mounts file systems)", t.Name())
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("NOT RUN: /dev/fuse is missing: modprobe fuse, or a container that has it: %v", err)
	}
	root, err := fs.NewLoopbackRoot(base)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	options := &fs.Options{MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "odd"}}
	server, err := fs.Mount(dir, &node{root.(*fs.LoopbackNode), lacks}, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Unmount(); err != nil {
			t.Error(err)
		}
		server.Wait()
	})
	return dir
}

// WrapChild implements fs.NodeWrapChilder.
func (n *node) WrapChild(_ context.Context, child fs.InodeEmbedder) fs.InodeEmbedder {
	return &node{child.(*fs.LoopbackNode), n.Lacks}
}

func (n *node) name(name string) string {
	if n.FoldsCase {
		return strings.ToLower(name)
	}
	return name
}

// Tmpfile returns an error, because few file systems on FUSE have unnamed files.
func (n *node) Tmpfile(context.Context, uint32, uint32, *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	return nil, nil, 0, syscall.EOPNOTSUPP
}

// Link implements fs.NodeLinker.
func (n *node) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if n.NoLinks {
		return nil, syscall.EPERM // the error of FAT
	}
	return n.LoopbackNode.Link(ctx, target.(*node).LoopbackNode, n.name(name), out)
}

// Lookup implements fs.NodeLookuper.
func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return n.LoopbackNode.Lookup(ctx, n.name(name), out)
}

// Mkdir implements fs.NodeMkdirer.
func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return n.LoopbackNode.Mkdir(ctx, n.name(name), mode, out)
}

// Unlink implements fs.NodeUnlinker.
func (n *node) Unlink(ctx context.Context, name string) syscall.Errno {
	return n.LoopbackNode.Unlink(ctx, n.name(name))
}

// Rmdir implements fs.NodeRmdirer.
func (n *node) Rmdir(ctx context.Context, name string) syscall.Errno {
	return n.LoopbackNode.Rmdir(ctx, n.name(name))
}

// Create implements fs.NodeCreater.
func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	return n.LoopbackNode.Create(ctx, n.name(name), flags, mode, out)
}
