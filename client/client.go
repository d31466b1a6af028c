package client

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/semaphore"

	"github.com/ckptd/ckptd/proto/address"
)

// Client talks to the daemons over one root.
type Client struct {
	urls    []string
	options options

	mu        sync.Mutex
	closed    bool
	endpoints map[address.Address]*endpoint
	sessions  map[*Session]struct{}
}

type options struct {
	patience time.Duration
	parallel int
	onRetry  func(err error, next time.Duration)
	files    address.CredentialFiles
	// rootProof is the key of an object below the root that the caller means; empty: none is shown.
	rootProof string
	// credentials come from files; nil: none.
	credentials *address.Credentials
	// silence is the time without a message after which a session takes its daemon for lost. A daemon pings each
	// second.
	silence time.Duration
}

// Option changes a default of New.
type Option func(*options)

// WithPatience bounds the time for which a call looks for a daemon that answers. The default is a minute; 0 means no
// bound. Sessions look until their context ends.
func WithPatience(d time.Duration) Option { return func(o *options) { o.patience = d } }

// WithParallel bounds the data streams of one Snapshot or Fetch; the default is 4.
func WithParallel(n int) Option { return func(o *options) { o.parallel = n } }

// WithOnRetry has f called before each repetition of a call, with the reason and the delay. f must not block.
func WithOnRetry(f func(err error, next time.Duration)) Option {
	return func(o *options) { o.onRetry = f }
}

// WithCA trusts daemons whose certificates were made by the authorities in a PEM file, instead of the system's.
func WithCA(file string) Option { return func(o *options) { o.files.CA = file } }

// WithCertificate shows a client certificate to daemons. The files are PEM; they are read again when they change.
func WithCertificate(certFile, keyFile string) Option {
	return func(o *options) { o.files.Cert, o.files.Key = certFile, keyFile }
}

// WithTokenFile shows a bearer token to daemons. The file has one line; it is read again when it changes. The token is
// sent over TLS, and to daemons on this machine; a call to any other daemon fails with ErrUntrusted.
func WithTokenFile(file string) Option { return func(o *options) { o.files.TokenFile = file } }

// WithToken is WithTokenFile for a token that lies in no file.
func WithToken(token string) Option { return func(o *options) { o.files.Token = token } }

// WithRootProof shows each daemon the key of an object that the caller has just written below the root which it means. A
// daemon that does not see the object refuses the call with ErrAnotherRoot. A caller that has found a daemon's address in a
// journal needs it, because somebody may have copied the root with its journals.
func WithRootProof(key string) Option { return func(o *options) { o.rootProof = key } }

// New makes a client of the daemons at the URLs, which must all serve the same root. A URL is "http://host:port",
// "https://host:port", "host:port" or "unix:/path/to/socket". New makes no connection.
func New(urls []string, opts ...Option) (*Client, error) {
	c := &Client{
		options:   options{patience: time.Minute, parallel: 4, silence: 5 * time.Second},
		endpoints: make(map[address.Address]*endpoint),
		sessions:  make(map[*Session]struct{}),
	}
	for _, o := range opts {
		o(&c.options)
	}
	if c.options.parallel < 1 || c.options.patience < 0 {
		return nil, fmt.Errorf("client: new: %w: parallel %d, patience %v", ErrInvalid, c.options.parallel, c.options.patience)
	}
	if len(urls) == 0 {
		return nil, fmt.Errorf("client: new: %w: no daemon's URL", ErrInvalid)
	}
	var err error
	if c.options.credentials, err = address.NewCredentials(c.options.files); err != nil {
		return nil, fmt.Errorf("client: new: %w: %w", ErrInvalid, err)
	}
	for _, u := range urls {
		e, err := c.endpoint(u)
		if err != nil {
			return nil, fmt.Errorf("client: new: %w", err)
		}
		c.urls = append(c.urls, e.url)
	}
	return c, nil
}

// Close ends the client's sessions and connections. No call may be made after it.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	var sessions []*Session
	for s := range c.sessions {
		sessions = append(sessions, s)
	}
	c.mu.Unlock()
	for _, s := range sessions {
		s.Close()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.endpoints {
		e.close()
	}
	return nil
}

// AttachJob finds the daemon that owns the job, or makes one of the daemons its owner. Any process may call it, any
// number of times.
func (c *Client) AttachJob(ctx context.Context, spec JobSpec) (*Job, error) {
	j := &Job{client: c, spec: spec, attaching: semaphore.NewWeighted(1)}
	_, err := retry(ctx, c, c.options.patience, func() (struct{}, error) {
		return struct{}{}, j.attach(ctx, 0, false)
	})
	if err != nil {
		return nil, fmt.Errorf("client: attach %s: %w", spec.ID, err)
	}
	return j, nil
}

// endpoint is the daemon at url.
func (c *Client) endpoint(url string) (*endpoint, error) {
	at, err := address.Parse(url)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	e := c.endpoints[at]
	if e == nil {
		e = newEndpoint(at, c.options.credentials, c.options.rootProof)
		c.endpoints[at] = e
	}
	return e, nil
}

// newBackOff waits 50 ms at first, 2 s at most, give or take half.
func newBackOff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval, b.Multiplier = 50*time.Millisecond, 2*time.Second, 2
	return b
}

// retry repeats f while its error says that a retry may help. It stops when patience (0: no bound) or ctx ends.
func retry[T any](ctx context.Context, c *Client, patience time.Duration, f func() (T, error)) (T, error) {
	return backoff.Retry(ctx, func() (T, error) {
		v, err := f()
		if err == nil {
			return v, nil
		}
		e := classify(ctx, err)
		if !e.retry {
			return v, backoff.Permanent(e)
		}
		return v, e
	}, backoff.WithBackOff(newBackOff()), backoff.WithMaxElapsedTime(patience), backoff.WithNotify(func(err error, next time.Duration) {
		if f := c.options.onRetry; f != nil {
			f(err, next)
		}
	}))
}
