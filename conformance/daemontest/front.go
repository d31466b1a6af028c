package daemontest

import (
	"net"
	"sync"
)

// front holds a daemon's address. It passes connections on to the process that lives, and breaks them if none does. The
// port stays taken meanwhile, so no other program gets it.
type front struct {
	listener  net.Listener
	accepting sync.WaitGroup

	mu     sync.Mutex
	to     *handed // nil: no process
	thawed chan struct{}
}

func (f *front) accept() {
	for {
		c, err := f.listener.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		to := f.to
		f.mu.Unlock()
		if to == nil || !to.put(&gated{Conn: c, front: f}) {
			c.Close()
		}
	}
}

// serve passes connections to a process from now on; nil: they are broken.
func (f *front) serve(to *handed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.to = to
}

func (f *front) close() {
	f.listener.Close()
	f.accepting.Wait()
}

// freeze holds up every connection, and returns what is closed at the thaw.
func (f *front) freeze() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if isClosed(f.thawed) {
		f.thawed = make(chan struct{})
	}
	return f.thawed
}

func (f *front) thaw() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !isClosed(f.thawed) {
		close(f.thawed)
	}
}

// wait waits while the daemon is frozen.
func (f *front) wait() {
	f.mu.Lock()
	thawed := f.thawed
	f.mu.Unlock()
	<-thawed
}

// gated is a connection that stands still while the daemon is frozen.
type gated struct {
	net.Conn
	front *front
}

func (g *gated) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	g.front.wait()
	return n, err
}

func (g *gated) Write(p []byte) (int, error) {
	g.front.wait()
	return g.Conn.Write(p)
}

// handed is a listener whose connections are handed to it.
type handed struct {
	addr  net.Addr
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newHanded(addr net.Addr) *handed {
	return &handed{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

// put hands a connection over; false: the listener is closed.
func (h *handed) put(c net.Conn) bool {
	select {
	case h.conns <- c:
		return true
	case <-h.done:
		return false
	}
}

func (h *handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *handed) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

func (h *handed) Addr() net.Addr { return h.addr }

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
