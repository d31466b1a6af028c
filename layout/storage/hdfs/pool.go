package hdfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/colinmarc/hdfs/v2"
)

// idleClients is the number of clients that are kept for the next calls. Each renews its leases once a second.
const idleClients = 8

// A pool lends clients. A client makes one call at a time, and a call that breaks ends the client; so each call, and
// each open file, has a client of its own.
type pool struct {
	options hdfs.ClientOptions
	timeout func() *link

	mu     sync.Mutex
	idle   []*client
	closed bool
	// preferred is the NameNode that answered last. New clients ask it first, and not one that is down or on standby.
	preferred string
}

// A client is one client of the library, with its connections.
type client struct {
	*hdfs.Client
	link  *link
	close sync.Once
}

// drop ends the client. Calls of it that are under way fail.
func (c *client) drop() {
	c.link.cut()
	c.close.Do(func() { _ = c.Client.Close() }) // the second Close of a client panics
}

// A notSent is the error of a call that was not sent to any NameNode.
type notSent struct{ err error }

func (n notSent) Error() string { return n.err.Error() }
func (n notSent) Unwrap() error { return n.err }

// take returns a client for the caller alone.
func (p *pool) take(ctx context.Context) (*client, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, notSent{err}
		}
		p.mu.Lock()
		n := len(p.idle)
		if p.closed {
			p.mu.Unlock()
			return nil, notSent{errors.New("store is closed")}
		}
		if n == 0 {
			p.mu.Unlock()
			return p.dial(ctx)
		}
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		if c.link.usable() {
			return c, nil
		}
		c.drop()
	}
}

func (p *pool) dial(ctx context.Context) (*client, error) {
	l := p.timeout()
	options := p.options
	options.NamenodeDialFunc, options.DatanodeDialFunc = l.dialNameNode, l.dialDataNode
	p.mu.Lock()
	if at := slices.Index(options.Addresses, p.preferred); at > 0 {
		options.Addresses = append([]string{p.preferred}, slices.Delete(slices.Clone(options.Addresses), at, at+1)...)
	}
	p.mu.Unlock()
	stop := context.AfterFunc(ctx, l.cut)
	defer stop()
	made, err := hdfs.NewClient(options)
	if err != nil {
		l.cut()
		if ctx.Err() != nil {
			return nil, notSent{ctx.Err()}
		}
		return nil, notSent{fmt.Errorf("no NameNode can be reached: %w", err)}
	}
	return &client{Client: made, link: l}, nil
}

// give takes a client back whose last call ended well, or was refused.
func (p *pool) give(c *client) {
	c.link.closeData()
	p.mu.Lock()
	keep := !p.closed && len(p.idle) < idleClients && c.link.usable()
	if keep {
		p.idle = append(p.idle, c)
		c.link.mu.Lock()
		p.preferred = c.link.namenode
		c.link.mu.Unlock()
	}
	p.mu.Unlock()
	if !keep {
		c.drop()
	}
}

// flush drops the idle clients after the failure of another: they would ask the same NameNode, or wait before they ask it again.
func (p *pool) flush() {
	p.mu.Lock()
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, c := range idle {
		c.drop()
	}
}

func (p *pool) shut() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.flush()
}

// call makes calls with a client. They end with ctx at the latest; the client is then of no use any more.
func (p *pool) call(ctx context.Context, do func(c *client) error) error {
	c, err := p.take(ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, c.link.cut)
	err = do(c)
	cut := !stop()
	if kind := kindOf(err); cut || kind == lost || kind == unsent {
		c.drop()
		if !cut {
			p.flush()
		}
	} else {
		p.give(c)
	}
	if cut && kindOf(err) == lost {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return err
}
