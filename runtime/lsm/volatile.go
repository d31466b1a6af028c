package lsm

import "github.com/cockroachdb/pebble/v2/vfs"

// volatileFS is a file system without fsync, because the tree's folder need not survive the machine. A sync returns
// at once; otherwise every flush, compaction and snapshot would wait for the disk several times.
type volatileFS struct{ vfs.FS }

// volatileFile is a file, or a directory, of a volatileFS.
type volatileFile struct{ vfs.File }

// Create implements vfs.FS.
func (v volatileFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return volatile(v.FS.Create(name, category))
}

// OpenReadWrite implements vfs.FS.
func (v volatileFS) OpenReadWrite(name string, category vfs.DiskWriteCategory, options ...vfs.OpenOption) (vfs.File, error) {
	return volatile(v.FS.OpenReadWrite(name, category, options...))
}

// OpenDir implements vfs.FS.
func (v volatileFS) OpenDir(name string) (vfs.File, error) { return volatile(v.FS.OpenDir(name)) }

// ReuseForWrite implements vfs.FS.
func (v volatileFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return volatile(v.FS.ReuseForWrite(oldname, newname, category))
}

// Unwrap implements vfs.FS.
func (v volatileFS) Unwrap() vfs.FS { return v.FS }

// Sync does nothing.
func (volatileFile) Sync() error { return nil }

// SyncData does nothing.
func (volatileFile) SyncData() error { return nil }

// SyncTo does nothing.
func (volatileFile) SyncTo(int64) (bool, error) { return false, nil }

func volatile(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return volatileFile{f}, nil
}
