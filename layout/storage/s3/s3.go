// Package s3 keeps objects in a bucket of Amazon S3 or of a server that speaks its protocol.
//
// It owns how an object becomes whole and durable in a bucket, and what may be concluded from a reply:
//
//   - Publish and IfAbsent are conditions that the store itself decides (If-None-Match).
//   - An object of known length and sum is one streamed PutObject. Its last byte is sent only at Commit.
//   - Longer objects, and those of unknown length, are sent as parts from a bounded pool.
//   - The store gets the CRC32C of every request and of the whole object, so nothing is hashed twice.
//   - A request that was sent, and was not refused in plain words, has an unknown outcome; so has every retry after it.
//
// The package must not know what the objects mean.
package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/ckptd/ckptd/layout/storage"
)

// Memory is bounded by poolSize for all writers of a store together, plus smallSize for each writer.
const (
	// smallSize is the number of bytes that a writer may hold without memory from the pool.
	smallSize = 64 << 10
	// partSize is the least size of a part, and the largest object of unknown length or sum that is sent in one
	// request.
	partSize = 8 << 20
	// poolSize is the number of bytes of parts that all writers of a store may hold.
	poolSize = 256 << 20
	// singleSize is the largest object of known length and sum that is sent in one request.
	singleSize = 64 << 20
	// partsAtOnce is the number of parts of one object that are sent at the same time.
	partsAtOnce = 4
	// maxParts is the limit of the S3 protocol.
	maxParts = 10_000
	// largestSize is the largest object of known length: maxParts parts, each as large as the pool.
	largestSize = maxParts * poolSize
	// deleteBatch is the limit of the S3 protocol.
	deleteBatch = 1000
	// stallTime is how long a connection may stay silent within a request.
	stallTime = time.Minute
	// credentialTime is how long one request for credentials may take.
	credentialTime = 20 * time.Second
	// renewTime is how long before they expire credentials are renewed.
	renewTime = 10 * time.Second
	// abortTime is how long an abort may take; the caller's context does not end it.
	abortTime = 10 * time.Second
)

// A store is one prefix of one bucket.
type store struct {
	config Config
	prefix string // of all keys, with its slash, or empty
	client *s3.Client
	pool   *pool
	// condition records whether the store obeys If-None-Match on CompleteMultipartUpload.
	condition condition
	retries   sdkRetries
	// copySize and copyPart are the constants of these names, except in tests.
	copySize, copyPart int64
}

var _ storage.Store = (*store)(nil)

// Open opens a store and lists its bucket once, so that wrong credentials, names and regions are reported at once. It
// writes nothing.
func Open(ctx context.Context, c Config) (storage.Opened, error) {
	opened, err := open(ctx, c)
	if err != nil {
		return storage.Opened{}, fmt.Errorf("s3: open %s: %w", c, err)
	}
	return opened, nil
}

func open(ctx context.Context, c Config) (storage.Opened, error) {
	if err := ctx.Err(); err != nil {
		return storage.Opened{}, err
	}
	if c.Bucket == "" {
		return storage.Opened{}, errors.New("no bucket is named")
	}
	s := &store{config: c, pool: newPool(poolSize), condition: condition{turn: make(chan struct{}, 1)}, copySize: copySize, copyPart: copyPart}
	found, err := connect(ctx, c, &s.retries)
	if err != nil {
		return storage.Opened{}, err
	}
	s.client, s.config = found.client, found.config
	if prefix := strings.Trim(c.Prefix, "/"); prefix != "" {
		s.prefix = prefix + "/"
	}
	if err := s.look(ctx); err != nil {
		found.close()
		return storage.Opened{}, err
	}
	c.Endpoint, c.PathStyle, c.HostStyle = s.config.Endpoint, s.config.PathStyle, s.config.HostStyle
	facts := storage.Facts{Kind: "s3", Location: c.String(), ListShowsPublished: true, Notes: append(s.notes(), found.notes...), Hazards: s.hazards, Purge: s.purge, Copies: true}
	facts.Repeats = s.retries.listen
	return storage.Opened{Store: s, Facts: facts, Close: func() error { found.close(); return nil }}, nil
}

func (s *store) notes() []string {
	notes := []string{fmt.Sprintf("bucket %s, region %s", s.config.Bucket, s.config.Region)}
	if s.config.NoChecksums {
		notes = append(notes, "checksums=when_required: the server checks no sums; a byte that flips on its way there is found only by the reader")
	}
	if strings.HasPrefix(s.config.Endpoint, "http://") {
		notes = append(notes, "http: neither encrypted nor signed bodies; for a trusted network only")
	}
	return notes
}

// Publish implements storage.Store.
func (s *store) Publish(ctx context.Context, key string, data []byte) error {
	err := s.writable(ctx, key)
	if err == nil {
		err = s.put(ctx, key, data, checksum(data), true, s.repeatedAbove)
	}
	if err != nil {
		return &storage.Error{Op: "publish", Key: key, Err: err}
	}
	return nil
}

// Create implements storage.Store.
func (s *store) Create(ctx context.Context, key string, opts storage.CreateOptions) (storage.Writer, error) {
	if err := s.writable(ctx, key); err != nil {
		return nil, &storage.Error{Op: "create", Key: key, Err: err}
	}
	if opts.HasSize && opts.Size > largestSize {
		return nil, &storage.Error{Op: "create", Key: key, Err: fmt.Errorf("object of %d bytes, want at most %d", opts.Size, int64(largestSize))}
	}
	return newWriter(ctx, s, key, opts), nil
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
	return storage.ValidateKey(key)
}

// name returns the name in the bucket of a key or a prefix.
func (s *store) name(key string) *string {
	name := s.prefix + key
	return &name
}

// emptyReader reads no bytes.
type emptyReader struct{}

func (emptyReader) Read([]byte) (int, error) { return 0, io.EOF }
func (emptyReader) Close() error             { return nil }
