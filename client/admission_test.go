package client

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/data"
)

// countingConn counts what the daemon has taken from a connection.
type countingConn struct {
	net.Conn
	n atomic.Int64
}

func (c *countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// holdingStore holds up every write until gate is closed.
type holdingStore struct {
	storage.Store
	gate    chan struct{}
	writing atomic.Int32
}

func (s *holdingStore) Create(ctx context.Context, key string, o storage.CreateOptions) (storage.Writer, error) {
	w, err := s.Store.Create(ctx, key, o)
	return &holdingWriter{Writer: w, s: s}, err
}

type holdingWriter struct {
	storage.Writer
	s *holdingStore
}

func (w *holdingWriter) Write(p []byte) (int, error) {
	w.s.writing.Add(1)
	defer w.s.writing.Add(-1)
	<-w.s.gate
	return w.Writer.Write(p)
}

// admission is 64 senders of 1 MiB each before a daemon that admits one, which is being held up.
type admission struct {
	c       *cluster
	store   *holdingStore
	job     *Job
	mu      sync.Mutex
	conns   []*countingConn
	sources atomic.Int32
	done    chan error
}

const senders = 64

func startAdmission(t *testing.T, network string) *admission {
	c := newCluster(t)
	a := &admission{c: c, store: &holdingStore{Store: c.store, gate: make(chan struct{})}, done: make(chan error, senders)}
	d := c.start(daemonOptions{network: network, puts: 1, store: a.store, wrap: func(conn net.Conn) net.Conn {
		a.mu.Lock()
		defer a.mu.Unlock()
		cc := &countingConn{Conn: conn}
		a.conns = append(a.conns, cc)
		return cc
	}})
	_, a.job = c.client([]string{d.url}, WithParallel(senders))
	// Who has sent its header, and now waits for the daemon's word before it sends more.
	var headers atomic.Int32
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Wait100Continue: func() { headers.Add(1) }})
	p := randomBytes(1, 1<<20)
	for i := range senders {
		q := piece(fmt.Sprintf("%d.sst", i), Shared, p)
		open := q.Open
		var opens atomic.Int32
		q.Open = func() (io.ReadCloser, error) {
			if opens.Add(1) == 2 { // the first time for its sum
				a.sources.Add(1)
			}
			return open()
		}
		go func() { a.done <- a.job.Snapshot(ctx, snapshotOf(q)) }()
	}
	eventually(t, "all senders waiting", func() bool {
		brought, more := a.waiting(t)
		return a.sources.Load() == senders && headers.Load() == senders && a.store.writing.Load() == 1 && brought >= senders-1 && more == 1
	})
	return a
}

// waiting is how many data connections brought headers only, and how many more than that.
func (a *admission) waiting(t *testing.T) (headers, more int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.conns {
		switch n := c.n.Load(); {
		case n > 64<<10:
			more++
		case n > 0 && n < 4<<10:
			headers++
		case n > 0:
			t.Logf("a connection brought %d bytes", n)
		}
	}
	return headers, more
}

// Of 64 senders before a bound of 1, the waiting ones have sent headers only, and an acknowledgement still gets through.
func TestAdmissionComesBeforeBytes(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		a := startAdmission(t, network)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		if err := a.job.Snapshot(ctx, snapshotOf(Piece{Name: "offsets", Inline: []byte("x")})); err != nil {
			t.Errorf("%s: acknowledgement: %v", network, err)
		}
		cancel()
		if headers, more := a.waiting(t); more != 1 || headers < senders-1 {
			t.Errorf("%s: %d connections brought headers only, %d brought more; want %d and 1", network, headers, more, senders-1)
		}
		close(a.store.gate)
		for range senders {
			if err := <-a.done; err != nil {
				t.Errorf("%s: %v", network, err)
			}
		}
		if n := len(a.c.keys()); n != senders {
			t.Errorf("%s: %d files", network, n)
		}
	}
}

// What becomes refused while it waits hears so, cleanly, without having sent a byte.
func TestWaitingSendersAreRefused(t *testing.T) {
	a := startAdmission(t, "tcp")
	a.c.mu.Lock()
	a.c.refusePut = refusal(connect.CodeFailedPrecondition, &ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_NOT_OPEN})
	a.c.mu.Unlock()
	close(a.store.gate)
	counts := map[error]int{}
	for range senders {
		err := <-a.done
		if ce := classify(t.Context(), err); err != nil {
			err = ce.kind
		}
		counts[err]++
	}
	if counts[nil] != 1 || counts[ErrNotOpen] != senders-1 {
		t.Errorf("got %v", counts)
	}
	if _, more := a.waiting(t); more != 1 {
		t.Errorf("%d connections brought more than headers", more)
	}
}

// A sender that gives up while it waits does not hold the others up, nor its source.
func TestWaitingSendersGiveUp(t *testing.T) {
	a := startAdmission(t, "tcp")
	ctx, cancel := context.WithCancel(t.Context())
	src := &closeCounter{}
	q := piece("x", Shared, make([]byte, data.ChunkTCP))
	open := q.Open
	q.Open = func() (io.ReadCloser, error) {
		r, err := open()
		src.opened.Add(1)
		return src.wrap(r), err
	}
	failed := make(chan error, 1)
	go func() { failed <- a.job.Snapshot(ctx, snapshotOf(q)) }()
	eventually(t, "the sender waiting", func() bool { return src.opened.Load() == 2 })
	cancel()
	if err := <-failed; err == nil || ctx.Err() == nil {
		t.Errorf("got %v", err)
	}
	if src.opened.Load() != src.closed.Load() {
		t.Errorf("opened %d times, closed %d times", src.opened.Load(), src.closed.Load())
	}
	close(a.store.gate)
	for range senders {
		if err := <-a.done; err != nil {
			t.Error(err)
		}
	}
}

type closeCounter struct{ opened, closed atomic.Int32 }

func (c *closeCounter) wrap(r io.ReadCloser) io.ReadCloser {
	return &countedSource{ReadCloser: r, c: c}
}

type countedSource struct {
	io.ReadCloser
	c *closeCounter
}

func (s *countedSource) Close() error {
	s.c.closed.Add(1)
	return s.ReadCloser.Close()
}
