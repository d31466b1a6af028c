package stream

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/proto/data"
)

// Upload names the checkpoint, attempt and epoch that a file is uploaded for.
type Upload struct {
	Job                        string
	Epoch, Attempt, Checkpoint uint64
}

// Authorizer decides which uploads are taken.
type Authorizer interface {
	// AuthorizePut returns nil if state may still be written for the checkpoint, or why not. An error with a Connect
	// code keeps the code. AuthorizePut is called before a stream waits for admission, and again after it has waited.
	AuthorizePut(ctx context.Context, u Upload) error
	// AuthorizeGet returns nil if a job may read the files of another one, or why not. An error with a Connect code keeps
	// the code.
	AuthorizeGet(ctx context.Context, job, lender string) error
	// Stored is called for each durable file, before its client gets the answer.
	Stored(u Upload, f *ckptdv1.FileHandle)
}

// Options are limits. The zero value of a field means its default.
type Options struct {
	// Puts is how many PutState streams are admitted at once; 0: 16.
	Puts int
	// Gets is how many GetState streams are served at once; 0: 64.
	Gets int
	// MaxFile is the size of the largest file in bytes; 0: 5 TiB, the largest object that S3 takes.
	MaxFile uint64
	// Silence is how long a client may send nothing in the middle of a file before its stream ends; 0: 2 minutes. A
	// suspended process keeps its connection, and without this limit it would keep its admission for ever. The limit
	// works on HTTP/1 only, where each stream has its own connection.
	Silence time.Duration
}

func (o *Options) fill() error {
	if o.Puts < 0 || o.Gets < 0 || o.Silence < 0 {
		return fmt.Errorf("stream: options: a limit is negative: want 0 for the default, or more")
	}
	if o.Puts == 0 {
		o.Puts = 16
	}
	if o.Gets == 0 {
		o.Gets = 64
	}
	if o.MaxFile == 0 {
		o.MaxFile = 5 << 40
	}
	if o.Silence == 0 {
		o.Silence = 2 * time.Minute
	}
	return nil
}

// Service implements StateService over a store.
type Service struct {
	store   storage.Store
	nonce   string
	auth    Authorizer
	maxFile uint64
	silence time.Duration
	puts    semaphore
	gets    semaphore
	// sequence numbers the files of this process.
	sequence atomic.Uint64
}

var _ ckptdv1connect.StateServiceHandler = (*Service)(nil)

// New makes the service. nonce is this process's nonce for the names of files (layout.NewNonce). No other writer may
// use it.
func New(store storage.Store, nonce string, auth Authorizer, opts *Options) (*Service, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if err := o.fill(); err != nil {
		return nil, err
	}
	if err := layout.ValidateNonce(nonce); err != nil {
		return nil, fmt.Errorf("stream: %w", err)
	}
	return &Service{
		store: store, nonce: nonce, auth: auth, maxFile: o.MaxFile, silence: o.Silence,
		puts: make(semaphore, o.Puts), gets: make(semaphore, o.Gets),
	}, nil
}

// InFlight returns how many streams are admitted now.
func (s *Service) InFlight() (puts, gets int) { return len(s.puts), len(s.gets) }

// Handler returns the handler to be mounted at path. It includes codecs, limits and guards.
func (s *Service) Handler() (path string, h http.Handler) {
	path, h = ckptdv1connect.NewStateServiceHandler(s, data.HandlerOptions())
	return path, guardBody(h, s.silence)
}

// ConnContext is for http.Server.ConnContext. It enlarges the send buffer of Unix sockets, which are slower than TCP
// otherwise.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if u, ok := c.(*net.UnixConn); ok {
		// An error can be ignored: a smaller buffer is only slower.
		_ = u.SetWriteBuffer(data.UnixBuffer)
	}
	return ctx
}

// chunkSize returns the best size of a chunk for the connection of a request.
func chunkSize(ctx context.Context) int {
	if a, ok := ctx.Value(http.LocalAddrContextKey).(net.Addr); ok && a.Network() == "unix" {
		return data.ChunkUnix
	}
	return data.ChunkTCP
}

// semaphore admits as many streams as it has capacity.
type semaphore chan struct{}

// acquire waits for admission and reports whether it had to wait.
func (s semaphore) acquire(ctx context.Context) (waited bool, err error) {
	select {
	case s <- struct{}{}:
		return false, nil
	default:
	}
	select {
	case s <- struct{}{}:
		return true, nil
	case <-ctx.Done():
		return true, context.Cause(ctx)
	}
}

func (s semaphore) release() { <-s }
