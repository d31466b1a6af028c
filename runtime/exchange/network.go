package exchange

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// Network lets workers connect to each other. Addresses are opaque strings that Listen returns and Dial accepts.
type Network interface {
	// Listen opens an address for this worker, and returns it as the second result.
	Listen() (net.Listener, string, error)
	// Dial connects to an address that Listen returned, in this process or another.
	Dial(ctx context.Context, address string) (net.Conn, error)
}

// TCP is the network over TCP: it listens on a free port of Host.
type TCP struct {
	// Host is a name or address at which other workers reach this one; if empty, it is 127.0.0.1.
	Host string
}

var _ Network = TCP{}

// Listen implements Network.
func (n TCP) Listen() (net.Listener, string, error) {
	host := n.Host
	if host == "" {
		host = "127.0.0.1"
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return nil, "", err
	}
	return l, "tcp:" + l.Addr().String(), nil
}

// Dial implements Network.
func (TCP) Dial(ctx context.Context, address string) (net.Conn, error) {
	return dialSocket(ctx, address)
}

// Unix is the network over Unix sockets, for the workers of one machine.
type Unix struct {
	// Dir is the folder for sockets. Its path must be short, because the path of a socket is limited to about 100
	// bytes.
	Dir string
}

var _ Network = Unix{}

// Listen implements Network.
func (n Unix) Listen() (net.Listener, string, error) {
	path := filepath.Join(n.Dir, "x-"+rand.Text()[:10]+".sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, "", err
	}
	return l, "unix:" + path, nil
}

// Dial implements Network.
func (Unix) Dial(ctx context.Context, address string) (net.Conn, error) {
	return dialSocket(ctx, address)
}

func dialSocket(ctx context.Context, address string) (net.Conn, error) {
	network, rest, ok := strings.Cut(address, ":")
	if !ok || (network != "tcp" && network != "unix") {
		return nil, fmt.Errorf("exchange: address %q is neither tcp:HOST:PORT nor unix:PATH", address)
	}
	return (&net.Dialer{}).DialContext(ctx, network, rest)
}

// Memory is a network within one process.
type Memory struct {
	mu        sync.Mutex
	listeners map[string]*memoryListener
	next      int
}

var _ Network = (*Memory)(nil)

// NewMemory returns a network without listeners.
func NewMemory() *Memory { return &Memory{listeners: map[string]*memoryListener{}} }

// Listen implements Network.
func (m *Memory) Listen() (net.Listener, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next++
	l := &memoryListener{network: m, address: "memory:" + strconv.Itoa(m.next), conns: make(chan net.Conn), done: make(chan struct{})}
	m.listeners[l.address] = l
	return l, l.address, nil
}

// Dial implements Network.
func (m *Memory) Dial(ctx context.Context, address string) (net.Conn, error) {
	m.mu.Lock()
	l := m.listeners[address]
	m.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("exchange: nobody listens at %s", address)
	}
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.done:
		return nil, fmt.Errorf("exchange: nobody listens at %s", address)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// socketBuffer bounds the kernel's buffers of one channel, in bytes for each side. Without it the kernel would keep
// megabytes, and barriers would wait behind them.
const socketBuffer = 128 << 10

// bound sets the buffers of a connection that has them. A channel is used even if its buffers cannot be set.
func bound(c net.Conn) {
	if s, ok := c.(interface {
		SetReadBuffer(bytes int) error
		SetWriteBuffer(bytes int) error
	}); ok {
		s.SetReadBuffer(socketBuffer)
		s.SetWriteBuffer(socketBuffer)
	}
}

type memoryListener struct {
	network *Memory
	address string
	conns   chan net.Conn
	once    sync.Once
	done    chan struct{}
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, errors.New("exchange: listener closed")
	}
}

func (l *memoryListener) Close() error {
	l.once.Do(func() {
		l.network.mu.Lock()
		defer l.network.mu.Unlock()
		delete(l.network.listeners, l.address)
		close(l.done)
	})
	return nil
}

func (l *memoryListener) Addr() net.Addr { return memoryAddr(l.address) }

type memoryAddr string

func (memoryAddr) Network() string  { return "memory" }
func (a memoryAddr) String() string { return string(a) }
