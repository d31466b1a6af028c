// Package lsm is the state backend on Pebble: an LSM tree in a folder of its own, whose snapshots are incremental because its
// tables are immutable files. It owns the keys in the tree, the write-back cache before it, which files make a snapshot
// and how a tree is rebuilt from one. It knows no checkpoint's fate, no handle's meaning and no network.
//
// # A snapshot
//
//	cache --batches--> memtable --flush--> 000123.sst --hard link--> snap-7/000123.sst   Shared, under the instance nonce
//	                               MANIFEST, markers ---------copy--> snap-7/lsm         exclusive, a few KiB
//
// There is no write-ahead log and no fsync: after a crash the state is rebuilt from the checkpoint, never from this folder. A table's
// number is never used again within a folder, and a folder serves one instance; so (instance nonce, name) means the same bytes for ever.
// What was not written to between two snapshots needs no new table; compactions make new ones of old ones now and then.
//
// A restored tree starts in a new folder under a new nonce with the snapshot's tables linked into it; while these are live,
// they come with the key of the handle they were restored from, so that they need not travel again.
package lsm

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/ckptd/ckptd/layout/keygroup"
	"github.com/ckptd/ckptd/runtime/state"
)

// Options are sizes. The zero value of each field means its default.
type Options struct {
	// BlockCache is shared by all backends of the engine, in bytes. Default 32 MiB.
	BlockCache int64
	// WriteBack bounds the entries kept before the tree, per backend, in bytes. Default 8 MiB. With Memtable it also bounds what the
	// synchronous part of a snapshot has to write.
	WriteBack int
	// Memtable is the size of one, in bytes; a backend has up to three for moments. Default 8 MiB.
	Memtable int
	// CompactAfter is how many tables that cover the same keys may come from flushes before they are merged. More make
	// snapshots smaller and reads slower. Default 8.
	CompactAfter int
}

func (o *Options) withDefaults() Options {
	var d Options
	if o != nil {
		d = *o
	}
	d.BlockCache = orDefault(d.BlockCache, 32<<20)
	d.WriteBack = orDefault(d.WriteBack, 8<<20)
	d.Memtable = orDefault(d.Memtable, 8<<20)
	d.CompactAfter = orDefault(d.CompactAfter, 8)
	return d
}

func orDefault[T int | int64](v, d T) T {
	if v <= 0 {
		return d
	}
	return v
}

// Engine opens backends that share one block cache: one per process. It is safe for concurrent use.
type Engine struct {
	options Options
	blocks  *pebble.Cache
	// fs is what the trees lie on.
	fs vfs.FS
}

// New makes an engine; nil options are the defaults.
func New(options *Options) *Engine {
	o := options.withDefaults()
	return &Engine{options: o, blocks: pebble.NewCache(o.BlockCache), fs: vfs.Default}
}

// Open is a state.Factory.
func (e *Engine) Open(ctx context.Context, dir string, groups keygroup.Range, restore []state.RestoredFile) (state.Backend, error) {
	b, err := open(ctx, e, dir, groups, restore)
	if err != nil {
		return nil, fmt.Errorf("lsm: open %s: %w", dir, err)
	}
	return b, nil
}

// Close gives the block cache up. Backends that are still open keep it until their own Close.
func (e *Engine) Close() { e.blocks.Unref() }

// pebbleOptions is the tree's tuning: small memory, one compaction at a time, tables of a few MiB so that a compaction replaces few of them.
func (e *Engine) pebbleOptions(failed *failure) *pebble.Options {
	return &pebble.Options{
		Cache:                       e.blocks,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 1 },
		DisableWAL:                  true,
		EventListener:               &pebble.EventListener{BackgroundError: failed.set},
		FormatMajorVersion:          pebble.FormatTableFormatV6, // the first whose table footers carry a checksum
		FS:                          volatileFS{e.fs},
		L0CompactionFileThreshold:   2 * e.options.CompactAfter, // tables of disjoint keys too: each is a file of every snapshot
		L0CompactionThreshold:       e.options.CompactAfter,
		L0StopWritesThreshold:       4 * e.options.CompactAfter,
		Logger:                      failed,
		MaxManifestFileSize:         8 << 10, // travels with every snapshot
		MaxOpenFiles:                256,
		MemTableSize:                uint64(e.options.Memtable),
		MemTableStopWritesThreshold: 3,
	}
}
