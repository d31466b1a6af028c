package lsm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/ckptd/ckptd/runtime/state"
)

// treeDir is the tree's own folder below the backend's folder.
const treeDir = "tree"

// Snapshot implements state.Backend. It writes the changes since the last snapshot into a new table, without fsync,
// and links all tables. It neither reads nor copies old state.
func (b *Backend) Snapshot(checkpoint uint64) (*state.Snapshot, error) {
	if err := b.usable(); err != nil {
		return nil, b.fail("snapshot", err)
	}
	b.snapshots++
	dir := filepath.Join(b.dir, fmt.Sprintf("snap-%d-%d", checkpoint, b.snapshots))
	files, err := b.snapshot(dir)
	if err != nil {
		os.RemoveAll(dir)
		return nil, b.fail(fmt.Sprintf("snapshot %d", checkpoint), err)
	}
	return &state.Snapshot{
		InstanceNonce: b.nonce,
		Files:         files,
		Release:       sync.OnceFunc(func() { os.RemoveAll(dir) }),
	}, nil
}

func (b *Backend) snapshot(dir string) ([]state.File, error) {
	if err := b.writeDirty(); err != nil {
		return nil, err
	}
	if err := b.flush(); err != nil {
		return nil, err
	}
	if err := b.tree.Checkpoint(dir); err != nil {
		return nil, err
	}
	if err := b.failed.get(); err != nil { // after an error in the background the tree only logs, and continues
		return nil, err
	}
	bundle, err := b.collect(dir)
	if err != nil {
		return nil, err
	}
	if err := b.mendManifest(bundle); err != nil {
		return nil, err
	}
	encoded := bundle.encode()
	path := filepath.Join(dir, BundleName)
	if err := os.WriteFile(path, encoded, 0o666); err != nil {
		return nil, err
	}
	files := []state.File{{Name: BundleName, Path: path, Size: int64(len(encoded))}}
	for _, t := range bundle.tables {
		files = append(files, state.File{
			Name: t.name, Path: filepath.Join(dir, t.name), Size: t.size, Shared: true, RestoredKey: b.restored[t.name],
		})
	}
	return files, nil
}

// mendManifest handles a tree that was restored and has not changed its tables since. Pebble writes its manifest only
// with the first change; until then Checkpoint writes an empty manifest, which cannot be opened. The restored
// manifest is still valid, so it is used.
func (b *Backend) mendManifest(c *bundle) error {
	for _, f := range c.treeFiles {
		if strings.HasPrefix(f.name, "MANIFEST-") && len(f.content) > 0 {
			return nil
		}
	}
	if b.restoredBundle == nil || !slices.Equal(c.tables, b.restoredBundle.tables) {
		return errors.New("the tree left no manifest")
	}
	c.treeFiles = b.restoredBundle.treeFiles
	return nil
}

// flush writes the memtable into a table. The tree repeats a failed flush for ever; the backend fails at the first
// error.
func (b *Backend) flush() error {
	if !b.unflushed {
		return nil
	}
	flushed, err := b.tree.AsyncFlush()
	if err != nil {
		return err
	}
	select {
	case <-flushed:
		b.unflushed = false
		return nil
	case <-b.failed.done:
		return b.failed.err
	}
}

// collect sorts the files of a snapshot's folder into tables and the tree's other files. All files in the folder are
// of this snapshot.
func (b *Backend) collect(dir string) (*bundle, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	c := &bundle{groups: b.groups}
	for _, e := range entries {
		switch name := e.Name(); {
		case tableName.MatchString(name):
			info, err := e.Info()
			if err != nil {
				return nil, err
			}
			c.tables = append(c.tables, table{name: name, size: info.Size()})
		case treeFileName.MatchString(name):
			content, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				return nil, err
			}
			c.treeFiles = append(c.treeFiles, treeFile{name: name, content: content})
		case strings.HasPrefix(name, "OPTIONS-"): // for users; opening does not need it
		case strings.HasSuffix(name, ".log"): // the tree makes one, and never writes to it without a write-ahead log
		default:
			return nil, fmt.Errorf("the tree left a file of unknown kind: %s", name)
		}
	}
	return c, nil
}
