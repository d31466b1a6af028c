package client

import (
	"context"
	"time"
)

// Client talks to the daemons over one root.
type Client struct {
	options options
}

type options struct {
	patience    time.Duration
	parallel    int
	connections int
	onRetry     func(err error, next time.Duration)
}

// Option changes a default of New.
type Option func(*options)

// WithPatience bounds how long a call looks for a daemon that answers; the default is a minute, 0 is for ever. Sessions look
// until their context ends.
func WithPatience(d time.Duration) Option { return func(o *options) { o.patience = d } }

// WithParallel bounds the data streams of one Snapshot or Fetch; the default is 4.
func WithParallel(n int) Option { return func(o *options) { o.parallel = n } }

// WithOnRetry has f called before each repetition of a call, with the reason and the time until then. f must not block.
func WithOnRetry(f func(err error, next time.Duration)) Option {
	return func(o *options) { o.onRetry = f }
}

// New makes a client of the daemons at the URLs: "http://host:port" or "unix:/path/to/socket". All serve the same root. No
// connection is made yet.
func New(urls []string, opts ...Option) (*Client, error) { panic("not yet") }

// Close ends the client's connections and with them its sessions. No call may be made after it.
func (c *Client) Close() error { panic("not yet") }

// AttachJob makes one of the daemons the job's owner, or finds out who is. Anyone may call it, any number of times.
func (c *Client) AttachJob(ctx context.Context, spec JobSpec) (*Job, error) { panic("not yet") }
