// Package state is the contract between the tasks of the runtime and their state backends, sources and sinks. It owns
// the interfaces and the words of a snapshot. It knows no implementation, no daemon and no network; the task deals
// with names, handles and uploads.
//
// One rule holds for all three interfaces, unless a method says otherwise: a value belongs to one task, and only that
// task's goroutine calls its methods, one at a time.
package state

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"io"
	"os"

	"github.com/ckptd/ckptd/layout/keygroup"
)

// Backend is the keyed state of one subtask: a map from (key group, key) to a value.
type Backend interface {
	// Get returns the value of a key, or nil if the key has none; an empty value is not nil. The slice belongs to the
	// backend. The caller must not change it, and it is valid until the next call of any method. A key group outside
	// of the backend's range is an error.
	Get(keyGroup uint16, key []byte) (value []byte, err error)
	// Put sets the value of a key. Both slices remain the caller's; a nil value is stored as an empty value.
	Put(keyGroup uint16, key, value []byte) error
	// Snapshot is the synchronous part of a checkpoint. On return the files of the snapshot are fixed; they hold
	// exactly the puts made before the call. The caller reads and sends the files later, beside further gets and
	// puts.
	//
	// The caller has to release every snapshot. Taking a snapshot of the same checkpoint twice is allowed.
	Snapshot(checkpoint uint64) (*Snapshot, error)
	// Close ends the backend and removes its local files, except the files of snapshots that are not released: they
	// stay readable until their Release. A second Close does nothing. After Close every other method fails. After an
	// error of any method, only Close may be called.
	Close() error
}

// Snapshot is the files of one checkpoint of a backend. Any goroutine may use and release it.
type Snapshot struct {
	// InstanceNonce names the backend instance; each open makes a new one. Within an instance, the name of a shared
	// file always means the same bytes.
	InstanceNonce string
	// Files are all files that a Factory needs to rebuild the state. They do not change and do not disappear before
	// Release.
	Files []File
	// Release gives up the files; they may disappear at once. Any goroutine may call it, more than once, even after
	// the backend's Close. It does not touch the files of other snapshots.
	Release func()
}

// File is one immutable file of a snapshot.
type File struct {
	// Name is the backend's own name of the file. A shared file has the same name in every snapshot of this instance
	// that holds it. No other file of the instance ever gets this name. An exclusive file's name is unique only
	// within its snapshot.
	Name string
	// Path is where the file can be read until Release; empty if Open opens it.
	Path string
	// Open opens the file until Release, and waits until its bytes are written; nil if Path is a file already. The bytes
	// are those of the moment of the snapshot. Any goroutine may call it.
	Open func() (io.ReadCloser, error)
	// Size in bytes.
	Size int64
	// Shared says that later snapshots may hold the same file, so that it need not be sent again. An exclusive file
	// is only in this snapshot.
	Shared bool
	// RestoredKey is the key of the handle that the file was restored from, unchanged; empty if this instance made
	// the file.
	RestoredKey string
}

// Reader opens the file.
func (f File) Reader() (io.ReadCloser, error) {
	if f.Open != nil {
		return f.Open()
	}
	return os.Open(f.Path)
}

// RestoredFile is one file of the snapshot to restore; it was fetched already.
type RestoredFile struct {
	// Name of the file in the snapshot; see File.
	Name string
	// Path of the local copy. The backend may hard-link it and must not change it. The caller may remove it once the
	// factory has returned.
	Path string
	// RestoredKey is the key of the file's handle; empty if the bytes were inline. File returns it as long as the
	// file is in use.
	RestoredKey string
}

// Factory opens a backend for a range of key groups. It may be called from several goroutines. ctx bounds only the
// opening.
//
// dir is absent or empty. It belongs to the backend until Close and the release of its snapshots; then the caller may
// remove it.
//
// Without files to restore, the state begins empty. Otherwise restore holds all files of one snapshot, and the state
// is the snapshot's state. A missing, cut or foreign file is an error. Damaged bytes are an error of the Factory, or
// of the Get that meets them; they are never a wrong value. A snapshot whose range does not cover groups is refused.
type Factory func(ctx context.Context, dir string, groups keygroup.Range, restore []RestoredFile) (Backend, error)

// NewInstance returns the nonce of a backend instance: 26 characters of lower-case base32, 128 random bits.
func NewInstance() string {
	var b [16]byte
	rand.Read(b[:]) // crypto/rand never fails; it ends the process instead
	return base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding).EncodeToString(b[:])
}
