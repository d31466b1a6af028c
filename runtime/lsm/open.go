package lsm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"

	"github.com/ckptd/ckptd/layout/keygroup"
	"github.com/ckptd/ckptd/runtime/state"
)

func open(ctx context.Context, e *Engine, dir string, groups keygroup.Range, restore []state.RestoredFile) (_ *Backend, err error) {
	if groups.Start > groups.End || groups.End >= keygroup.MaxParallelism {
		return nil, fmt.Errorf("key groups %v are not a valid range", groups)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	tree := filepath.Join(dir, treeDir)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	// Mkdir fails if the folder exists, so that an instance never finds the files of another.
	if err := os.Mkdir(tree, 0o777); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(tree)
		}
	}()
	b := &Backend{dir: dir, groups: groups, nonce: state.NewInstance(), failed: newFailure(), cache: newWriteBack(e.options.WriteBack), restored: map[string]string{}}
	options := e.pebbleOptions(b.failed)
	from := groups
	if len(restore) > 0 {
		if from, err = b.place(ctx, tree, restore); err != nil {
			return nil, fmt.Errorf("restore: %w", err)
		}
		options.ErrorIfNotExists = true
	}
	if b.tree, err = pebble.Open(tree, options); err != nil {
		return nil, err
	}
	if err := errors.Join(b.failed.get(), b.clip(from)); err != nil {
		return nil, errors.Join(err, b.tree.Close())
	}
	b.batch = b.tree.NewBatchWithSize(batchBytes)
	return b, nil
}

// place puts the files of a snapshot into the tree's folder and returns the key groups that they hold.
func (b *Backend) place(ctx context.Context, tree string, restore []state.RestoredFile) (keygroup.Range, error) {
	var none keygroup.Range
	given := map[string]state.RestoredFile{}
	for _, f := range restore {
		if _, twice := given[f.Name]; twice {
			return none, fmt.Errorf("%s given twice: %w", f.Name, ErrCorrupt)
		}
		given[f.Name] = f
	}
	head, ok := given[BundleName]
	if !ok {
		return none, fmt.Errorf("%s is missing: %w", BundleName, ErrCorrupt)
	}
	encoded, err := os.ReadFile(head.Path)
	if err != nil {
		return none, err
	}
	c, err := decodeBundle(encoded)
	if err != nil {
		return none, err
	}
	if c.groups.Start > b.groups.Start || c.groups.End < b.groups.End {
		return none, fmt.Errorf("the snapshot holds key groups %v, want %v", c.groups, b.groups)
	}
	if len(given) != len(c.tables)+1 {
		return none, fmt.Errorf("%d files given, the snapshot has %d: %w", len(given), len(c.tables)+1, ErrCorrupt)
	}
	for _, t := range c.tables {
		if err := errors.Join(ctx.Err(), b.placeTable(tree, t, given)); err != nil {
			return none, err
		}
	}
	for _, f := range c.treeFiles {
		if err := os.WriteFile(filepath.Join(tree, f.name), f.content, 0o666); err != nil {
			return none, err
		}
	}
	b.restoredBundle = c
	return c.groups, nil
}

func (b *Backend) placeTable(tree string, t table, given map[string]state.RestoredFile) error {
	f, ok := given[t.name]
	if !ok {
		return fmt.Errorf("%s is missing: %w", t.name, ErrCorrupt)
	}
	info, err := os.Stat(f.Path)
	if err != nil {
		return err
	}
	if info.Size() != t.size {
		return fmt.Errorf("%s has %d bytes, want %d: %w", t.name, info.Size(), t.size, ErrCorrupt)
	}
	if f.RestoredKey != "" {
		b.restored[t.name] = f.RestoredKey
	}
	return linkOrCopy(f.Path, filepath.Join(tree, t.name))
}

// clip deletes the keys of from that are outside of the backend's range. Tables that hold only such keys are dropped
// without being read.
func (b *Backend) clip(from keygroup.Range) error {
	bound := func(group uint16) []byte { return binary.BigEndian.AppendUint16(nil, group) }
	if from.Start < b.groups.Start {
		b.unflushed = true
		if err := b.tree.DeleteRange(bound(from.Start), bound(b.groups.Start), pebble.NoSync); err != nil {
			return err
		}
	}
	if from.End > b.groups.End {
		b.unflushed = true
		return b.tree.DeleteRange(bound(b.groups.End+1), bound(from.End+1), pebble.NoSync)
	}
	return nil
}

func linkOrCopy(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from) // another file system, or one without hard links
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
