// Package storage is the contract between ckptd and the stores that keep its files: seven verbs, three outcomes.
//
// It owns the words of that contract (Store, Writer, Info, Facts, the sentinel errors) and nothing else. It must not know what
// the objects mean (jobs, checkpoints, journals), nor any driver; drivers are packages below this one, and the only place that
// names them is cmd/ckptd.
//
// # What the world must provide
//
// Read after write, list after write and gone after delete, for every process over the same root. Keys are relative to the
// store's root, of path elements joined by "/", without empty elements, "." or "..". The element "_tmp" is the drivers' own: there
// stores without unnamed files keep what is unfinished. ValidateKey has the rule, for callers and drivers alike.
//
// # Outcomes
//
// Every mutation ends in one of three ways, told apart by the returned error:
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
	// ErrNotFound is in the chain of every error that says an object does not exist.
	ErrNotFound = errors.New("object does not exist")
	// ErrExists is in the chain when Publish, or Create with IfAbsent, found the key taken; the object that took it is durable
	// then. The winner itself may get it, when the reply to its first try was lost.
	ErrExists = errors.New("object exists")
	// ErrUnknown is in the chain when a mutation's outcome is not known.
	ErrUnknown = errors.New("outcome unknown")
	// ErrMismatch is in the chain when the bytes written are not those announced in CreateOptions: their number or their sum. Never done.
	ErrMismatch = errors.New("bytes are not those announced")
	// ErrAbandoned is in the chain, mostly beside ErrUnknown, when this process can no longer learn what is durable around the key
	// (a directory's fsync failed once, and a later success would prove nothing). Trying again in this process is useless: whoever
	// owns things there gives up the ownership.
	ErrAbandoned = errors.New("durability lost for this process")
	// ErrThrottled is in the chain when the store asked for fewer requests (S3: 503 SlowDown). It says nothing of the outcome: a mutation
	// whose outcome is not known has ErrUnknown beside it.
	ErrThrottled = errors.New("the store asks for fewer requests")
	// ErrUnfit is in the chain when the store cannot keep the contract at all, whatever is tried (no hard links, names that fold case).
	ErrUnfit = errors.New("store is not fit for checkpoints")
)

// Store is one root of objects. All methods are safe for concurrent use. An already cancelled context never changes anything.
// Errors name operation and key (see Error).
type Store interface {
	// Create begins an object. It is whole and durable once Commit returned nil; it may be visible earlier, so nothing may rely on
	// its absence. Without IfAbsent the key must be one that is never used twice (a driver that notices refuses, not done). The writer
	// belongs to ctx: once ctx is cancelled, Write and Commit fail, not done.
	Create(ctx context.Context, key string, opts CreateOptions) (Writer, error)
	// Publish creates a small object atomically if the key is free: durable on return, exactly one of concurrent writers wins, no
	// reader ever sees a part. ErrExists if the key is taken.
	Publish(ctx context.Context, key string, data []byte) error
	// Open reads length bytes from offset; length < 0 means to the end. The reader gives exactly the bytes asked for, or an error:
	// a range beyond the object's end is an error, of Open or of Read (io.ErrUnexpectedEOF in the chain).
	Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)
	// Stat describes an object.
	Stat(ctx context.Context, key string) (Info, error)
	// List yields every finished object whose key starts with prefix, each once, in any order; prefix is "" or ends with "/". Never
	// unfinished things. After an error nothing follows. Stopping early releases everything. What is created or deleted
	// meanwhile may or may not be shown. What is shown is durable, whoever made it: a reader may act on it (stores that could show
	// more, such as a directory that its writer has not synced yet, sync it first; where that cannot be, Facts.Settle does it).
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]
	// Delete deletes objects, in no particular order, and folders that thereby became empty where the store has folders. An absent
	// object is fine. The result has one element per key, in the order of keys, nil where it was deleted; a nil slice means that
	// all were. Deletes need not be durable: after a power cut an object may be back.
	Delete(ctx context.Context, keys []string) []error
	// AbortUnfinished gives up what Create and Publish left unfinished (multipart uploads, temporaries) whose target key starts
	// with prefix and is dead according to the caller, and reports how many. Objects that were committed are never touched.
	AbortUnfinished(ctx context.Context, prefix string, dead func(key string) bool) (int, error)
}

