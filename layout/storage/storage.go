// Package storage is the contract between ckptd and the stores that keep its files: seven verbs, three outcomes.
//
// It owns the words of that contract (Store, Writer, Info, Facts, the sentinel errors) and nothing else. It must not
// know what the objects mean (jobs, checkpoints, journals), nor any driver. Drivers are packages below this one; only
// cmd/ckptd names them.
//
// # What the world must provide
//
// A store must offer read after write, list after write, and gone after delete, to every process over the same root.
//
// Keys are relative to the store's root. A key is a list of path elements joined by "/"; no element is empty, "." or
// "..". The element "_tmp" belongs to the drivers: a store without unnamed files keeps unfinished files below it.
// ValidateKey holds the rule, for callers and drivers alike.
//
// # Outcomes
//
// Every mutation ends in one of three ways; the returned error tells which:
//
//   - nil: done, and durable.
//   - errors.Is(err, ErrUnknown): it may have happened, may still happen later, or may never happen.
//   - any other error, ErrExists included: not done, and it will not happen later.
package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"
)

var (
	// ErrNotFound is in the chain of every error that reports a missing object.
	ErrNotFound = errors.New("object does not exist")
	// ErrExists is in the chain when Publish, or Create with IfAbsent, found the key taken. The object under that key
	// is durable by then. The winner itself may get ErrExists, if the reply to its first try was lost.
	ErrExists = errors.New("object exists")
	// ErrUnknown is in the chain when a mutation's outcome is not known.
	ErrUnknown = errors.New("outcome unknown")
	// ErrMismatch is in the chain when the bytes written differ from CreateOptions in number or sum. The mutation is
	// not done.
	ErrMismatch = errors.New("bytes are not those announced")
	// ErrAbandoned is in the chain, mostly beside ErrUnknown, when this process can no longer learn what is durable
	// around the key. The fsync of a folder failed once, and a later success would prove nothing. Trying again in
	// this process is useless; an owner gives up its jobs there.
	ErrAbandoned = errors.New("durability lost for this process")
	// ErrThrottled is in the chain when the store asked for fewer requests (S3: 503 SlowDown). It says nothing about
	// the outcome: if the outcome is unknown, ErrUnknown is in the chain too.
	ErrThrottled = errors.New("the store asks for fewer requests")
	// ErrPaused is in the chain when the store takes no writes for now (HDFS: safe mode). Nothing was done.
	ErrPaused = errors.New("the store takes no writes for now")
	// ErrMoved is in the chain when the root's place leads elsewhere than when it was opened: a folder was moved, or a
	// disk unmounted. Everything works again when the root is back.
	ErrMoved = errors.New("the root was moved")
	// ErrUnfit is in the chain when the store can never keep the contract (no hard links, names that fold case).
	ErrUnfit = errors.New("store is not fit for checkpoints")
)

// Store is one root of objects. All methods are safe for concurrent use. With an already cancelled context no method
// changes anything. Errors name operation and key (see Error).
type Store interface {
	// Create begins an object. The object is whole and durable once Commit returned nil; it may be visible earlier,
	// so nothing may rely on its absence. Without IfAbsent, a key must never be used twice; a driver that notices a
	// second use refuses it. The writer belongs to ctx: once ctx is cancelled, Write and Commit fail, and the object
	// is not made.
	Create(ctx context.Context, key string, opts CreateOptions) (Writer, error)
	// Publish creates a small object atomically if the key is free, and returns ErrExists if it is taken. The object
	// is durable on return. Of concurrent writers exactly one wins. No reader ever sees a part of the object.
	Publish(ctx context.Context, key string, data []byte) error
	// Open reads length bytes from offset; length < 0 means to the end. The reader gives exactly these bytes or an
	// error. A range beyond the object's end is an error of Open or of Read, with io.ErrUnexpectedEOF in its chain.
	Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)
	// Stat describes an object.
	Stat(ctx context.Context, key string) (Info, error)
	// List yields every finished object whose key starts with prefix, each once, in any order; prefix is "" or ends
	// with "/". It never yields unfinished objects. After an error nothing follows. Stopping early releases
	// everything. An object that is created or deleted meanwhile may or may not be yielded.
	//
	// Every object that List yields is durable, whichever process made it, so a reader may act on it. A store that
	// could show objects that are not durable yet syncs them first. A store that cannot do so offers Facts.Settle.
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]
	// Delete deletes objects in any order, and the folders that became empty, in a store with folders. An absent
	// object is no error. The result has one element per key, in the order of keys: nil for a deleted key. A nil
	// slice means that all were deleted. Deletes need not be durable: after a power cut an object may be back.
	Delete(ctx context.Context, keys []string) []error
	// AbortUnfinished removes what Create and Publish left unfinished (multipart uploads, temporary files). It
	// removes only those whose target key starts with prefix and for which dead reports true, and returns their
	// number. It never touches a committed object.
	AbortUnfinished(ctx context.Context, prefix string, dead func(key string) bool) (int, error)
}

// CreateOptions says what is known of an object before its bytes arrive. In the zero value nothing is known.
type CreateOptions struct {
	// Size in bytes, if HasSize. If another number of bytes was written, Commit fails and nothing is done.
	Size    int64
	HasSize bool
	// CRC32C (Castagnoli) of all bytes, if HasCRC32C. If the bytes have another sum, Commit fails and nothing is
	// done. The driver also gives the sum to the store, if the store can check it.
	CRC32C    uint32
	HasCRC32C bool
	// IfAbsent: of several creators of one key one wins; Create or Commit of the others returns ErrExists.
	IfAbsent bool
}

// Writer takes the bytes of one object. Only one goroutine may use it.
type Writer interface {
	io.Writer
	// Commit makes the object whole and durable. After an error the writer can only be aborted; the outcome is as for
	// any mutation.
	Commit() error
	// Abort gives the object up and leaves nothing whole behind. It needs no context and may be called more than
	// once. After Commit it does nothing, so it can be deferred. Commit after Abort is an error.
	Abort()
}

// Info describes a finished object.
type Info struct {
	Key string
	// Size in bytes.
	Size int64
	// ModTime by the store's clock. It is for display and for margins against foreign objects, never for decisions
	// about our own.
	ModTime time.Time
}

// Facts says what a driver's store does, as data.
type Facts struct {
	// Kind is the driver's name: "file", "mem", "s3", …
	Kind string
	// Location is the root as a URL without secrets.
	Location string
	// ListShowsPublished: suppose that a List began after a Publish returned, and shows its key as the largest. Then
	// no larger key existed when the object was created, and the object is durable. Neither a read back nor a second
	// List is needed.
	ListShowsPublished bool
	// Settle makes durable what List has shown below prefix, for a store whose List cannot do so itself. (On HDFS the
	// reply to a write may be lost; any later mutation that succeeds makes that write durable.) Nil: whatever List
	// shows is durable.
	Settle func(ctx context.Context, prefix string) error
	// InProcess: the store works with the processors of this machine, not with those of a server. Work that nobody waits for,
	// as a long list or many deletes, is done in small pieces with pauses.
	InProcess bool
	// Repeats registers a listener. The driver calls it before each request that the driver, or its library, repeats
	// by itself; no error of a method shows such a repetition. cause is the error of the try before. Nil: the driver
	// repeats nothing.
	Repeats func(listener func(cause error))
	// Copies: the store is a Copier.
	Copies bool
	// Notes are sentences for the start-up line and for doctor: "ext4", "NFS: mount without attribute caching", …
	Notes []string
	// Hazards looks for settings that keep or remove files without ckptd, as far as the store can be asked. It writes
	// nothing and may take a few requests. Nil: the driver knows of none.
	Hazards func(ctx context.Context) []Hazard
	// Purge removes for good the old versions that Delete leaves below prefix, and returns the number it could not
	// remove. Nil: Delete leaves nothing. It is for files that tools wrote to try a store, never for checkpoints: a
	// bucket's owner chose to keep their versions.
	Purge func(ctx context.Context, prefix string) (left int, err error)
}

// Hazard is one setting outside of ckptd that decides about its files, and what the store says of it. Examples are
// versions that are kept, rules that expire files, and caches that answer for a server.
type Hazard struct {
	// Name in a few words: "versioning", "lifecycle rules", …
	Name string
	// Weight is how bad the hazard is, as found.
	Weight Weight
	// Seen is what was found, in words.
	Seen string
	// Advice is one sentence on what to do; empty where there is nothing to do.
	Advice string
	// Holds is true when nobody can remove for good what is written now, before some time has passed.
	Holds bool
}

// Weight is how bad a Hazard is.
type Weight uint8

const (
	// WeightNone: the hazard is not there.
	WeightNone Weight = iota
	// WeightUnknown: the store could not be asked, or does not say.
	WeightUnknown
	// WeightWarning: the hazard costs space, speed or certainty, but checkpoints are safe.
	WeightWarning
	// WeightUnfit: the hazard loses or damages checkpoints.
	WeightUnfit
)

// Opened is what a driver's constructor returns.
type Opened struct {
	Store Store
	Facts Facts
	// Close releases what the driver holds. No method of Store may be called after Close.
	Close func() error
}

// Error says which operation failed on which object, and why.
type Error struct {
	// Op is the verb: "create", "publish", "open", …
	Op  string
	Key string
	Err error
}

// Error formats as "storage: op key: cause".
func (e *Error) Error() string { return fmt.Sprintf("storage: %s %s: %v", e.Op, e.Key, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
