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

// Upload is what bytes are for.
type Upload struct {
	Job                        string
	Epoch, Attempt, Checkpoint uint64
}

// Authorizer says whether state may still be written for a checkpoint: nil, or why not. It is asked before a stream waits for
// admission and again after it waited. An error with a Connect code keeps it.
type Authorizer interface {
	AuthorizePut(ctx context.Context, u Upload) error
	// Stored is told of each file that is durable, before its sender is.
	Stored(u Upload, f *ckptdv1.FileHandle)
}

// Options are bounds; the zero value of each means its default.
type Options struct {
	// Puts is how many PutState streams are admitted at once; 16.
	Puts int
	// Gets is how many GetState streams are served at once; 64.
	Gets int
	// MaxFile is the largest file taken, in bytes; 5 TiB, the largest object of the largest store.
	MaxFile uint64
	// Silence is how long a sender may say nothing in the middle of a file before it is given up; 2 minutes. A process that stands still
	// keeps its connection, and would keep its admission, for ever. Only on HTTP/1, where a stream has its connection for itself.
	Silence time.Duration
}

func (o *Options) fill() error {
	if o.Puts < 0 || o.Gets < 0 || o.Silence < 0 {
		return fmt.Errorf("stream: negative bound")
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

// New makes the service. nonce is this process's as a writer of files (layout.NewNonce); nothing else may name files with it.
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

// InFlight is how many streams are admitted now.
func (s *Service) InFlight() (puts, gets int) { return len(s.puts), len(s.gets) }

// Handler is what an http.Server mounts at path: codecs, bounds and guards included.
func (s *Service) Handler() (path string, h http.Handler) {
	path, h = ckptdv1connect.NewStateServiceHandler(s, data.HandlerOptions())
	return path, guardBody(h, s.silence)
}

// ConnContext is for http.Server.ConnContext: it raises the send buffer of Unix sockets, without which they are slower than TCP.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if u, ok := c.(*net.UnixConn); ok {
		// Best effort: a smaller buffer is only slower.
		_ = u.SetWriteBuffer(data.UnixBuffer)
	}
	return ctx
}

// chunkSize is the best chunk for the connection of a request.
func chunkSize(ctx context.Context) int {
	if a, ok := ctx.Value(http.LocalAddrContextKey).(net.Addr); ok && a.Network() == "unix" {
		return data.ChunkUnix
	}
	return data.ChunkTCP
}

// semaphore admits as many as it has room for.
type semaphore chan struct{}

// acquire waits for a slot and reports whether it had to.
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
