// Package gcs keeps objects in a bucket of Google Cloud Storage.
//
// It owns how an object becomes whole and durable in a bucket, and what may be concluded from a reply:
//
//   - Every object is created with the condition that there is none of that name (ifGenerationMatch=0). So no object is
//     ever written over, and a request may be repeated.
//   - Every object carries a random mark of its writer in its metadata. If a reply was lost, the mark tells whose object
//     is there.
//   - A small object, and one of known length and sum up to 64 MiB, is one request. Its last byte is sent only at Commit.
//   - Any other object is a resumable upload, in chunks from bounded memory.
//   - The store is given the CRC32C of every object, and its reply is compared with it.
//
// The package must not know what the objects mean.
package gcs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"cloud.google.com/go/storage"
	"golang.org/x/sync/semaphore"

	contract "github.com/ckptd/ckptd/layout/storage"
)

// Memory is bounded by poolSize for all writers of a store together, plus smallSize for each writer.
const (
	// smallSize is the number of bytes that a writer may hold without memory from the pool.
	smallSize = 64 << 10
	// chunkSize is the size of a chunk of a resumable upload, twice that for objects known to exceed singleSize; and the largest object of
	// unknown length or sum that is sent in one request.
	chunkSize = 8 << 20
	// poolSize is the number of bytes of chunks that all writers of a store may hold.
	poolSize = 256 << 20
	// singleSize is the largest object of known length and sum that is sent in one request.
	singleSize = 64 << 20
	// largestSize is Google's limit for one object.
	largestSize = 5 << 40
	// deletesAtOnce is the number of objects that one call deletes at the same time. There is no request for many.
	deletesAtOnce = 32
	// usualAttempts is how often a request is made that only this package can repeat.
	usualAttempts = 3
	// changePause is the pause before an object is changed again that was changed just now.
	changePause = 1100 * time.Millisecond
	// stallTime is how long a connection may stay silent within a request.
	stallTime = time.Minute
	// abortTime is how long an abort may take; the caller's context does not end it.
	abortTime = 10 * time.Second
)

// A store is one prefix of one bucket.
type store struct {
	config  Config
	prefix  string                // of all keys, with its slash, or empty
	bucket  *storage.BucketHandle // repeats nothing
	conn    connection
	pool    *semaphore.Weighted
	retries *retries
	// chunk is chunkSize, except in tests.
	chunk int
}

var _ contract.Store = (*store)(nil)

// Open opens a store and lists its bucket once, so that wrong credentials and names are reported at once. It writes
// nothing.
func Open(ctx context.Context, c Config) (contract.Opened, error) {
	opened, err := open(ctx, c)
	if err != nil {
		return contract.Opened{}, fmt.Errorf("gcs: open %s: %w", c, err)
	}
	return opened, nil
}

func open(ctx context.Context, c Config) (contract.Opened, error) {
	if err := ctx.Err(); err != nil {
		return contract.Opened{}, err
	}
	if c.Bucket == "" {
		return contract.Opened{}, errors.New("no bucket is named")
	}
	conn, err := connect(ctx, c)
	if err != nil {
		return contract.Opened{}, err
	}
	s := &store{config: conn.config, conn: conn, pool: semaphore.NewWeighted(poolSize), retries: &retries{}, chunk: chunkSize}
	s.bucket = s.handle(storage.WithPolicy(storage.RetryNever))
	if prefix := strings.Trim(c.Prefix, "/"); prefix != "" {
		s.prefix = prefix + "/"
	}
	if err := s.look(ctx); err != nil {
		return contract.Opened{}, errors.Join(err, conn.close())
	}
	facts := contract.Facts{
		Kind: schemes[0], Location: s.config.String(), ListShowsPublished: true, Notes: s.notes(), Hazards: s.hazards, Purge: s.purge,
		Repeats: s.retries.listen, Copies: true,
	}
	return contract.Opened{Store: s, Facts: facts, Close: conn.close}, nil
}

func (s *store) notes() []string {
	notes := []string{"bucket " + s.config.Bucket}
	if s.conn.anonymous {
		notes = append(notes, "no credentials are sent")
	}
	if strings.HasPrefix(s.config.Endpoint, "http://") {
		notes = append(notes, "http: not encrypted; for an emulator or a trusted network only")
	}
	return notes
}

// Publish implements storage.Store. The job's owner repeats it, so it is tried once.
func (s *store) Publish(ctx context.Context, key string, data []byte) error {
	err := s.writable(ctx, key)
	if err == nil {
		err = s.put(ctx, key, data, checksum(data), max(1, s.config.MaxAttempts))
	}
	if err != nil {
		return &contract.Error{Op: "publish", Key: key, Err: err}
	}
	return nil
}

// Create implements storage.Store.
func (s *store) Create(ctx context.Context, key string, opts contract.CreateOptions) (contract.Writer, error) {
	if err := s.writable(ctx, key); err != nil {
		return nil, &contract.Error{Op: "create", Key: key, Err: err}
	}
	if opts.HasSize && opts.Size > largestSize {
		return nil, &contract.Error{Op: "create", Key: key, Err: fmt.Errorf("object of %d bytes, want at most %d", opts.Size, int64(largestSize))}
	}
	return newWriter(ctx, s, key, opts), nil
}

// AbortUnfinished implements storage.Store. An upload that is not finished has no name in the bucket and cannot be
// listed; Google forgets it after a week and bills nothing for it.
func (s *store) AbortUnfinished(ctx context.Context, prefix string, _ func(key string) bool) (int, error) {
	err := errors.Join(ctx.Err(), contract.ValidatePrefix(prefix))
	if err == nil && s.config.ReadOnly {
		err = errReadOnly
	}
	if err != nil {
		return 0, &contract.Error{Op: "abort unfinished", Key: prefix, Err: err}
	}
	return 0, nil
}

var errReadOnly = errors.New("store was opened for reading only")

// writable refuses mutations when ctx has ended or the store is read-only.
func (s *store) writable(ctx context.Context, key string) error {
	if err := s.usable(ctx, key); err != nil {
		return err
	}
	if s.config.ReadOnly {
		return errReadOnly
	}
	return nil
}

func (s *store) usable(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return contract.ValidateKey(key)
}

// handle is a handle of the bucket with a policy of its own. A handle's Retryer would change the policy of the handle that
// it is called on, too.
func (s *store) handle(policy ...storage.RetryOption) *storage.BucketHandle {
	return s.conn.client.Bucket(s.config.Bucket).UserProject(s.config.UserProject).Retryer(policy...)
}

// object is the handle of a key. Nothing is repeated through it.
func (s *store) object(key string) *storage.ObjectHandle { return s.bucket.Object(s.prefix + key) }

// attempts is how often a request is made that only this package can repeat.
func (s *store) attempts() int {
	if s.config.MaxAttempts > 0 {
		return s.config.MaxAttempts
	}
	return usualAttempts
}

// emptyReader reads no bytes.
type emptyReader struct{}

func (emptyReader) Read([]byte) (int, error) { return 0, io.EOF }
func (emptyReader) Close() error             { return nil }