// CreateOptions says what is known of an object before its bytes. The zero value: nothing.
type CreateOptions struct {
	// Size in bytes, if HasSize. Commit fails, not done, if another number of bytes was written.
	Size    int64
	HasSize bool
	// CRC32C (Castagnoli) of all bytes, if HasCRC32C. Commit fails, not done, if the bytes have another. The store is given the
	// same sum to check where it can.
	CRC32C    uint32
	HasCRC32C bool
	// IfAbsent: of several creators of the key one wins, the others' Commit (or Create) returns ErrExists.
	IfAbsent bool
}

// Writer takes the bytes of one object. It is used by one goroutine.
type Writer interface {
	io.Writer
	// Commit makes the object whole and durable. After an error the writer is dead; the outcome is as for every mutation.
	Commit() error
	// Abort gives the object up and leaves nothing whole behind. It needs no context, may be called more than once and does
	// nothing after Commit, so that it can be deferred. Commit after Abort is an error.
	Abort()
}

// Info describes a finished object.
type Info struct {
	Key string
	// Bytes.
	Size int64
	// By the store's clock; for display and for margins against foreign objects, never for decisions about our own.
	ModTime time.Time
}

// Facts says what a driver's store does, as data.
type Facts struct {
	// Kind is the driver's name: "file", "mem", "s3", …
	Kind string
	// Location is the root as a URL without secrets.
	Location string
	// ListShowsPublished: when a List that started after a Publish returned shows its key as the largest, no larger one existed
	// when it was created, and the entry is durable: neither a read back nor a second List is needed.
	ListShowsPublished bool
	// Settle makes durable what was shown below a prefix, for stores whose List cannot see to that itself (HDFS: a reply lost by its
	// writer; a mutation that succeeds covers it). Nil: whatever List has shown is durable. That is so for files, whose List syncs.
	Settle func(ctx context.Context, prefix string) error
	// Repeats is for drivers that repeat requests by themselves (their libraries do): the listener is called before each repetition with the
	// error that made it, as no error of a method tells of it. Nil: nothing is repeated.
	Repeats func(listener func(cause error))
	// Notes are sentences for the start-up line and doctor: "ext4", "NFS: mount without attribute caching", …
	Notes []string
	// Hazards looks for what keeps or removes files behind our back, as far as the store can be asked. It writes nothing and may take a
	// few requests; nil: the driver knows of none.
	Hazards func(ctx context.Context) []Hazard
	// Purge removes for good what Delete leaves of objects below a prefix (old versions), and says how much it could not; nil: Delete
	// leaves nothing. For what tools wrote to try a store, never for checkpoints: their keepers chose to have versions.
	Purge func(ctx context.Context, prefix string) (left int, err error)
}

// Hazard is one thing outside of ckptd that decides about its files (versions that are kept, rules that expire them, caches that
// answer for them), and what the store says of it.
type Hazard struct {
	// Name in a few words: "versioning", "lifecycle rules", …
	Name string
	// Weight is how bad it is as found.
	Weight Weight
	// Seen is what was found, in words.
	Seen string
	// Advice is one sentence on what to do; empty where there is nothing to do.
	Advice string
	// Holds: what is written now cannot be removed for good before some time has passed, by anybody.
	Holds bool
}

// Weight is how bad a Hazard is.
type Weight uint8

const (
	// WeightNone: it is not there.
	WeightNone Weight = iota
	// WeightUnknown: the store could not be asked, or does not say.
	WeightUnknown
	// WeightWarning: it costs space, speed or certainty, and checkpoints are safe all the same.
	WeightWarning
	// WeightUnfit: checkpoints are lost or damaged by it.
	WeightUnfit
)

// Opened is what a driver's constructor returns.
type Opened struct {
	Store Store
	Facts Facts
	// Close releases what the driver holds. No method of Store may be called after it.
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

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }
