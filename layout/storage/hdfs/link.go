package hdfs

import (
	"context"
	"net"
	"sync"
	"time"
)

// A link owns the connections of one client of the library. The library knows neither contexts nor time limits: the
// link bounds each read and write, and can cut all connections at once.
type link struct {
	timeout time.Duration
	ctx     context.Context // ends when the link is cut
	cancel  context.CancelFunc

	mu   sync.Mutex
	open map[*conn]struct{}
	dead bool
	// broken is the first error of a connection to a NameNode. The library goes on with such a connection and mixes up
	// its replies, so the client is of no use any more.
	broken error
	// lost is the first error of a write to a DataNode.
	lost error
	// namenode is the address of the last NameNode that took a connection.
	namenode string
}

func newLink(timeout time.Duration) *link {
	l := &link{timeout: timeout, open: map[*conn]struct{}{}}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

func (l *link) dialNameNode(_ context.Context, network, address string) (net.Conn, error) {
	return l.dial(network, address, false)
}

func (l *link) dialDataNode(_ context.Context, network, address string) (net.Conn, error) {
	return l.dial(network, address, true)
}

func (l *link) dial(network, address string, data bool) (net.Conn, error) {
	raw, err := (&net.Dialer{Timeout: l.timeout}).DialContext(l.ctx, network, address)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
		return nil, err
	case l.dead:
		_ = raw.Close()
		return nil, net.ErrClosed
	}
	if !data {
		l.namenode = address
	}
	c := &conn{Conn: raw, link: l, data: data}
	l.open[c] = struct{}{}
	return c, nil
}

// cut ends all calls of the client at once. Its leases are renewed no more.
func (l *link) cut() {
	l.cancel()
	l.mu.Lock()
	l.dead = true
	all := l.open
	l.open = nil
	l.mu.Unlock()
	for c := range all {
		c.fail(net.ErrClosed)
	}
}

// closeData closes the connections to DataNodes that the library leaves open after an error.
func (l *link) closeData() {
	l.mu.Lock()
	var left []*conn
	for c := range l.open {
		if c.data {
			left = append(left, c)
		}
	}
	l.lost = nil
	l.mu.Unlock()
	for _, c := range left {
		_ = c.Close()
	}
}

// usable reports whether no connection to a NameNode has failed.
func (l *link) usable() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.dead && l.broken == nil
}

// dataError returns the first error of a write to a DataNode.
func (l *link) dataError() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// note records the error of a connection to a NameNode, or of a write to a DataNode.
func (l *link) note(err error, data bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case data && l.lost == nil:
		l.lost = err
	case !data && l.broken == nil:
		l.broken = err
	}
}

// A conn is one connection of a link.
//
// To a DataNode, a conn that broke takes whatever is written, the piece that broke it included, and drops it; its reads tell the error. The library's
// writer leaves a goroutine behind forever when the last packet of a block cannot be written. It ends cleanly when the
// acknowledgement of that packet cannot be read.
type conn struct {
	net.Conn
	link *link
	data bool

	mu     sync.Mutex
	failed error
}

func (c *conn) Read(p []byte) (int, error) {
	_ = c.Conn.SetReadDeadline(time.Now().Add(c.link.timeout))
	n, err := c.Conn.Read(p)
	if err == nil {
		return n, nil
	}
	if failed := c.failure(); failed != nil {
		err = failed
	}
	if !c.data { // a DataNode closes the connection after a block
		c.link.note(err, false)
	}
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	if failed := c.failure(); failed != nil {
		if c.data {
			return len(p), nil
		}
		return 0, failed
	}
	_ = c.Conn.SetWriteDeadline(time.Now().Add(c.link.timeout))
	n, err := c.Conn.Write(p)
	if err == nil {
		return n, nil
	}
	c.link.note(err, c.data)
	if c.data {
		c.fail(err)
		return len(p), nil
	}
	return n, err
}

// fail breaks the connection, unless it is broken.
func (c *conn) fail(err error) {
	c.mu.Lock()
	if c.failed == nil {
		c.failed = err
	}
	c.mu.Unlock()
	_ = c.Conn.Close()
}

func (c *conn) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.link.mu.Lock()
	delete(c.link.open, c)
	c.link.mu.Unlock()
	return c.Conn.Close()
}

// SetDeadline implements net.Conn. The library sets no deadline on every connection that it makes; the link's own stay.
func (c *conn) SetDeadline(time.Time) error { return nil }
