package lsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"

	"github.com/ckptd/ckptd/layout/keygroup"
	"github.com/ckptd/ckptd/runtime/state"
)

// batchBytes is the size at which a batch of the write-back cache is applied to the tree.
const batchBytes = 1 << 20

// Backend implements state.Backend.
type Backend struct {
	// dir holds tree/, and one snap-<n>/ for each unreleased snapshot.
	dir    string
	groups keygroup.Range
	nonce  string
	tree   *pebble.DB
	failed *failure
	cache  *writeBack
	batch  *pebble.Batch
	// restored holds the key of the handle of each restored table. Tables that are no longer in use may stay in it.
	restored map[string]string
	// restoredBundle is the bundle that was restored, or nil.
	restoredBundle *bundle
	// unflushed: the tree has writes that are in no table.
	unflushed bool
	snapshots int
	closed    bool
	// scratch holds the tree's key of the current call.
	scratch []byte
}

var _ state.Backend = (*Backend)(nil)

var errClosed = errors.New("the backend is closed")

// Get implements state.Backend.
func (b *Backend) Get(keyGroup uint16, key []byte) ([]byte, error) {
	e, err := b.lookup(keyGroup, key, true)
	if err != nil {
		return nil, b.fail("get", err)
	}
	if e == nil {
		return nil, nil
	}
	return e.value, nil
}

// Put implements state.Backend.
func (b *Backend) Put(keyGroup uint16, key, value []byte) error {
	e, err := b.lookup(keyGroup, key, false)
	if err != nil {
		return b.fail("put", err)
	}
	if e == nil {
		e = b.cache.add(b.scratch, value)
	}
	b.cache.set(e, value)
	if err := b.makeRoom(); err != nil {
		return b.fail("put", err)
	}
	return nil
}

// Close implements state.Backend.
func (b *Backend) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	b.cache = nil
	err := b.tree.Close()
	if failed := b.failed.get(); failed != nil {
		err = nil // the error has been returned already; closing a broken tree only repeats it
	}
	if err := errors.Join(err, os.RemoveAll(filepath.Join(b.dir, treeDir))); err != nil {
		return fmt.Errorf("lsm: close %s: %w", b.dir, err)
	}
	return nil
}

// lookup returns the entry of a key from the cache or, if deep, from the tree; nil if there is none. It leaves the
// tree's key in scratch.
func (b *Backend) lookup(keyGroup uint16, key []byte, deep bool) (*entry, error) {
	if err := b.usable(); err != nil {
		return nil, err
	}
	if !b.groups.Contains(keyGroup) {
		return nil, fmt.Errorf("key group %d is outside of %v", keyGroup, b.groups)
	}
	b.scratch = append(binary.BigEndian.AppendUint16(b.scratch[:0], keyGroup), key...)
	if e := b.cache.find(b.scratch); e != nil || !deep {
		return e, nil
	}
	value, closer, err := b.tree.Get(b.scratch)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	if err := b.makeRoom(); err != nil { // before add, so that the returned entry is not dropped
		return nil, err
	}
	return b.cache.add(b.scratch, value), nil
}

func (b *Backend) usable() error {
	if b.closed {
		return errClosed
	}
	return b.failed.get()
}

// fail wraps an error and ends the backend with it.
func (b *Backend) fail(op string, err error) error {
	if !b.closed {
		b.failed.set(err)
	}
	return fmt.Errorf("lsm: %s: %w", op, err)
}

// makeRoom keeps the cache within its limit.
func (b *Backend) makeRoom() error {
	if !b.cache.full() {
		return nil
	}
	if err := b.writeDirty(); err != nil {
		return err
	}
	b.cache.rotate()
	return nil
}

// writeDirty writes the entries that are newer than the tree into the tree.
func (b *Backend) writeDirty() error {
	if len(b.cache.dirty) == 0 {
		return nil
	}
	b.unflushed = true
	err := b.cache.clean(func(e *entry) error {
		if err := b.batch.Set([]byte(e.key), e.value, nil); err != nil {
			return err
		}
		if b.batch.Len() < batchBytes {
			return nil
		}
		return b.apply()
	})
	if err != nil {
		return err
	}
	return b.apply()
}

func (b *Backend) apply() error {
	err := b.tree.Apply(b.batch, pebble.NoSync)
	b.batch.Reset()
	return err
}
