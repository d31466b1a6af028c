// Package daemontest starts the real service in a test, over a store in memory, with faults. An engine's tests need no
// fake of a daemon.
//
// It owns the daemon's life as an engine sees it: an address that stays, a process behind it that is killed, started
// again, frozen, or loses replies, and a store that fails. It must not know the engine, nor how the service decides.
//
//	d := daemontest.Start(t)
//	c, err := client.New([]string{d.URL()})
//	...
//	d.Restart() // as if the process had been killed and started again
package daemontest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
	"github.com/ckptd/ckptd/service"
	"github.com/ckptd/ckptd/service/coordinator"
)

// Daemon is a daemon of a test: an address, and at most one process behind it. Its methods are safe for concurrent use.
type Daemon struct {
	fatalf func(format string, args ...any)
	root   storage.Opened
	log    *slog.Logger
	front
	calls calls

	mu      sync.Mutex
	process *process // nil: the daemon is down
	beside  []*Daemon
}

// process is one life of a daemon.
type process struct {
	service *service.Server
	http    *http.Server
	conns   *handed
	store   *mem.Faults
	served  chan struct{}
}

// times are shorter than a daemon's usual ones, so that tests need not wait.
var times = coordinator.Times{
	Grace: 200 * time.Millisecond, Ping: 200 * time.Millisecond, Silence: 3 * time.Second, Registration: 3 * time.Second,
}

// Option changes a default of Start.
type Option func(*Daemon)

// WithLog gives the daemon a log. By default it logs nothing.
func WithLog(l *slog.Logger) Option { return func(d *Daemon) { d.log = l } }

// Start starts a daemon over a new, empty root in memory. It listens at a port of the loopback interface, and ends with
// the test.
func Start(tb testing.TB, opts ...Option) *Daemon {
	tb.Helper()
	d := open(tb.Fatalf, mem.Open(), opts)
	tb.Cleanup(d.Close)
	return d
}

// Open is Start for an Example, which has no testing.TB: it panics if there is no port. The caller closes the daemon.
func Open(opts ...Option) *Daemon {
	return open(func(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }, mem.Open(), opts)
}

// Beside starts another daemon over the same root. Each can take the jobs of the other over.
func (d *Daemon) Beside(opts ...Option) *Daemon {
	other := open(d.fatalf, d.root, opts)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.beside = append(d.beside, other)
	return other
}

func open(fatalf func(string, ...any), root storage.Opened, opts []Option) *Daemon {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fatalf("daemontest: listen: %v", err)
	}
	d := &Daemon{fatalf: fatalf, root: root, log: slog.New(slog.DiscardHandler), front: front{listener: l, thawed: closed()}}
	for _, o := range opts {
		o(d)
	}
	d.front.accepting.Go(d.front.accept)
	d.Restart()
	return d
}

// Close ends the daemon, and those beside it, for good.
func (d *Daemon) Close() {
	d.Kill()
	d.front.close()
	d.mu.Lock()
	beside := d.beside
	d.beside = nil
	d.mu.Unlock()
	for _, other := range beside {
		other.Close()
	}
}

// URL is the daemon's address, which stays the same in all of its lives.
func (d *Daemon) URL() string { return "http://" + d.listener.Addr().String() }

// Restart kills the daemon, if it lives, and starts it again: a new process over the same root, at the same address.
func (d *Daemon) Restart() {
	d.Kill()
	d.mu.Lock()
	defer d.mu.Unlock()
	root := d.root
	store := mem.NewFaults(root.Store, nil)
	root.Store = store
	s, err := service.New(root, &service.Options{URLs: []string{d.URL()}, Times: times, Log: d.log})
	if err != nil {
		d.fatalf("daemontest: %v", err)
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	p := &process{service: s, store: store, conns: newHanded(d.listener.Addr()), served: make(chan struct{})}
	p.http = &http.Server{Handler: d.calls.wrap(s.Handler()), Protocols: &protocols, ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelDebug)}
	go func() {
		defer close(p.served)
		_ = p.http.Serve(p.conns) // until Kill closes it
	}()
	d.process = p
	d.front.serve(p.conns)
	if err := s.Start(context.Background()); err != nil {
		d.fatalf("daemontest: start: %v", err)
	}
}

// Kill ends the daemon's process as SIGKILL would. Its address then breaks every connection, until Restart.
func (d *Daemon) Kill() {
	d.Thaw()
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.process
	if p == nil {
		return
	}
	d.process = nil
	p.store.Freeze()
	d.front.serve(nil)
	p.service.Close()
	_ = p.http.Close()
	<-p.served
	p.store.Land()
}

// Freeze suspends the daemon as SIGSTOP would: its connections stand, and nothing is answered or stored until Thaw.
func (d *Daemon) Freeze() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.process == nil {
		return
	}
	thawed := d.front.freeze()
	d.process.store.SetDecide(func(mem.Mutation) mem.Outcome {
		<-thawed
		return mem.Done()
	})
}

// Thaw ends Freeze.
func (d *Daemon) Thaw() {
	d.front.thaw()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.process != nil {
		d.process.store.SetDecide(nil)
	}
}

// SetStore has decide say how each mutation of the store ends, in the daemon's present life; nil: each is done.
func (d *Daemon) SetStore(decide func(mem.Mutation) mem.Outcome) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.process != nil {
		d.process.store.SetDecide(decide)
	}
}

// SetCalls has decide say how each unary call ends. procedure is its name, for example "Acknowledge"; nil: each is
// answered. Streams of commands (Register) are always served.
func (d *Daemon) SetCalls(decide func(procedure string) CallFault) { d.calls.set(decide) }
