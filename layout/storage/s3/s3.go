// Package s3 keeps objects in a bucket of Amazon S3 or of a server that speaks its protocol.
//
// It owns how an object comes to be whole and durable there, and what may be believed of a reply: Publish and IfAbsent are conditions that
// the store itself decides (If-None-Match); an object of known length and sum is one streamed PutObject that gets its last byte only
// at Commit; longer or unknown ones go in parts from a bounded pool; the store is given CRC32C of every request and of the whole, so
// nothing is hashed twice; a request that was sent and not answered by a plain refusal is unknown, and so is every retry after it. It
// must not know what the objects mean.
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

// Sizes. Memory is bounded by poolSize for all writers of a store together, plus smallSize for each.
const (
	// smallSize is what a writer may hold without asking the pool.
	smallSize = 64 << 10
	// partSize is the least size of a part, and the largest object of unknown length or sum that goes in one request.
	partSize = 8 << 20
	// poolSize is how many bytes of parts all writers of a store hold.
	poolSize = 256 << 20
	// singleSize is the largest object that goes in one request when its length and sum are known.
	singleSize = 64 << 20
	// partsAtOnce of one object.
	partsAtOnce = 4
	// maxParts is the protocol's own limit.
	maxParts = 10_000
	// largestSize of an object of known length: of maxParts that fit into the pool.
	largestSize = maxParts * poolSize
	// deleteBatch is the protocol's own limit.
	deleteBatch = 1000
	// stallTime is how long a connection may stay silent within a request.
	stallTime = time.Minute
	// credentialTime is how long one request for credentials may take.
	credentialTime = 20 * time.Second
	// renewTime is how long before their end credentials are renewed.
	renewTime = 10 * time.Second
	// abortTime is how long giving up may take, for which no caller's context counts.
	abortTime = 10 * time.Second
)

// A store is one prefix of one bucket.
type store struct {
	config Config
	prefix string // of all keys, with its slash, or empty
	client *s3.Client
	pool   *pool
	// condition is what is known of If-None-Match on CompleteMultipartUpload.
	condition condition
	repeats   repeats
}

var _ storage.Store = (*store)(nil)

// Open opens a store and looks into its bucket once, so that wrong credentials, names and regions are told apart at once. It writes nothing.
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
		return storage.Opened{}, errors.New("no bucket named")
	}
	s := &store{config: c, pool: newPool(poolSize), condition: condition{turn: make(chan struct{}, 1)}}
	client, region, closeClient, err := newClient(ctx, c, &s.repeats)
	if err != nil {
		return storage.Opened{}, err
	}
	s.client = client
	if prefix := strings.Trim(c.Prefix, "/"); prefix != "" {
		s.prefix = prefix + "/"
	}
	if err := s.look(ctx); err != nil {
		closeClient()
		return storage.Opened{}, err
	}
	facts := storage.Facts{Kind: "s3", Location: c.String(), ListShowsPublished: true, Notes: s.notes(region), Hazards: s.hazards, Purge: s.purge}
	facts.Repeats = s.repeats.listen
	return storage.Opened{Store: s, Facts: facts, Close: func() error { closeClient(); return nil }}, nil
}

func (s *store) notes(region string) []string {
	notes := []string{fmt.Sprintf("bucket %s, region %s", s.config.Bucket, region)}
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

// writable refuses mutations that cannot be.
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

// name is the name in the bucket of a key, or of a prefix.
func (s *store) name(key string) *string {
	name := s.prefix + key
	return &name
}

// A drained reader is empty.
type drained struct{}

func (drained) Read([]byte) (int, error) { return 0, io.EOF }
func (drained) Close() error             { return nil }
