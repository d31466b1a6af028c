package hdfs_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout/storage"
)

// A way is a fault of one call to the NameNode.
type way struct {
	name string
	// forwarded: the NameNode got the call, and carried it out.
	forwarded bool
	// half: half of the reply is sent before the connection is cut.
	half bool
	// later: the connection is cut at once, and the NameNode gets the call that many calls later.
	later int
}

// ways are the faults. Only the nightly run has all of them.
func ways() []way {
	all := []way{
		{name: "cut before the call"},
		{name: "reply lost", forwarded: true},
		{name: "lands after the next call", later: 1},
		{name: "half a reply", forwarded: true, half: true},
		{name: "lands three calls later", later: 3},
		{name: "lands at the end", later: 1 << 30},
	}
	switch {
	case os.Getenv("CKPTD_NIGHTLY") == "1":
		return all
	}
	return all[:3]
}

// A middleman stands between a driver and the NameNode. Once armed, it lets one call fail.
type middleman struct {
	listener net.Listener
	server   string
	only     string // the method that counts; empty: all
	dark     bool   // after the fault nothing passes any more
	rewrite  func(reply []byte) []byte

	mu       sync.Mutex
	armed    bool
	target   int
	way      way
	seen     int
	injected bool
	after    []string // the calls since the fault
	held     []heldCall
	conns    []net.Conn
}

// A heldCall is a call that has not arrived yet.
type heldCall struct {
	left  int
	frame []byte
	to    net.Conn
}

// newMiddleman returns a middleman that lets the target-th call fail, once it is armed.
func newMiddleman(t testing.TB, server string, target int, w way) *middleman {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &middleman{listener: l, server: server, target: target, way: w}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { m.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		m.mu.Lock()
		for _, c := range m.conns {
			c.Close()
		}
		m.mu.Unlock()
		all.Wait()
	})
	return m
}

func (m *middleman) address() string { return m.listener.Addr().String() }

func (m *middleman) arm() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.armed = true
}

// watch lets only one method count; dark: after the fault nothing passes any more. Clients of an earlier test may connect already.
func (m *middleman) watch(only string, dark bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.only, m.dark = only, dark
}

// happened reports whether a call was made to fail. Whatever was held back lands by then.
func (m *middleman) happened() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, h := range m.held {
		h.land()
	}
	m.held = nil
	return m.injected
}

// since returns the names of methods that were called since the fault, of those given.
func (m *middleman) since(methods ...string) (called []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, frame := range m.after {
		for _, method := range methods {
			if strings.Contains(frame, method) {
				called = append(called, method)
			}
		}
	}
	return called
}

// land gives the NameNode a call, and waits until it was carried out.
func (h heldCall) land() {
	if _, err := h.to.Write(h.frame); err == nil {
		_, _ = readFrame(h.to)
	}
	h.to.Close()
}

// serve passes the calls of one connection on, one after the other, as the client makes them.
func (m *middleman) serve(from net.Conn) {
	defer from.Close()
	if m.isDark() {
		return
	}
	to, err := net.Dial("tcp", m.server)
	if err != nil {
		return
	}
	m.mu.Lock()
	m.conns = append(m.conns, from, to)
	m.mu.Unlock()
	begin := make([]byte, 7)
	if _, err := io.ReadFull(from, begin); err != nil {
		to.Close()
		return
	}
	introduction, err := readFrame(from)
	if err != nil {
		to.Close()
		return
	}
	if _, err := to.Write(append(begin, introduction...)); err != nil {
		return
	}
	for {
		frame, err := readFrame(from)
		if err != nil {
			to.Close()
			return
		}
		hit := m.strikes(frame)
		switch {
		case hit && m.way.later > 0:
			m.mu.Lock()
			m.held = append(m.held, heldCall{m.way.later, frame, to})
			m.mu.Unlock()
			return
		case hit && !m.way.forwarded:
			to.Close()
			return
		}
		if _, err := to.Write(frame); err != nil {
			return
		}
		reply, err := readFrame(to)
		if err != nil || hit {
			if m.way.half && err == nil {
				_, _ = from.Write(reply[:len(reply)/2])
			}
			to.Close()
			return
		}
		if m.rewrite != nil {
			reply = m.rewrite(reply)
		}
		if _, err := from.Write(reply); err != nil {
			to.Close()
			return
		}
		m.landDue()
	}
}

func (m *middleman) isDark() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dark && m.injected
}

// strikes reports whether this call must fail.
func (m *middleman) strikes(frame []byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.injected {
		m.after = append(m.after, string(frame))
	}
	if !m.armed || bytes.Contains(frame, []byte("renewLease")) || m.only != "" && !bytes.Contains(frame, []byte(m.only)) {
		return false
	}
	m.seen++
	if m.seen-1 != m.target {
		return false
	}
	m.injected = true
	return true
}

// landDue lets calls land for which enough others have come.
func (m *middleman) landDue() {
	m.mu.Lock()
	defer m.mu.Unlock()
	var left []heldCall
	for _, h := range m.held {
		if h.left--; h.left > 0 {
			left = append(left, h)
		} else {
			h.land()
		}
	}
	m.held = left
}

// readFrame reads a message with its length before it.
func readFrame(r io.Reader) ([]byte, error) {
	frame := make([]byte, 4)
	if _, err := io.ReadFull(r, frame); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(frame))
	frame = append(frame, make([]byte, n)...)
	_, err := io.ReadFull(r, frame[4:])
	return frame, err
}

// faulty is the suite's store in which every call of every mutation fails in every way.
func faulty(c *servers.HDFS) func(t *testing.T, root string, step int) (storage.Opened, func(), func() bool) {
	return func(t *testing.T, root string, step int) (storage.Opened, func(), func() bool) {
		all := ways()
		m := newMiddleman(t, c.Address, step/len(all), all[step%len(all)])
		return open(t, c.URLAt(m.address(), "suite/"+root, "")), m.arm, m.happened
	}
}
