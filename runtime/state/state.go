// Package state is the contract between the tasks of the runtime and what they are built from: state backends, sources
// and sinks. It owns the interfaces and the words of a snapshot. It knows no implementation, no daemon and no network:
// names, handles and uploads are the task's business.
//
// One rule holds for all three interfaces unless a method says otherwise: a value belongs to one task, and its methods are
// called by that task's goroutine alone, one at a time.
package state

import (
	"context"
	"crypto/rand"
	"encoding/base32"

	"github.com/ckptd/ckptd/layout/keygroup"
)

// Backend is the keyed state of one subtask: a map from (key group, key) to a value.
type Backend interface {
	// Get answers the value of a key, or nil if the key has none (an empty value is empty, not nil). The value is the
	// backend's: not to be changed, and valid until the next call of any method of the backend. A key group outside of the
	// backend's range is an error.
	Get(keyGroup uint16, key []byte) (value []byte, err error)
	// Put sets the value of a key. Both slices remain the caller's; a nil value is an empty one.
	Put(keyGroup uint16, key, value []byte) error
	// Snapshot is the synchronous part of a checkpoint: on return the files of the snapshot are fixed, and hold exactly
	// the puts made before the call. What is slow, reading and sending them, comes after, beside further gets and puts.
	// The caller has to release every snapshot it was given. Taking a snapshot of the same checkpoint twice is allowed.
	Snapshot(checkpoint uint64) (*Snapshot, error)
	// Close ends the backend and gives up its local files, except those of snapshots not yet released: they stay readable
	// until their Release. A second Close does nothing. After Close every other method fails;
	// after an error of another method they may: give the backend up.
	Close() error
}

// Snapshot is the files of one checkpoint of a backend. It may be used, and released, by any goroutine.
type Snapshot struct {
	// InstanceNonce names the backend instance, fresh with every open: within it, a name of a shared file always means the same bytes.
	InstanceNonce string
	// Files are all that a Factory needs to rebuild the state. They do not change and do not vanish before Release.
	Files []File
	// Release gives the files up; their paths may vanish at once. It may be called more than once, from any goroutine, and also after the
	// backend's Close. It does not touch what other snapshots hold.
	Release func()
}

// File is one immutable file of a snapshot.
type File struct {
	// Name is the backend's own name of the file. A shared file has the same name in every snapshot of this instance that holds it, and no
	// other file of the instance ever gets that name. An exclusive file's name is unique within its snapshot only.
	Name string
	// Path is where the file can be read until Release.
	Path string
	// Size in bytes.
	Size int64
	// Shared says that later snapshots may hold the same file: it need not be sent again. An exclusive file is of this snapshot alone.
	Shared bool
	// RestoredKey is the key of the handle that the file was restored from, unchanged; empty if this instance made it.
	RestoredKey string
}

// RestoredFile is one file of the snapshot to be restored, fetched already.
type RestoredFile struct {
	// Name, as in File of the snapshot.
	Name string
	// Path of the local copy. The backend may hard-link it and does not change it; the caller may remove it once the factory has returned.
	Path string
	// RestoredKey is the key of the file's handle. It is handed back in File as long as the file is live; empty if the bytes came without a file (inline).
	RestoredKey string
}

// Factory opens a backend for a range of key groups in dir, which is absent or empty, and the backend's alone until Close and the release
// of its snapshots; then the caller may remove it. With no files to restore the state begins empty; else it is that of the
// snapshot which the files are, all of them: a file too few, cut or foreign is an error, and bad bytes are an error here or at the Get that
// meets them, never a wrong value. A snapshot whose range does not cover groups is refused. ctx bounds the opening only. May be called from several goroutines.
type Factory func(ctx context.Context, dir string, groups keygroup.Range, restore []RestoredFile) (Backend, error)

// NewInstance makes the nonce of a backend instance: 26 characters of lower-case base32, 128 random bits.
func NewInstance() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding).EncodeToString(b[:])
}
