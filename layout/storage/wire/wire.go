// Package wire owns what drivers over HTTP share: connections for many large bodies, which end when nothing moves.
//
// It must not know any store, nor what is sent.
package wire

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Adapt adapts a transport to many large bodies. It uses HTTP/1.1 only, because the streams of one HTTP/2 connection
// would starve each other. It allows many idle connections, and ends a connection that is silent within a request for
// longer than stall.
func Adapt(transport *http.Transport, stall time.Duration) {
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(true)
	transport.ForceAttemptHTTP2 = false
	transport.MaxIdleConns = 512
	transport.MaxIdleConnsPerHost = 512
	transport.IdleConnTimeout = stall / 2
	// The buffers are per connection; large reads and writes bypass them.
	transport.ReadBufferSize, transport.WriteBufferSize = 16<<10, 16<<10
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &stallConn{Conn: conn, stall: stall}, nil
	}
}

// A stallConn ends when it makes no progress for a time. The limit is moved only after an eighth of that time, because
// each move may wake the runtime's poller; so a stall may last an eighth longer. A write moves the limit of the read
// that waits for its answer too.
type stallConn struct {
	net.Conn
	stall time.Duration
	moved atomic.Int64 // Unix time in ns
}

// move gives both directions new time.
func (c *stallConn) move() error {
	now := time.Now()
	if now.UnixNano()-c.moved.Load() < int64(c.stall/8) {
		return nil
	}
	c.moved.Store(now.UnixNano())
	return c.SetDeadline(now.Add(c.stall + c.stall/8))
}

func (c *stallConn) Read(p []byte) (int, error) {
	if err := c.move(); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *stallConn) Write(p []byte) (int, error) {
	if err := c.move(); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
